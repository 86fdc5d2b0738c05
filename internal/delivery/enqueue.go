package delivery

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"otpost/internal/mail"
	"otpost/internal/queue"
	"otpost/internal/store"
)

// Fallback is what becomes of a message that a queue outside the database does not take.
type Fallback string

// The fallbacks.
const (
	WaitInOutbox Fallback = "outbox" // it waits; the relay enqueues it when the queue is back, or sends it itself in the end
	SendInline   Fallback = "inline" // it becomes inline: one try, in the request
	Refuse       Fallback = "error"  // it fails, and its challenge ends with it
)

// enqueueWithin is how long the queue has to take a job before the fallback counts. The job may go in later all the same:
// harmless, the row decides.
const enqueueWithin = 500 * time.Millisecond

// enqueue hands the tickets of the queue to it, or does what Options.Fallback says. It returns the tickets as they go on, and
// their outcomes so far, in the same order.
func (s *Service) enqueue(ctx context.Context, tickets []Ticket) ([]Ticket, []Outcome) {
	tickets = slices.Clone(tickets)
	outcomes := make([]Outcome, len(tickets))
	var jobs []queue.Job
	for i, t := range tickets {
		outcomes[i] = Outcome{ID: t.ID, Via: t.Via, State: Queued}
		if t.Via == ViaQueue {
			jobs = append(jobs, job(t.ID, t.notAfter, time.Time{}))
		}
	}
	if _, inside := s.Driver.(queue.TxDriver); inside || len(jobs) == 0 {
		return tickets, outcomes // the jobs were committed with their rows
	}
	if s.Fallback == WaitInOutbox {
		go s.hand(ctx, jobs) // whatever comes of it, the answer is the same: Redis is not in the way of a login
		return tickets, outcomes
	}
	if s.hand(ctx, jobs) {
		return tickets, outcomes
	}
	for i, t := range tickets {
		if t.Via == ViaQueue {
			tickets[i], outcomes[i] = s.fallBack(ctx, t)
		}
	}
	return tickets, outcomes
}

// hand gives jobs to the queue and reports whether it took them in time. What it did not take the relay has.
func (s *Service) hand(ctx context.Context, jobs []queue.Job) bool {
	ctx, cancel := context.WithTimeout(ctx, enqueueWithin)
	defer cancel()
	err := s.Driver.Enqueue(ctx, jobs...)
	// Once a second: an outage must not fill the log at the rate of the logins.
	if now := s.DB.Now().Unix(); err != nil && s.complained.Swap(now) != now {
		s.Log.Warn("job not enqueued", "jobs", len(jobs), "fallback", string(s.Fallback), "err", err)
	}
	return err == nil
}

// fallBack takes a message back from the queue that may have it. A worker that was faster keeps it.
func (s *Service) fallBack(ctx context.Context, t Ticket) (Ticket, Outcome) {
	var d row
	c := change{}
	err := s.DB.Write(ctx, func(tx *store.Tx) (err error) {
		if d, err = load(tx, t.ID); err != nil {
			return err
		}
		taken, err := tx.Changed(`UPDATE delivery SET via = 'inline', epoch = epoch + 1 WHERE id = $1 AND epoch = $2 AND state = 'queued'
			RETURNING epoch`, d.id[:], d.epoch)
		if err != nil {
			return fmt.Errorf("take delivery %s back: %w", t.ID, err)
		}
		if !taken {
			return errStale
		}
		d.via, d.epoch = ViaInline, d.epoch+1
		if s.Fallback == Refuse {
			c = end(d, Failed, QueueAway)
			return s.apply(tx, d, c)
		}
		return nil
	})
	switch {
	case errors.Is(err, errStale):
		return t, Outcome{ID: t.ID, Via: ViaQueue, State: Queued}
	case err != nil:
		s.Log.Error("message not taken back from the queue", "delivery", t.ID, "err", err)
		return t, Outcome{ID: t.ID, Via: ViaQueue, State: Queued} // the relay has it
	}
	t.Via = ViaInline
	if s.Fallback == Refuse {
		s.tell(s.Log, d, c, mail.Result{})
		return t, Outcome{ID: t.ID, Via: ViaInline, State: Failed, Reason: QueueAway}
	}
	return t, Outcome{ID: t.ID, Via: ViaInline, State: Queued}
}
