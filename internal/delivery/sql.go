package delivery

import (
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"otpost/internal/store"
)

// row is a delivery as it stands in the database. It has as many fields as the table has columns that a handling needs.
type row struct {
	id        uuid.UUID
	channel   string
	route     string
	sealed    []byte
	recipient string // masked
	serial    string
	via       Via
	notAfter  time.Time
	state     State
	epoch     int64
	owner     string
	ownUntil  time.Time
	unsure    bool
	attempts  int
	nextTry   time.Time
	messageID string
	created   time.Time
}

// errNoRow says that an id has no delivery.
var errNoRow = errors.New("no delivery of this id")

const rowColumns = `id, channel, route, sealed, recipient, serial, via, not_after_ms, state, epoch, owner, own_until_ms,
	unsure, attempts, next_try_ms, message_id, created_ms`

// load reads one delivery, or returns errNoRow.
func load(r store.Reader, id uuid.UUID) (row, error) {
	var d row
	err := r.Get(d.columns(), `SELECT `+rowColumns+` FROM delivery WHERE id = $1`, id[:])
	if errors.Is(err, store.ErrNotFound) {
		return d, errNoRow
	}
	if err != nil {
		return d, fmt.Errorf("load delivery %s: %w", id, err)
	}
	return d, nil
}

// columns returns where the columns of rowColumns go.
func (d *row) columns() []any {
	return []any{
		&d.id, &d.channel, &d.route, &d.sealed, &d.recipient, &d.serial, &d.via, store.NullTime{To: &d.notAfter},
		&d.state, &d.epoch, &d.owner, store.NullTime{To: &d.ownUntil}, &d.unsure, &d.attempts,
		store.NullTime{To: &d.nextTry}, &d.messageID, store.NullTime{To: &d.created},
	}
}

// insert writes a new delivery.
func insert(tx *store.Tx, p Prepared) {
	tx.Put(`INSERT INTO delivery (id, channel, route, sealed, recipient, serial, via, not_after_ms, state, reason, epoch,
		owner, own_until_ms, unsure, attempts, next_try_ms, relayed_ms, message_id, created_ms, updated_ms, realm)
		VALUES ($1, $11, $2, $3, $4, $5, $6, $7, 'queued', '', 1, '', 0, 0, 0, $8, 0, $9, $8, $8, $10)`,
		p.id[:], p.route, p.sealed, p.recipient, p.serial, string(p.via), store.Millis(p.notAfter),
		store.Millis(p.created), p.messageID, p.realm, p.channel)
}

func insertWaiter(tx *store.Tx, delivery uuid.UUID, w Waiter) {
	tx.Put(`INSERT INTO waiter (delivery_id, transaction_id, serial, challenge_id, ended) VALUES ($1, $2, $3, $4, '')`,
		delivery[:], w.TransactionID, w.Serial, w.ChallengeID[:])
}

// unwanted returns why no waiter of a delivery is left, and "" while there is one. A message that never had a waiter is
// wanted.
func unwanted(r store.Reader, id uuid.UUID) (Reason, error) {
	var open int
	var why Reason
	err := r.Get([]any{&open, &why}, `SELECT count(CASE WHEN ended = '' THEN 1 END), coalesce(max(ended), '') FROM waiter
		WHERE delivery_id = $1`, id[:])
	if err != nil {
		return "", fmt.Errorf("count waiters: %w", err)
	}
	if open > 0 {
		return "", nil
	}
	return why, nil
}

// answered reports whether a code that a delivery carried was answered.
func answered(r store.Reader, id uuid.UUID) (bool, error) {
	var n int
	err := r.Get([]any{&n}, `SELECT count(*) FROM waiter WHERE delivery_id = $1 AND ended = $2`, id[:], string(Answered))
	if err != nil {
		return false, fmt.Errorf("count answers: %w", err)
	}
	return n > 0, nil
}

// change is what a row of the state table writes. Zero times are written as 0.
type change struct {
	state    State
	reason   Reason
	owner    string
	ownUntil time.Time
	unsure   bool
	attempts int
	nextTry  time.Time
	met      *Result // what the attempt met that ends with this change; nil: no attempt ends
}

// after returns c as the end of an attempt.
func (c change) after(r Result) change {
	c.met = &r
	return c
}

// with returns the row after a change.
func (d row) with(c change) row {
	d.epoch++
	d.state, d.owner, d.ownUntil = c.state, c.owner, c.ownUntil
	d.unsure, d.attempts, d.nextTry = c.unsure, c.attempts, c.nextTry
	return d
}

// errStale says that another has changed the row: nothing was written, read it again.
var errStale = errors.New("the delivery was changed by another")

// update is the compare-and-set of every state change. A final state erases the content in the same statement.
func update(tx *store.Tx, d row, c change, now time.Time) error {
	changed, err := tx.Changed(`UPDATE delivery SET state = $3, reason = $4, owner = $5, own_until_ms = $6, unsure = $7,
		attempts = $8, next_try_ms = $9, updated_ms = $10, epoch = epoch + 1,
		sealed = CASE WHEN $11 = 1 THEN NULL ELSE sealed END
		WHERE id = $1 AND epoch = $2 RETURNING epoch`,
		d.id[:], d.epoch, string(c.state), string(c.reason), c.owner, stored(c.ownUntil), store.Flag(c.unsure), c.attempts,
		stored(c.nextTry), store.Millis(now), store.Flag(c.state.Final()))
	if err != nil {
		return fmt.Errorf("write delivery %s: %w", d.id, err)
	}
	if !changed {
		return errStale
	}
	return nil
}

// stored returns a time of the table delivery as it is stored there; the zero time is 0.
func stored(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return store.Millis(t)
}
