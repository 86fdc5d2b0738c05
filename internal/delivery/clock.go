package delivery

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/google/uuid"

	"otpost/internal/queue"
	"otpost/internal/store"
)

// clockSlack is how far a stored time may lie ahead before it says that the clock was set back.
const clockSlack = time.Second

// followClock sets the times of waiting rows that lie further ahead than they can: the clock was set back since they
// were written. The next try is now, and a dot's owner has as long as if it began now. The end of a message stays what
// it is.
func (r *relay) followClock(ctx context.Context) error {
	now := r.DB.Now()
	var newest time.Time
	err := r.DB.Read(ctx, func(rd store.Reader) error {
		return rd.Get([]any{store.NullTime{To: &newest}}, `SELECT max(updated_ms) FROM delivery WHERE updated_ms <= $1`,
			int64(math.MaxInt64)) // a damaged text sorts behind all numbers
	})
	if err != nil {
		return fmt.Errorf("find a clock that was set back: %w", err)
	}
	if !newest.After(now.Add(clockSlack)) {
		return nil
	}
	ids, err := r.bringBack(ctx, now)
	if err != nil || len(ids) == 0 {
		return err
	}
	r.Queue.Warn("clock was set back, waiting mails are due now", "mails", len(ids),
		"step", newest.Sub(now).Round(time.Second))
	return r.runAllNow(ctx, ids)
}

// bringBack sets the times of a batch of rows and makes their jobs due in a queue inside the database. The epoch
// stays: what a handling of the row has begun it may end.
func (r *relay) bringBack(ctx context.Context, now time.Time) (ids []uuid.UUID, err error) {
	err = r.DB.Write(ctx, func(tx *store.Tx) error {
		var all []uuid.UUID
		err := tx.Query(func(scan store.Scan) error {
			var id uuid.UUID
			err := scan(&id)
			all = append(all, id)
			return err
		}, `UPDATE delivery SET updated_ms = $1, next_try_ms = CASE WHEN next_try_ms > $1 THEN $1 ELSE next_try_ms END,
				own_until_ms = CASE WHEN via = 'queue' AND own_until_ms > $2 THEN $2 ELSE own_until_ms END
			WHERE id IN (SELECT id FROM delivery WHERE state IN ('queued', 'deferred', 'sending') AND +updated_ms > $3
				ORDER BY next_try_ms LIMIT $4) RETURNING id`,
			store.Millis(now), store.Millis(now.Add(replyWait+ownMargin)), store.Millis(now.Add(clockSlack)), relayBatch)
		if err != nil {
			return err
		}
		if driver, ok := r.Driver.(queue.TxDriver); ok {
			for _, id := range all {
				driver.RunNowTx(tx, id)
			}
		}
		ids = all
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("follow a clock that was set back: %w", err)
	}
	return ids, nil
}

// runAllNow makes jobs due in a queue outside the database. A job that it does not reach is late, and its row is
// enqueued again.
func (r *relay) runAllNow(ctx context.Context, ids []uuid.UUID) error {
	if _, inside := r.Driver.(queue.TxDriver); inside || r.Driver == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, relayEvery)
	defer cancel()
	for _, id := range ids {
		if err := r.Driver.RunNow(ctx, id); err != nil {
			return nil //nolint:nilerr // a queue out of reach is logged by enqueueLost
		}
	}
	return nil
}
