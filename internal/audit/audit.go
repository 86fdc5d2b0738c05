// Package audit is the journal of requests and decisions.
//
// It promises: one row per entry; an entry that is put into a caller's transaction is committed or
// rolled back with it. No PIN, code or password reaches the journal: callers never pass one. Rows
// are neither chained nor searched yet.
//
// Three callers write. login puts the row of a decision into the transaction that decides, delivery one row per outcome
// into that of the outcome (both Put). httpapi's edge writes one row for each request that has none yet (Record, and
// Refused within its bounds).
package audit

import (
	"context"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"otpost/internal/store"
)

// longest is the length to which a text is cut, in bytes: a request must not fill the journal with
// its user name.
const longest = 512

const (
	pruneBatch   = 500 // rows of one transaction of Prune
	pruneBatches = 600 // 5,000 rows a second, when it runs each minute: 1,000 logins a second write three each
)

// Entry is one row. Empty strings and a zero DeliveryID mean "does not apply". It has as many
// fields as the journal has columns.
type Entry struct {
	Action         string // "POST /validate/check", "delivery accepted"
	Success        bool
	Authentication string // ACCEPT, REJECT, CHALLENGE or empty
	Serial         string
	TokenType      string
	Login          string // of the user in question
	Realm          string
	Resolver       string
	Administrator  string // the administrator who asked; else empty
	Client         string // IP address
	TransactionID  string
	DeliveryID     uuid.UUID
	Info           string // a sentence without secrets
}

// Put writes an entry in the caller's transaction. at is the store's time; an error shows at the
// end of the transaction.
func Put(tx *store.Tx, at time.Time, e Entry) {
	id := uuid.Must(uuid.NewV7()) // fails only without a random source, and crypto/rand ends the process then
	var delivery any
	if e.DeliveryID != uuid.Nil {
		delivery = e.DeliveryID[:]
	}
	tx.Put(`INSERT INTO audit (id, at_ms, action, success, authentication, serial, token_type, login, realm, resolver,
		administrator, client, transaction_id, delivery_id, info)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)`,
		id[:], store.Millis(at), cut(e.Action), store.Flag(e.Success), cut(e.Authentication), cut(e.Serial),
		cut(e.TokenType), cut(e.Login),
		cut(e.Realm), cut(e.Resolver), cut(e.Administrator), cut(e.Client), cut(e.TransactionID), delivery, cut(e.Info))
}

// Journal writes entries that have no transaction of their own. It is safe for concurrent use.
type Journal struct {
	db       *store.DB
	refusals refusals
}

// New returns the journal of a database.
func New(db *store.DB) *Journal { return &Journal{db: db} }

// Record writes an entry and returns after the commit, which a power cut may undo
// (store.WriteLight).
func (j *Journal) Record(ctx context.Context, e Entry) error {
	at := j.db.Now()
	err := j.db.WriteLight(ctx, func(tx *store.Tx) error {
		Put(tx, at, e)
		return nil
	})
	if err != nil {
		return fmt.Errorf("record audit entry: %w", err)
	}
	return nil
}

// Prune deletes the rows from before a time, the oldest first. It looks at the lowest ids only, which rise with
// time. Its transactions are short, so that logins do not wait for them. One call runs at most pruneBatches of
// them; the next call deletes the rest.
func (j *Journal) Prune(ctx context.Context, before time.Time) error {
	for range pruneBatches {
		n := 0
		err := j.db.WriteLight(ctx, func(tx *store.Tx) error {
			deleted := 0
			err := tx.Query(func(store.Scan) error { deleted++; return nil },
				`DELETE FROM audit WHERE id IN (SELECT id FROM (SELECT id, at_ms FROM audit ORDER BY id LIMIT $2)
					WHERE at_ms < $1) RETURNING 1`,
				store.Millis(before), pruneBatch)
			n = deleted
			return err
		})
		if err != nil {
			return fmt.Errorf("delete old audit rows: %w", err)
		}
		if n < pruneBatch {
			return nil
		}
	}
	return nil
}

// cut returns s as valid UTF-8 of at most longest bytes, without NUL (PostgreSQL takes none).
func cut(s string) string {
	s = strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "")
	if len(s) <= longest {
		return s
	}
	end := longest
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end]
}
