package delivery

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

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

// Promised reports whether the commit alone settles that the message of a ticket is on its way: Dispatch answers Queued,
// whatever the queue says.
func (s *Service) Promised(t Ticket) bool {
	_, inside := s.Driver.(queue.TxDriver)
	return t.Via == ViaQueue && (inside || s.Fallback == WaitInOutbox)
}

// enqueue hands the tickets of the queue to it, or does what Options.Fallback says. It returns the tickets as they go on, and
// their outcomes so far, in the same order.
func (s *Service) enqueue(ctx context.Context, tickets []Ticket) ([]Ticket, []Outcome) {
	tickets = slices.Clone(tickets)
	outcomes := make([]Outcome, len(tickets))
	var jobs []queue.Job
	for i, t := range tickets {
		outcomes[i] = Outcome{ID: t.ID, Via: t.Via, State: Queued}
		if t.Via == ViaQueue {
			jobs = append(jobs, job(t.ID, t.route, t.notAfter, time.Time{}))
		}
	}
	if _, inside := s.Driver.(queue.TxDriver); inside || len(jobs) == 0 {
		return tickets, outcomes // the jobs were committed with their rows
	}
	if s.Fallback == WaitInOutbox {
		s.hands.start(func() { s.hand(ctx, jobs) }) // whatever comes of it, the answer is the same: Redis is not in the way of a login
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
	if err != nil {
		if n, tell := s.refusals.failed(s.DB.Now(), len(jobs)); tell {
			s.Log.Warn("job not enqueued", "jobs", n, "fallback", string(s.Fallback), "err", err)
		}
		return false
	}
	if n, tell := s.refusals.over(); tell {
		s.Log.Info("jobs are enqueued again", "missed", n)
	}
	return true
}

// Settle waits for the jobs that requests have left behind to be handed to the queue, which takes enqueueWithin at most. From
// then on none is handed over: the relay has them. It is called after the last request and before the queue is closed.
func (s *Service) Settle() {
	s.hands.mu.Lock()
	s.hands.ended = true
	s.hands.mu.Unlock()
	s.hands.running.Wait()
}

// hands are goroutines that no request waits for.
type hands struct {
	mu      sync.Mutex
	ended   bool
	running sync.WaitGroup
}

func (h *hands) start(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.ended {
		h.running.Go(f)
	}
}

// tellAgain is how long an outage is not told again: neither that it lasts, nor that it has come back.
const tellAgain = time.Minute

// outage says when a queue that is away is worth a line: when it begins, each minute while it lasts, and when it is over. What
// is counted and not told stays for the next line.
type outage struct {
	mu      sync.Mutex
	at      time.Time // of the last line that said it; zero: none
	said    bool      // and none has said since that it is over
	counted int       // since the last line
}

// failed counts n. With true it is to be told, with all that was counted.
func (o *outage) failed(now time.Time, n int) (int, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.counted += n
	if since := now.Sub(o.at); !o.at.IsZero() && since >= 0 && since < tellAgain {
		return 0, false
	}
	n, o.counted, o.at, o.said = o.counted, 0, now, true
	return n, true
}

// over is failed for a call that went well.
func (o *outage) over() (int, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.said {
		return 0, false
	}
	n := o.counted
	o.counted, o.said = 0, false
	return n, true
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
		s.logOutcome(s.Log, d, c)
		return t, Outcome{ID: t.ID, Via: ViaInline, State: Failed, Reason: QueueAway}
	}
	return t, Outcome{ID: t.ID, Via: ViaInline, State: Queued}
}
