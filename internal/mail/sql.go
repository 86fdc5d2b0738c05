package mail

import (
	"errors"
	"time"

	"otpost/internal/store"
)

// record is a row of the table smtp_server: a server with its sealed secrets; nil: not stored.
type record struct {
	Server
	password, keyPassword []byte
	revision              int64
}

const selectAll = `SELECT identifier, server, port, username, password_sealed, sender, tls, description, timeout_s,
	enqueue_job, smime, dont_send_on_error, private_key, private_key_password_sealed, certificate, tls_verify, ca_file,
	ehlo_name, revision FROM smtp_server`

// read reads a row of selectAll.
func read(scan store.Scan) (record, error) {
	var r record
	var seconds int64
	err := scan(&r.Identifier, &r.Server.Server, &r.Port, &r.Username, &r.password, &r.Sender, &r.TLS, &r.Description,
		&seconds, &r.EnqueueJob, &r.SMIME, &r.DontSendOnError, &r.PrivateKey, &r.keyPassword, &r.Certificate,
		&r.TLSVerify, &r.CAFile, &r.EHLOName, &r.revision)
	r.Timeout = time.Duration(seconds) * time.Second
	return r, err
}

// get reads one server; store.ErrNotFound for an unknown identifier, store.ErrDamaged with the
// readable columns.
func get(r store.Reader, identifier string) (record, error) {
	return read(func(dest ...any) error { return r.Get(dest, selectAll+` WHERE identifier = $1`, identifier) })
}

// put writes a row. Its revision is the generation of all settings, which changed has raised, so
// that a server that was deleted and created again never gets an earlier revision.
func put(tx *store.Tx, r record) {
	tx.Put(`INSERT INTO smtp_server (identifier, server, port, username, password_sealed, sender, tls, description,
			timeout_s, enqueue_job, smime, dont_send_on_error, private_key, private_key_password_sealed, certificate,
			tls_verify, ca_file, ehlo_name, revision)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18,
			(SELECT generation FROM instance))
		ON CONFLICT (identifier) DO UPDATE SET server = excluded.server, port = excluded.port,
			username = excluded.username, password_sealed = excluded.password_sealed, sender = excluded.sender,
			tls = excluded.tls, description = excluded.description, timeout_s = excluded.timeout_s,
			enqueue_job = excluded.enqueue_job, smime = excluded.smime,
			dont_send_on_error = excluded.dont_send_on_error, private_key = excluded.private_key,
			private_key_password_sealed = excluded.private_key_password_sealed, certificate = excluded.certificate,
			tls_verify = excluded.tls_verify, ca_file = excluded.ca_file, ehlo_name = excluded.ehlo_name,
			revision = excluded.revision`,
		r.Identifier, r.Server.Server, r.Port, r.Username, r.password, r.Sender, store.Flag(r.TLS), r.Description,
		int64(r.Timeout/time.Second), store.Flag(r.EnqueueJob), store.Flag(r.SMIME), store.Flag(r.DontSendOnError),
		r.PrivateKey, r.keyPassword, r.Certificate, store.Flag(r.TLSVerify), r.CAFile, r.EHLOName)
}

func isNotFound(err error) bool { return errors.Is(err, store.ErrNotFound) }
