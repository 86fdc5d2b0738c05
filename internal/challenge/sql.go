package challenge

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"otpost/internal/store"
)

const columns = `id, transaction_id, serial, code_mac, delivery_id, state, received_count, created_ms, valid_until_ms`

// Put writes a new challenge in the transaction that creates its delivery.
func Put(tx *store.Tx, c Challenge) {
	tx.Put(`INSERT INTO challenge
		(id, transaction_id, serial, code_mac, delivery_id, state, received_count, created_ms, valid_until_ms)
		VALUES ($1, $2, $3, $4, $5, 0, 0, $6, $7)`,
		c.ID[:], c.TransactionID, c.Serial, c.mac, c.DeliveryID[:], store.Millis(c.Created), store.Millis(c.ValidUntil))
}

// OfTransaction returns all challenges of a transaction that are still kept, oldest first; none for a text that is no
// transaction id.
func OfTransaction(r store.Reader, transactionID string) ([]Challenge, error) {
	if !WellFormed(transactionID) {
		return nil, nil
	}
	return read(r, `SELECT `+columns+` FROM challenge WHERE transaction_id = $1 ORDER BY created_ms, id`, transactionID)
}

// Unanswered returns the challenges of a transaction in the state Waiting, whether or not their
// time is over; none for an unknown transaction.
func Unanswered(ctx context.Context, db *store.DB, transactionID string) ([]Challenge, error) {
	var waiting []Challenge
	err := db.Read(ctx, func(r store.Reader) error {
		all, err := OfTransaction(r, transactionID)
		for _, c := range all {
			if c.State == Waiting {
				waiting = append(waiting, c)
			}
		}
		return err
	})
	return waiting, err
}

// OfSerial returns all challenges of a token that are still kept, oldest first.
func OfSerial(r store.Reader, serial string) ([]Challenge, error) {
	return read(r, `SELECT `+columns+` FROM challenge WHERE serial = $1 ORDER BY created_ms, id`, serial)
}

func read(r store.Reader, query string, args ...any) ([]Challenge, error) {
	var found []Challenge
	err := store.List(r, func(scan store.Scan) error {
		var c Challenge
		var created, until int64
		err := scan(&c.ID, &c.TransactionID, &c.Serial, &c.mac, &c.DeliveryID, &c.State, &c.Received, &created, &until)
		if err != nil {
			return err
		}
		c.Created, c.ValidUntil = store.Time(created), store.Time(until)
		found = append(found, c)
		return nil
	}, query, args...)
	if err != nil {
		return nil, fmt.Errorf("read challenges: %w", err)
	}
	return found, nil
}

// Answer takes the right code for a challenge and reports whether this call was the one that did:
// false when the challenge was answered, ended or expired since it was read.
func Answer(tx *store.Tx, now time.Time, id uuid.UUID) (bool, error) {
	return tx.Changed(`UPDATE challenge SET state = 1, ended_ms = $2, received_count = received_count + 1
		WHERE id = $1 AND state = 0 AND valid_until_ms > $2 RETURNING id`, id[:], store.Millis(now))
}

// Tried counts a wrong answer to a challenge.
func Tried(tx *store.Tx, id uuid.UUID) {
	tx.Put(`UPDATE challenge SET received_count = received_count + 1 WHERE id = $1`, id[:])
}

// AnswerTransaction ends what is left of a transaction after one of its challenges was answered and returns the ids.
func AnswerTransaction(tx *store.Tx, now time.Time, transactionID string) ([]uuid.UUID, error) {
	return end(tx, now, Answered, `transaction_id = $3`, transactionID)
}

// AnswerSharing ends all challenges that share a message whose code was accepted and returns the ids.
func AnswerSharing(tx *store.Tx, now time.Time, delivery uuid.UUID) ([]uuid.UUID, error) {
	return end(tx, now, Answered, `delivery_id = $3`, delivery[:])
}

// EndDelivery ends the challenges of a message that was not sent and returns the ids.
func EndDelivery(tx *store.Tx, now time.Time, delivery uuid.UUID) ([]uuid.UUID, error) {
	return end(tx, now, Ended, `delivery_id = $3`, delivery[:])
}

// EndSerial ends all challenges of a token (disabled, deleted, another address) and returns the ids.
func EndSerial(tx *store.Tx, now time.Time, serial string) ([]uuid.UUID, error) {
	return end(tx, now, Ended, `serial = $3`, serial)
}

// Supersede makes room for a new challenge of a token: the newest keep stay, the older ones are
// ended; their ids are returned. It is called before the new one is written. Expired ones do not
// count and are left alone. One that was made later than now was made before the clock was set
// back: it is older than all others.
func Supersede(tx *store.Tx, now time.Time, serial string, keep int) ([]uuid.UUID, error) {
	return end(tx, now, Ended, `serial = $3 AND valid_until_ms > $2 AND id NOT IN (SELECT id FROM challenge
		WHERE serial = $3 AND state = 0 AND valid_until_ms > $2
		ORDER BY CASE WHEN created_ms > $2 THEN 0 ELSE created_ms END DESC, id DESC LIMIT $4 + 0)`, serial, keep) // a mere $4 would have SQLite prepare it anew each time
}

// end moves all waiting challenges that meet a condition on $3.. to a state.
func end(tx *store.Tx, now time.Time, state State, condition string, args ...any) ([]uuid.UUID, error) {
	var ended []uuid.UUID
	err := tx.Query(func(scan store.Scan) error {
		var id uuid.UUID
		if err := scan(&id); err != nil {
			return err
		}
		ended = append(ended, id)
		return nil
	}, `UPDATE challenge SET state = $1, ended_ms = $2 WHERE state = 0 AND `+condition+` RETURNING id`,
		append([]any{int(state), store.Millis(now)}, args...)...)
	if err != nil {
		return nil, fmt.Errorf("end challenges: %w", err)
	}
	return ended, nil
}

// The bounds of PruneAll: 400,000 rows in a minute, in transactions that take the writer for some milliseconds.
const (
	pruneBatch   = 500 // rows of each kind in one transaction
	pruneBatches = 400
)

// PruneAll deletes what ended or expired more than Kept ago; what is beyond its bounds the next call deletes.
func PruneAll(ctx context.Context, db *store.DB) error {
	for range pruneBatches {
		more := false
		err := db.WriteLight(ctx, func(tx *store.Tx) (err error) {
			more, err = Prune(tx, db.Now())
			return err
		})
		if err != nil || !more {
			return err
		}
	}
	return nil
}

// Prune deletes a batch of what ended or expired more than Kept ago and reports whether some may be left. It looks at
// the lowest ids only, which rise with time: a challenge that ended early goes when the older ones have gone.
func Prune(tx *store.Tx, now time.Time) (more bool, err error) {
	before := store.Millis(now.Add(-Kept))
	n := 0
	err = tx.Query(func(store.Scan) error { n++; return nil },
		`DELETE FROM challenge WHERE id IN (SELECT id FROM (
			SELECT id, state, valid_until_ms, ended_ms FROM challenge ORDER BY id LIMIT $2)
			WHERE valid_until_ms < $1 OR (state <> 0 AND ended_ms < $1)) RETURNING 1`, before, pruneBatch)
	if err != nil {
		return false, fmt.Errorf("delete old challenges: %w", err)
	}
	return n == pruneBatch, nil
}
