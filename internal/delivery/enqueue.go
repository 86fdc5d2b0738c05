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
	WaitInOutbox Fallback = "outbox" // it waits; the relay enqueues it when the queue is back, or sends it
	SendInline   Fallback = "inline" // it becomes inline: one try, in the request
	Refuse       Fallback = "error"  // it fails, and its challenge ends with it
)

// enqueueWithin is how long the queue has to take a job before the fallback counts. The job may go in later
// all the same: harmless, the row decides.
const enqueueWithin = 500 * time.Millisecond

// Promised reports whether the commit alone settles that the message of a ticket is on its way: Dispatch
// answers Queued, whatever the queue says.
func (s *Service) Promised(t Ticket) bool {
	_, inside := s.Driver.(queue.TxDriver)
	return t.Via == ViaQueue && (inside || s.Fallback == WaitInOutbox)
}

// enqueue hands the tickets of the queue to it, or does what Options.Fallback says. It returns the tickets as
// they go on, and their outcomes so far, in the same order.
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
		// The answer is the same whether the queue takes them: a login does not wait for Redis.
		s.background.start(func() { s.offer(ctx, jobs) })
		return tickets, outcomes
	}
	if s.offer(ctx, jobs) {
		return tickets, outcomes
	}
	for i, t := range tickets {
		if t.Via == ViaQueue {
			tickets[i], outcomes[i] = s.fallBack(ctx, t)
		}
	}
	return tickets, outcomes
}

// offer gives jobs to the queue and reports whether it took them in time. The relay enqueues what it did not take.
func (s *Service) offer(ctx context.Context, jobs []queue.Job) bool {
	ctx, cancel := context.WithTimeout(ctx, enqueueWithin)
	defer cancel()
	err := s.Driver.Enqueue(ctx, jobs...)
	if err != nil {
		if n, due := s.refusals.failed(s.DB.Now(), len(jobs)); due {
			s.Log.Warn("job not enqueued", "jobs", n, "fallback", string(s.Fallback), "err", err)
		}
		return false
	}
	if n, due := s.refusals.over(); due {
		s.Log.Info("jobs are enqueued again", "missed", n)
	}
	return true
}

// Drain waits until the jobs that requests have left behind are handed to the queue, which takes
// enqueueWithin at most. From then on no job is handed over: the relay enqueues them. Call it after the last
// request and before the queue is closed.
func (s *Service) Drain() {
	s.background.mu.Lock()
	s.background.ended = true
	s.background.mu.Unlock()
	s.background.running.Wait()
}

// backgroundGroup is a group of goroutines that no request waits for.
type backgroundGroup struct {
	mu      sync.Mutex
	ended   bool
	running sync.WaitGroup
}

func (g *backgroundGroup) start(f func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.ended {
		g.running.Go(f)
	}
}

// outageLogEvery is the minimum interval between two log lines about one outage.
const outageLogEvery = time.Minute

// outage says when a log line about an outage is due: at its begin, each outageLogEvery while it lasts, and
// at its end. Failures that no line has counted yet are counted in the next one.
type outage struct {
	mu      sync.Mutex
	logged  time.Time // when the last line of an outage was due; zero: never
	open    bool      // the last line was not that of an end
	counted int       // since the last line
}

// failed counts n failures. When a line is due it returns true, with the number of failures since the last line.
func (o *outage) failed(now time.Time, n int) (int, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.counted += n
	if since := now.Sub(o.logged); !o.logged.IsZero() && since >= 0 && since < outageLogEvery {
		return 0, false
	}
	n, o.counted, o.logged, o.open = o.counted, 0, now, true
	return n, true
}

// over is called after a success. When the line of an end is due it returns true, with the failures since the
// last line.
func (o *outage) over() (int, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.open {
		return 0, false
	}
	n := o.counted
	o.counted, o.open = 0, false
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
		taken, err := tx.Changed(`UPDATE delivery SET via = 'inline', epoch = epoch + 1
			WHERE id = $1 AND epoch = $2 AND state = 'queued' RETURNING epoch`, d.id[:], d.epoch)
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
