package delivery

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"otpost/internal/queue"
	"otpost/internal/store"
)

// lost is a row that a worker should have begun by now.
type lost struct {
	position          // next_try_ms, id
	route             string
	created, notAfter time.Time
}

// halfGone reports whether so much of its life is over that waiting for the queue could cost the rest. A row that was
// made before the clock was set back counts as such: its age is not known.
func (l lost) halfGone(now time.Time) bool {
	return passed(now, l.created, l.notAfter.Sub(l.created)/2)
}

// pass is where the relay stands in its pass over the waiting rows, in the order of their next try. A pass that has
// reached the end goes on with the rows that become due, until the next one begins.
type pass struct {
	begun time.Time
	after position // the last row that was looked at
	ended bool     // there was no row behind it
}

// enqueueLost enqueues, if absent, every row that a worker should have begun by now. The row has no mark
// "enqueued", because that would be wrong when the queue loses a job. A round looks at relayBatches x
// relayBatch rows at most, the next one goes on behind them. What the queue does not take is sent here once
// half of its life is gone, and at once when the queue was switched off while messages waited.
func (r *relay) enqueueLost(ctx context.Context) error {
	now := r.DB.Now()
	if r.pass.ended && passed(now, r.pass.begun, relayAgain) {
		r.pass = pass{}
	}
	if r.pass.begun.IsZero() {
		r.pass.begun = now
	}
	within, cancel := context.WithTimeout(ctx, relayEvery) // of all calls of the queue in this round
	defer cancel()
	r.patience = time.After(2 * relayEvery)
	for i := range relayBatches {
		rows, err := r.nextLost(ctx, now)
		if err != nil {
			return fmt.Errorf("find lost deliveries: %w", err)
		}
		// A row that is not in the queue would have come back.
		if i == 0 && len(rows) == 0 && passed(now, r.missed, 2*relayAgain) {
			r.askAgain(ctx)
		}
		more, err := r.enqueueAgain(ctx, within, rows)
		if err != nil || !more || r.pass.ended {
			return err
		}
	}
	return nil
}

// nextLost looks at the next rows of the pass and returns those that a worker should have and, where the queue lies in
// the database, has no job for.
func (r *relay) nextLost(ctx context.Context, now time.Time) (rows []lost, err error) {
	next := r.pass
	err = r.DB.Read(ctx, func(rd store.Reader) error {
		rows, next = nil, r.pass
		seen := 0
		err := store.List(rd, func(scan store.Scan) error {
			seen++
			var l lost
			if err := scan(&l.id, &l.ms, &l.route, store.NullTime{To: &l.created}, store.NullTime{To: &l.notAfter}); err != nil {
				r.leave(l.id, err)
				return nil
			}
			next.after = l.position
			rows = append(rows, l)
			return nil
		}, `SELECT id, next_try_ms, route, created_ms, not_after_ms FROM delivery
			WHERE state IN ('queued', 'deferred', 'sending') AND next_try_ms <= $1 AND (next_try_ms, id) > ($2, $3)
				AND via = 'queue' AND not_after_ms > $4 AND (state <> 'sending' OR own_until_ms <= $4)
			ORDER BY next_try_ms, id LIMIT $5`,
			store.Millis(now.Add(-relayAfter)), next.after.ms, next.after.id[:], store.Millis(now), relayBatch)
		next.ended = seen < relayBatch
		if driver, ok := r.Driver.(queue.TxDriver); ok && err == nil {
			rows, err = unknown(rd, driver, rows)
		}
		return err
	})
	if err == nil {
		r.pass = next
	}
	return rows, err
}

// unknown returns the rows that a queue inside the database has no job for.
func unknown(rd store.Reader, driver queue.TxDriver, rows []lost) ([]lost, error) {
	if len(rows) == 0 {
		return nil, nil
	}
	by := make(map[uuid.UUID]lost, len(rows))
	ids := make([]uuid.UUID, len(rows))
	for i, l := range rows {
		by[l.id], ids[i] = l, l.id
	}
	ids, err := driver.Unknown(rd, ids...)
	rows = rows[:0]
	for _, id := range ids {
		rows = append(rows, by[id])
	}
	return rows, err
}

// enqueueAgain hands rows to the queue, or sends them here. more is false when this round can do no more.
func (r *relay) enqueueAgain(ctx, within context.Context, rows []lost) (more bool, err error) {
	if len(rows) == 0 {
		return true, nil
	}
	now := r.DB.Now()
	if r.Driver == nil {
		_, all := r.sendAll(ctx, rows)
		return all, nil
	}
	jobs := make([]queue.Job, len(rows))
	for i, l := range rows {
		jobs[i] = job(l.id, l.route, l.notAfter, time.Time{})
	}
	if driver, inside := r.Driver.(queue.TxDriver); inside {
		return true, r.DB.WriteLight(ctx, func(tx *store.Tx) error {
			driver.EnqueueTx(tx, jobs...)
			return nil
		})
	}
	err = within.Err() // a queue that hangs is asked once in a round
	if err == nil {
		err = r.Driver.Enqueue(within, jobs...)
	}
	switch {
	case ctx.Err() != nil:
		return false, err
	case err == nil:
		r.back()
		return true, nil
	}
	return r.withoutQueue(ctx, now, rows, err)
}

// withoutQueue sends what cannot wait for the queue any longer, and logs why.
func (r *relay) withoutQueue(ctx context.Context, now time.Time, rows []lost, why error) (more bool, err error) {
	var urgent []lost
	for _, l := range rows {
		if l.halfGone(now) {
			urgent = append(urgent, l)
		}
	}
	here, more := r.sendAll(ctx, urgent)
	r.missed = now
	if here, due := r.away.failed(now, here); due {
		waiting, _, err := r.Waiting(ctx)
		if err != nil {
			return false, err
		}
		r.Queue.Warn("queue out of reach, its mails wait", "waiting", waiting, "sent_here", here, "err", why)
	}
	return more, nil
}

// back notes that the queue takes jobs.
func (r *relay) back() {
	r.missed = time.Time{}
	if here, due := r.away.over(); due {
		r.Queue.Info("queue takes mails again", "sent_here", here)
	}
}

// askAgain asks a queue that was away when there is no row by which to see it: nothing waits any more, or it is
// another's.
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

// sendAll sends messages without the queue, as a worker would: the row says whose it is. It waits for free slots
// while the round has patience and returns how many messages it began with. What is left comes first in the next round.
func (r *relay) sendAll(ctx context.Context, rows []lost) (n int, all bool) {
	for i, l := range rows {
		select {
		case r.slots <- struct{}{}:
			r.sendHere(ctx, l.id)
		case <-r.patience:
			r.pass.after, r.pass.ended = position{l.ms, uuid.Nil}, false
			return i, false
		}
	}
	return len(rows), true
}

// sendHere sends one message in a goroutine, which frees the slot.
func (r *relay) sendHere(ctx context.Context, id uuid.UUID) {
	r.sending.Go(func() {
		defer func() { <-r.slots }()
		h := &handling{s: r.Service, id: id, owner: "relay " + uuid.NewString(), log: r.Queue, begun: r.DB.Now()}
		if _, err := h.attempt(ctx); err != nil && ctx.Err() == nil {
			r.interrupted(r.Queue, id, err)
		}
	})
}
