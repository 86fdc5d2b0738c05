package delivery

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"

	"otpost/internal/mail"
	"otpost/internal/queue"
	"otpost/internal/store"
)

const (
	relayEvery    = time.Second         // how often the relay looks
	relayLease    = 5 * time.Second     // how long a relay that died holds the others up
	relayGrace    = 2 * time.Second     // whoever is at a delivery writes its end first, with what the server said
	relayAfter    = 2 * time.Second     // a row that the queue should have taken is enqueued again after so long
	relayAgain    = 5 * time.Second     // and not more often than so
	relayBatches  = 20                  // transactions of one round
	relayHandlers = 64                  // messages that the relay has in flight while the queue is out of reach
	relayBatch    = 500                 // rows of one transaction
	pruneEvery    = time.Minute         // how often old rows are deleted
	keepEnded     = 30 * 24 * time.Hour // how long ended deliveries are kept
)

// Relay makes the rows true that no worker brings to their end: it expires what is over, gives up dots whose owner is gone, and
// enqueues what the queue has lost. One process at a time does it, held by a row of the table lease; doing it twice would be
// harmless. stand says whether this process should stand for it just now (a server leaves it to a worker while one lives).
// It returns when ctx ends.
func (s *Service) Relay(ctx context.Context, stand func(context.Context) bool) error {
	relay := newRelay(s, uuid.NewString())
	defer relay.sending.Wait()
	tick := time.NewTicker(relayEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if !stand(ctx) {
			relay.askAgain(ctx)
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
	holder  string
	pruned  time.Time
	slots   chan struct{} // bounds the messages that are sent here
	sending sync.WaitGroup
	away    outage    // counts what was sent here
	missed  time.Time // when the queue did not take a job; zero: it has since
}

func newRelay(s *Service, holder string) *relay {
	return &relay{Service: s, holder: holder, slots: make(chan struct{}, relayHandlers)}
}

// round does everything once, if the lease is this relay's.
func (r *relay) round(ctx context.Context) error {
	ours, err := r.hold(ctx)
	if err != nil {
		return err
	}
	if !ours {
		r.askAgain(ctx)
		return nil
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
	now := r.DB.Now()
	var overdue []row
	err := r.DB.Read(ctx, func(rd store.Reader) (err error) {
		overdue, err = loadAll(rd, `state IN ('queued', 'deferred', 'sending') AND not_after_ms <= $1
			AND CASE state WHEN 'sending' THEN own_until_ms <= $1 ELSE not_after_ms <= $2 END ORDER BY not_after_ms LIMIT $3`,
			store.Millis(now), store.Millis(now.Add(-relayGrace)), relayBatch)
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
	err := r.DB.Write(ctx, func(tx *store.Tx) (err error) {
		if c, err = arrived(tx, d, c); err != nil {
			return err
		}
		return r.apply(tx, d, c)
	})
	if errors.Is(err, errStale) {
		return nil
	}
	if err == nil {
		r.tell(r.Queue, d, c, mail.Result{})
	}
	return err
}

// lost is a row that should be in a worker's hands by now.
type lost struct {
	id                uuid.UUID
	route             string
	created, notAfter time.Time
}

// halfGone reports whether so much of its life is over that waiting for the queue could cost the rest.
func (l lost) halfGone(now time.Time) bool { return now.Sub(l.created) >= l.notAfter.Sub(l.created)/2 }

// enqueueLost enqueues, if absent, every row that should be in a worker's hands by now. There is no mark "enqueued" to trust:
// it would lie when the queue loses a job. What the queue does not take is sent here once half of its life is gone, and at once
// when the queue was switched off while messages waited.
func (r *relay) enqueueLost(ctx context.Context) error {
	now := r.DB.Now()
	for i := range relayBatches {
		rows, err := r.takeLost(ctx)
		if err != nil {
			return fmt.Errorf("find lost deliveries: %w", err)
		}
		if i == 0 && len(rows) == 0 && now.Sub(r.missed) >= 2*relayAgain { // a row that is not in the queue would have come back
			r.askAgain(ctx)
		}
		if err := r.enqueueAgain(ctx, rows); err != nil {
			return err
		}
		if len(rows) < relayBatch {
			return nil
		}
	}
	return nil
}

// takeLost marks a batch of lost rows as looked at and returns them. A queue inside the database has their jobs then.
func (r *relay) takeLost(ctx context.Context) (rows []lost, err error) {
	now := r.DB.Now()
	err = r.DB.WriteLight(ctx, func(tx *store.Tx) error {
		var found []lost
		var jobs []queue.Job
		err := tx.Query(func(scan store.Scan) error {
			var l lost
			if err := scan(&l.id, &l.route, store.Moment{To: &l.created}, store.Moment{To: &l.notAfter}); err != nil {
				return err
			}
			found = append(found, l)
			jobs = append(jobs, job(l.id, l.route, l.notAfter, now))
			return nil
		}, `UPDATE delivery SET relayed_ms = $1 WHERE id IN (SELECT id FROM delivery
			WHERE state IN ('queued', 'deferred', 'sending') AND via = 'queue' AND not_after_ms > $1 AND relayed_ms <= $2
				AND ((state <> 'sending' AND next_try_ms <= $3) OR (state = 'sending' AND own_until_ms <= $1))
			ORDER BY next_try_ms LIMIT $4) RETURNING id, route, created_ms, not_after_ms`,
			store.Millis(now), store.Millis(now.Add(-relayAgain)), store.Millis(now.Add(-relayAfter)), relayBatch)
		if err != nil {
			return err
		}
		if driver, ok := r.Driver.(queue.TxDriver); ok && len(jobs) > 0 {
			driver.EnqueueTx(tx, jobs...)
		}
		rows = found
		return nil
	})
	return rows, err
}

// enqueueAgain hands rows to a queue outside the database.
func (r *relay) enqueueAgain(ctx context.Context, rows []lost) error {
	if _, inside := r.Driver.(queue.TxDriver); inside || len(rows) == 0 {
		return nil
	}
	if r.Driver == nil {
		for _, l := range rows {
			r.sendHere(ctx, l.id)
		}
		return nil
	}
	now := r.DB.Now()
	jobs := make([]queue.Job, len(rows))
	for i, l := range rows {
		jobs[i] = job(l.id, l.route, l.notAfter, time.Time{})
	}
	taking, cancel := context.WithTimeout(ctx, relayEvery)
	defer cancel()
	err := r.Driver.Enqueue(taking, jobs...)
	switch {
	case ctx.Err() != nil:
		return err
	case err == nil:
		r.back()
		return nil
	}
	here := 0
	for _, l := range rows {
		if l.halfGone(now) && r.sendHere(ctx, l.id) {
			here++
		}
	}
	r.missed = now
	if here, tell := r.away.failed(now, here); tell {
		waiting, _, countErr := r.Waiting(ctx)
		if countErr != nil {
			return countErr
		}
		r.Queue.Warn("queue out of reach, its mails wait", "waiting", waiting, "sent_here", here, "err", err)
	}
	return nil
}

// back takes note that the queue takes jobs.
func (r *relay) back() {
	r.missed = time.Time{}
	if here, tell := r.away.over(); tell {
		r.Queue.Info("queue takes mails again", "sent_here", here)
	}
}

// askAgain asks a queue that was away when there is no row by which to see it: nothing waits any more, or it is another's.
func (r *relay) askAgain(ctx context.Context) {
	if r.missed.IsZero() || r.Driver == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, relayEvery)
	defer cancel()
	if _, err := r.Driver.Workers(ctx); err == nil {
		r.back()
	}
}

// sendHere sends a message without the queue, as a worker would: the row says whose it is. It reports false when too many are
// on their way already; the row comes back.
func (r *relay) sendHere(ctx context.Context, id uuid.UUID) bool {
	select {
	case r.slots <- struct{}{}:
	default:
		return false
	}
	r.sending.Go(func() {
		defer func() { <-r.slots }()
		h := &handling{s: r.Service, id: id, owner: "relay " + uuid.NewString(), log: r.Queue}
		if err := h.run(ctx); err != nil && ctx.Err() == nil {
			r.Queue.Warn("delivery interrupted, tried again", "delivery", id, "err", err)
		}
	})
	return true
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
