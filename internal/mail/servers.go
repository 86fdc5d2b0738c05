package mail

import (
	"context"
	"fmt"
	"strings"
	"time"
	"unicode"

	"otpost/internal/fault"
	"otpost/internal/secret"
	"otpost/internal/store"
)

// Censored is what a form carries in the place of a secret that is stored: keep it.
const Censored = "__CENSORED__"

// longestTimeout bounds a server's time-out: a phase that takes longer is no use to a code of ten minutes.
const longestTimeout = 10 * time.Minute

// Servers keeps the definitions of mail servers. It is safe for concurrent use.
type Servers struct {
	db   *store.DB
	keys *secret.Keys
}

// NewServers returns the servers of a database, their passwords sealed with keys; it does no I/O.
func NewServers(db *store.DB, keys *secret.Keys) *Servers { return &Servers{db: db, keys: keys} }

// List returns all servers by their identifiers, without their secrets; empty when there is none.
func (s *Servers) List(ctx context.Context) ([]Server, error) {
	all := []Server{}
	err := s.db.Read(ctx, func(r store.Reader) error {
		return r.Query(func(scan store.Scan) error {
			one, err := read(scan)
			all = append(all, one.Server)
			return err
		}, selectAll+` ORDER BY identifier`)
	})
	if err != nil {
		return nil, fmt.Errorf("list SMTP servers: %w", err)
	}
	return all, nil
}

// Server returns a server with its secrets, ready to be sent by. The error wraps store.ErrNotFound when there is none, and
// secret.ErrSealed when a secret does not open: another key file, or a row whose target was changed behind our back.
func (s *Servers) Server(ctx context.Context, identifier string) (Server, error) {
	var one record
	err := s.db.Read(ctx, func(r store.Reader) (err error) {
		one, err = get(r, identifier)
		return err
	})
	if err == nil {
		err = s.open(&one)
	}
	if err != nil {
		return Server{}, fmt.Errorf("SMTP server %q: %w", identifier, err)
	}
	return one.Server, nil
}

// Save makes or replaces the server of this identifier; a port or time-out of 0 is the default. A secret that is Censored stays
// as it is stored while what it is bound to stays: the password to server, port, user name, TLS and verification, the key's
// password to the key file. cleared tells that a stored password is gone because its target changed and no other was given.
// A definition that cannot be used is a fault.Error 905.
func (s *Servers) Save(ctx context.Context, server Server) (cleared bool, err error) {
	server, err = check(server)
	if err != nil {
		return false, err
	}
	fresh := s.seal(server)
	err = s.db.Write(ctx, func(tx *store.Tx) error {
		old, err := get(tx, server.Identifier)
		if err != nil && !isNotFound(err) {
			return err
		}
		one := fresh
		if server.Password == Censored && old.Target() == server.Target() {
			one.password = old.password
		}
		if server.PrivateKeyPassword == Censored && old.PrivateKey == server.PrivateKey {
			one.keyPassword = old.keyPassword
		}
		put(tx, one)
		changed(tx)
		cleared = old.password != nil && one.password == nil && old.Target() != server.Target()
		return nil
	})
	if err != nil {
		return false, fmt.Errorf("save SMTP server %q: %w", server.Identifier, err)
	}
	return cleared, nil
}

// Delete removes a server; a fault.Error 601 when there is none (recorded: smtpserver.json, "delete unknown").
func (s *Servers) Delete(ctx context.Context, identifier string) error {
	var found bool
	err := s.db.Write(ctx, func(tx *store.Tx) (err error) {
		found, err = tx.Changed(`DELETE FROM smtp_server WHERE identifier = $1 RETURNING identifier`, identifier)
		if found {
			changed(tx)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("delete SMTP server %q: %w", identifier, err)
	}
	if !found {
		return fault.New(fault.NotFound, "The requested SMTPServer could not be found.")
	}
	return nil
}

// Complete returns a form's definition as it can be sent by, for a test mail: checked, and with the stored secrets in the place
// of those that are Censored. A stored secret is only ever used for the target that it was typed for: for another, or when none
// is stored under the form's identifier, a fault.Error 905 asks to type it again.
func (s *Servers) Complete(ctx context.Context, form Server) (Server, error) {
	form, err := check(form)
	if err != nil {
		return Server{}, err
	}
	if form.Password != Censored && form.PrivateKeyPassword != Censored {
		return form, nil
	}
	stored, err := s.Server(ctx, form.Identifier)
	if err != nil && !isNotFound(err) {
		return Server{}, err
	}
	if form.Password == Censored {
		if isNotFound(err) || stored.Target() != form.Target() {
			return Server{}, fault.New(fault.Parameter, "ERR905: password: type it again; the stored one is used only for the saved server, port, username, tls and tls_verify")
		}
		form.Password = stored.Password
	}
	if form.PrivateKeyPassword == Censored {
		if isNotFound(err) || stored.PrivateKey != form.PrivateKey {
			return Server{}, fault.New(fault.Parameter, "ERR905: private_key_password: type it again; the stored one is used only for the saved private_key")
		}
		form.PrivateKeyPassword = stored.PrivateKeyPassword
	}
	return form, nil
}

// check returns the server with its defaults, or a fault that says which field cannot be used.
func check(s Server) (Server, error) {
	if s.Port == 0 {
		s.Port = DefaultPort
	}
	if s.Timeout == 0 {
		s.Timeout = DefaultTimeout
	}
	for _, f := range []struct {
		name, value string
		most        int
	}{
		{"identifier", s.Identifier, 255}, {"server", s.Server, 255}, {"username", s.Username, 255}, {"password", s.Password.Reveal(), 255},
		{"sender", s.Sender, 500}, {"description", s.Description, 2000}, {"private_key", s.PrivateKey, 1000},
		{"private_key_password", s.PrivateKeyPassword.Reveal(), 255}, {"certificate", s.Certificate, 1000}, {"ca_file", s.CAFile, 1000},
		{"ehlo_name", s.EHLOName, 255},
	} {
		if len(f.value) > f.most {
			return s, fault.Newf(fault.Parameter, "ERR905: %s: longer than %d bytes", f.name, f.most)
		}
		if f.name != "description" && strings.ContainsFunc(f.value, unicode.IsControl) {
			return s, fault.Newf(fault.Parameter, "ERR905: %s: control characters are not allowed", f.name)
		}
	}
	return s, checkMeaning(s)
}

func checkMeaning(s Server) error {
	if s.Identifier == "" {
		return fault.Missing("identifier")
	}
	if s.Server == "" {
		return fault.Missing("server")
	}
	if _, err := s.Endpoint(); err != nil {
		return fault.Newf(fault.Parameter, "ERR905: %v", err)
	}
	if s.Sender != "" {
		if _, _, err := ParseSender(s.Sender); err != nil {
			return fault.New(fault.Parameter, "ERR905: sender: write an e-mail address, or Name <address>")
		}
	}
	if s.Timeout < time.Second || s.Timeout > longestTimeout {
		return fault.Newf(fault.Parameter, "ERR905: timeout: write 1 to %d seconds", int(longestTimeout/time.Second))
	}
	if s.EHLOName != "" && !isFullName(s.EHLOName) && !isLiteral(s.EHLOName) {
		return fault.New(fault.Parameter, "ERR905: ehlo_name: write a full host name, such as mail.example.com, or an address in brackets")
	}
	return nil
}

// seal returns the record of a server. Secrets that are empty, or Censored until the old record is known, are not stored.
func (s *Servers) seal(server Server) record {
	one := record{Server: server}
	if p := server.Password; p != "" && p != Censored {
		one.password = s.keys.Seal(secret.SMTP, passwordPlace(server), []byte(p.Reveal()))
	}
	if p := server.PrivateKeyPassword; p != "" && p != Censored {
		one.keyPassword = s.keys.Seal(secret.SMTP, keyPasswordPlace(server), []byte(p.Reveal()))
	}
	return one
}

// open puts the secrets of a record into its server.
func (s *Servers) open(one *record) error {
	if one.password != nil {
		plain, err := s.keys.Open(secret.SMTP, passwordPlace(one.Server), one.password)
		if err != nil {
			return fmt.Errorf("password: %w", err)
		}
		one.Password = secret.Text(plain)
	}
	if one.keyPassword != nil {
		plain, err := s.keys.Open(secret.SMTP, keyPasswordPlace(one.Server), one.keyPassword)
		if err != nil {
			return fmt.Errorf("private_key_password: %w", err)
		}
		one.PrivateKeyPassword = secret.Text(plain)
	}
	return nil
}

func passwordPlace(s Server) secret.Context {
	return secret.Place("smtp_server", "password", s.Identifier, s.Target())
}

func keyPasswordPlace(s Server) secret.Context {
	return secret.Place("smtp_server", "private_key_password", s.Identifier, s.PrivateKey)
}
