package sqliteq

import (
	"context"
	"time"

	"otpost/internal/store"
)

const (
	pruneEvery = time.Minute
	pruneBatch = 500            // rows of a kind in one transaction
	mostDead   = 10_000         // dead jobs that are kept; the oldest go first
	keepOthers = 24 * time.Hour // how long rows of another queue name stay, and rows of workers
)

// prune deletes, once a minute, dead jobs beyond mostDead, jobs of other queue names that ended long ago (those
// that have not are taken over with the next Enqueue) and rows of workers that no sweep meets.
func (d *Driver) prune(ctx context.Context, now time.Time) error {
	if since := store.Millis(now) - d.pruned.Load(); since >= 0 && since < pruneEvery.Milliseconds() {
		return nil
	}
	d.pruned.Store(store.Millis(now))
	return d.db.WriteLight(ctx, func(tx *store.Tx) error {
		old := store.Millis(now.Add(-keepOthers))
		tx.Put(`DELETE FROM job WHERE id IN (SELECT id FROM job WHERE queue = $1 AND state = 3 ORDER BY run_at_ms
			LIMIT min(max((SELECT count(*) FROM job WHERE queue = $1 AND state = 3) - $2, 0), $3))`,
			d.queue, mostDead, pruneBatch)
		for _, state := range []string{"0", "2", "3"} {
			for _, side := range []string{"<", ">"} {
				tx.Put(`DELETE FROM job WHERE id IN (SELECT id FROM job WHERE queue `+side+` $1 AND state = `+state+`
					AND run_at_ms < $2 AND (state = 3 OR not_after_ms BETWEEN 1 AND $2) LIMIT $3)`, d.queue, old, pruneBatch)
			}
		}
		tx.Put(`DELETE FROM queue_worker WHERE id IN (SELECT id FROM queue_worker WHERE (queue <> $1 OR NOT (`+readable+`))
			AND (expires_ms < $2 OR expires_ms > $3) LIMIT $4)`, d.queue, old, store.Millis(now.Add(keepOthers)), pruneBatch)
		return nil
	})
}
