package delivery

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"otpost/internal/mail"
	"otpost/internal/queue"
	"otpost/internal/store"
)

const (
	relayEvery = time.Second         // how often the relay looks
	relayLease = 5 * time.Second     // how long a relay that died holds the others up
	relayAfter = 2 * time.Second     // a row that the queue should have taken is enqueued again after so long
	relayAgain = 5 * time.Second     // and not more often than so
	relayBatch = 500                 // rows of one transaction
	pruneEvery = time.Minute         // how often old rows are deleted
	keepEnded  = 30 * 24 * time.Hour // how long ended deliveries are kept
)

// Relay makes the rows true that no worker brings to their end: it expires what is over, gives up dots whose owner is gone, and
// enqueues what the queue has lost. One process at a time does it, held by a row of the table lease; doing it twice would be
// harmless. stand says whether this process should stand for it just now (a server leaves it to a worker while one lives).
// It returns when ctx ends.
func (s *Service) Relay(ctx context.Context, stand func(context.Context) bool) error {
	relay := relay{Service: s, holder: uuid.NewString()}
	tick := time.NewTicker(relayEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if !stand(ctx) {
			continue
		}
		if err := relay.round(ctx); err != nil && ctx.Err() == nil {
			s.Queue.Error("relay interrupted, tried again", "err", err)
		}
	}
}

// relay is one holder of the lease.
type relay struct {
	*Service
	holder string
	pruned time.Time
}

// round does everything once, if the lease is this relay's.
func (r *relay) round(ctx context.Context) error {
	ours, err := r.hold(ctx)
	if err != nil || !ours {
		return err
	}
	if err := r.endOverdue(ctx); err != nil {
		return err
	}
	if err := r.enqueueLost(ctx); err != nil {
		return err
	}
	return r.prune(ctx)
}

// hold takes or renews the lease.
func (r *relay) hold(ctx context.Context) (ours bool, err error) {
	now := r.DB.Now()
	err = r.DB.WriteLight(ctx, func(tx *store.Tx) (err error) {
		ours, err = tx.Changed(`INSERT INTO lease (name, holder, term, expires_ms) VALUES ('relay', $1, 1, $2)
			ON CONFLICT (name) DO UPDATE SET holder = $1, expires_ms = $2,
				term = CASE WHEN lease.holder = $1 THEN lease.term ELSE lease.term + 1 END
			WHERE lease.holder = $1 OR lease.expires_ms <= $3 RETURNING term`,
			r.holder, store.Millis(now.Add(relayLease)), store.Millis(now))
		return err
	})
	if err != nil {
		return false, fmt.Errorf("hold the relay's lease: %w", err)
	}
	return ours, nil
}

// endOverdue is rows 15 and 16, whatever the queue knows.
func (r *relay) endOverdue(ctx context.Context) error {
	now := store.Millis(r.DB.Now())
	var overdue []row
	err := r.DB.Read(ctx, func(rd store.Reader) (err error) {
		overdue, err = loadAll(rd, `state IN ('queued', 'deferred', 'sending') AND not_after_ms <= $1
			AND (state <> 'sending' OR own_until_ms <= $1) ORDER BY not_after_ms LIMIT $2`, now, relayBatch)
		return err
	})
	if err != nil || len(overdue) == 0 {
		return err
	}
	for _, d := range overdue {
		if err := r.endOne(ctx, d); err != nil {
			return err
		}
	}
	return nil
}

// endOne ends one delivery, unless somebody else has changed it since it was read.
func (r *relay) endOne(ctx context.Context, d row) error {
	c := expire(d)
	if d.state == Sending {
		c = giveUp(d)
	}
	err := r.DB.Write(ctx, func(tx *store.Tx) error { return r.apply(tx, d, c) })
	if errors.Is(err, errStale) {
		return nil
	}
	if err == nil {
		r.tell(r.Queue, d, c, mail.Result{})
	}
	return err
}

// enqueueLost enqueues, if absent, every row that should be in a worker's hands by now. There is no mark "enqueued" to trust:
// it would lie when the queue loses a job.
func (r *relay) enqueueLost(ctx context.Context) error {
	if r.Driver == nil {
		return nil
	}
	now := r.DB.Now()
	overdue := store.Millis(now.Add(-relayAfter))
	var jobs []queue.Job
	err := r.DB.WriteLight(ctx, func(tx *store.Tx) error {
		var lost []queue.Job
		err := tx.Query(func(scan store.Scan) error {
			var id uuid.UUID
			var notAfter time.Time
			if err := scan(&id, store.Moment{To: &notAfter}); err != nil {
				return err
			}
			lost = append(lost, job(id, notAfter, now))
			return nil
		}, `UPDATE delivery SET relayed_ms = $1 WHERE id IN (SELECT id FROM delivery
			WHERE state IN ('queued', 'deferred', 'sending') AND via = 'queue' AND not_after_ms > $1 AND relayed_ms <= $2
				AND ((state <> 'sending' AND next_try_ms <= $3) OR (state = 'sending' AND own_until_ms <= $1))
			ORDER BY next_try_ms LIMIT $4) RETURNING id, not_after_ms`,
			store.Millis(now), store.Millis(now.Add(-relayAgain)), overdue, relayBatch)
		if err != nil {
			return err
		}
		if driver, ok := r.Driver.(queue.TxDriver); ok {
			driver.EnqueueTx(tx, lost...)
			lost = nil
		}
		jobs = lost
		return nil
	})
	if err != nil {
		return fmt.Errorf("find lost deliveries: %w", err)
	}
	if len(jobs) == 0 {
		return nil
	}
	return r.Driver.Enqueue(ctx, jobs...)
}

// prune deletes deliveries that ended long ago.
func (r *relay) prune(ctx context.Context) error {
	now := r.DB.Now()
	if now.Sub(r.pruned) < pruneEvery {
		return nil
	}
	r.pruned = now
	return r.DB.WriteLight(ctx, func(tx *store.Tx) error {
		old := store.Millis(now.Add(-keepEnded))
		const which = `(SELECT id FROM delivery WHERE updated_ms < $1 AND state NOT IN ('queued', 'deferred', 'sending') ORDER BY updated_ms LIMIT $2)`
		tx.Put(`DELETE FROM attempt WHERE delivery_id IN `+which, old, relayBatch)
		tx.Put(`DELETE FROM waiter WHERE delivery_id IN `+which, old, relayBatch)
		tx.Put(`DELETE FROM delivery WHERE id IN `+which, old, relayBatch)
		return nil
	})
}
