package delivery

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"otpost/internal/store"
)

// DefaultKeep is how long ended deliveries are kept where Options.Keep says nothing.
const DefaultKeep = 30 * 24 * time.Hour

const (
	pruneEvery   = time.Minute // how often the relay looks for old rows once there are none
	pruneBatch   = 250         // rows of one transaction: it takes the writer for some milliseconds
	pruneBatches = 10          // transactions of one round: 2,500 rows a second keep up with as many mails
)

// prune deletes deliveries that ended longer than Options.Keep ago, the oldest first, with their attempts and waiters.
// What a round leaves the next one deletes.
func (r *relay) prune(ctx context.Context) error {
	now := r.DB.Now()
	if r.Keep < 0 || !passed(now, r.pruned, pruneEvery) {
		return nil
	}
	for range pruneBatches {
		n, err := r.pruneBatch(ctx, now.Add(-r.Keep))
		if err != nil {
			return fmt.Errorf("delete old deliveries: %w", err)
		}
		if n < pruneBatch {
			r.pruned = now
			return nil
		}
	}
	return nil
}

// pruneBatch deletes at most pruneBatch deliveries that ended before a time and returns how many.
func (r *relay) pruneBatch(ctx context.Context, before time.Time) (n int, err error) {
	err = r.DB.WriteLight(ctx, func(tx *store.Tx) error {
		var ids []uuid.UUID
		err := tx.Query(func(scan store.Scan) error {
			var id uuid.UUID
			err := scan(&id)
			ids = append(ids, id)
			return err
		}, `DELETE FROM delivery WHERE id IN (SELECT id FROM delivery WHERE updated_ms < $1
			AND state NOT IN ('queued', 'deferred', 'sending') ORDER BY updated_ms LIMIT $2) RETURNING id`,
			store.Millis(before), pruneBatch)
		if err != nil {
			return err
		}
		for _, id := range ids {
			tx.Put(`DELETE FROM attempt WHERE delivery_id = $1`, id[:])
			tx.Put(`DELETE FROM waiter WHERE delivery_id = $1`, id[:])
		}
		n = len(ids)
		return nil
	})
	return n, err
}
