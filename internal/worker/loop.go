package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/google/uuid"

	"otpost/internal/queue"
)

// How the loop waits.
const (
	waitMost    = time.Second            // one Wait for jobs
	linger      = time.Millisecond       // how long a report waits for company while handlers are busy
	overPause   = 100 * time.Millisecond // before the next claim, when the last one brought jobs of full lanes
	firstPause  = 100 * time.Millisecond // after an error of the driver, doubled up to mostPause
	mostPause   = 5 * time.Second
	hardTime    = time.Second     // how long a hard stop waits for handlers to notice
	partingTime = 5 * time.Second // for the last calls, when the driver does not answer
)

// run is the state of one Run; but for the channels it belongs to the goroutine of the loop. It has as many
// fields as the loop remembers things.
type run struct {
	*Worker
	claiming, working context.Context //nolint:containedctx // their ends are what the loop waits for

	due   chan error    // an answer of Wait
	ended chan outcome  // of a handler; has room for all of them
	kick  chan struct{} // a heartbeat was refused
	asked chan answer   // the answer of a claim

	asking   bool                        // a claim is under way
	ahead    ahead                       // jobs that wait for a handler
	held     map[uuid.UUID]queue.Claimed // running, or ended and not yet reported
	done     []outcome                   // ended and not yet reported
	flushAt  <-chan time.Time            // when the first of done has lingered
	busy     int                         // handlers at work
	begun    int                         // jobs that were given to a handler
	lanes    map[string]int              // handlers at work in each lane; absent: none
	suspect  *suspect                    // at work; nil: none
	waiting  bool                        // a Wait is under way
	stopWait context.CancelFunc          // ends it
	waitFull []string                    // the lanes whose jobs do not end it
	over     bool                        // the last claim brought jobs of full lanes
	maybeDue bool                        // a claim may bring something
	unsure   bool                        // what the driver did last is not known: state what is held
	stated   time.Duration               // when that was last done
	pause    time.Duration               // after the errors that the driver gave in a row
	told     map[string]time.Duration    // what was logged of them, and when
	trouble  string                      // what was logged last, and not yet that it is over
	panics   map[uuid.UUID]int           // of jobs that are to come back
}

// full reports whether this worker begins no more jobs.
func (r *run) full() bool { return r.mostJobs > 0 && r.begun >= r.mostJobs }

// free returns how many more jobs may be claimed.
func (r *run) free() int {
	n := r.handlers - r.busy
	if r.mostJobs > 0 {
		n = min(n, r.mostJobs-r.begun)
	}
	return n
}

// loop claims and reports until claiming ends, or enough was begun.
func (r *run) loop() {
	for r.claiming.Err() == nil && !r.full() {
		err := r.step()
		switch {
		case err == nil && r.asking: // the driver has not answered yet
		case err == nil:
			r.recovered()
		case errors.Is(err, queue.ErrLost):
			r.lost()
		default:
			r.failed(err)
		}
	}
}

// step does the next thing: it registers, claims, or waits for something to happen.
func (r *run) step() error {
	if r.asking { // nothing else is sent beside a claim
		return r.await()
	}
	switch l := r.current(); {
	case l == nil:
		if err := r.register(); err != nil {
			return err
		}
	case l.over.Load():
		return queue.ErrLost
	}
	if r.unsure || r.elapsed()-r.stated >= queue.ReconcileEvery {
		if err := r.state(); err != nil {
			return err
		}
	}
	switch {
	case r.apart():
		return r.await()
	case len(r.ahead.jobs) > 0:
		if n := r.mayClaimAhead(); r.maybeDue && n > len(r.ahead.jobs) {
			r.claim()
			return nil
		}
		return r.await()
	case len(r.done) > 0 && r.busy == 0, len(r.done) == 0 && r.maybeDue && r.free() > 0:
		r.claim()
		return nil
	default:
		return r.await()
	}
}

// await waits until there is something to do: a handler has ended, or a job may be due.
func (r *run) await() error {
	var wrote <-chan struct{}
	var late <-chan time.Time
	if r.apart() {
		wrote, late = r.suspect.wrote, r.suspect.late
	} else {
		r.wait()
	}
	select {
	case <-wrote:
		r.rejoin()
	case <-late:
		r.rejoin()
	case o := <-r.ended:
		r.end(o)
	case a := <-r.asked:
		return r.answered(a)
	case <-r.ahead.late:
		r.giveAheadBack()
	case err := <-r.due:
		r.waiting = false
		r.stopWait()
		switch {
		case err == nil:
			r.maybeDue = true
		case !errors.Is(err, context.Canceled) && r.claiming.Err() == nil:
			r.maybeDue = true
			return fmt.Errorf("wait: %w", err)
		}
	case <-r.flushAt:
		switch r.flushAt = nil; {
		case r.asking: // the answer sets the time anew
		case r.apart(), r.over:
			return r.flush(r.working)
		default:
			r.claim()
		}
	case <-r.kick:
	case <-r.claiming.Done():
	}
	return nil
}

// wait sees to it that a Wait is under way when a job could be claimed and it is not known whether there is one. A
// Wait for other lanes than those that may have a handler now is ended first, and so is each when no handler is
// free: it would take the mark that wakes a worker with a free one.
func (r *run) wait() {
	full, _ := r.shares()
	switch {
	case r.waiting && (r.free() == 0 || len(r.done) == 0 && !slices.Equal(full, r.waitFull)):
		r.stopWait()
	case !r.waiting && !r.maybeDue && r.free() > 0:
		ctx, stop := context.WithCancel(r.claiming)
		r.waiting, r.stopWait, r.waitFull = true, stop, full
		pause := time.Duration(0)
		if r.over {
			pause = overPause // the driver cannot tell lanes apart, and would bring the same jobs at once
		}
		go func() {
			select {
			case <-time.After(pause):
				r.due <- r.driver.Wait(ctx, r.names, full, waitMost)
			case <-ctx.Done():
				r.due <- ctx.Err()
			}
		}()
	}
}

// answer is what a claim brought.
type answer struct {
	lease *lease
	sent  []outcome // that it reported
	most  int
	ahead bool // it asked for more than the free handlers take
	got   []queue.Claimed
	took  time.Duration
	err   error
}

// claim begins to report what has ended and to claim for the handlers that are free, or will be when the claim answers.
func (r *run) claim() {
	a := answer{lease: r.current()}
	a.sent, _ = r.split(a.lease)
	full, most := r.shares()
	if more := r.mayClaimAhead(); more > 0 {
		full, most, a.ahead = nil, max(most, 0)+more, true
	}
	a.most = most
	req := queue.ClaimRequest{Worker: a.lease.id, Most: most, Kinds: r.names, Full: full, Done: results(a.sent)}
	r.asking = true
	go func() {
		begun := time.Now()
		a.got, a.err = r.driver.Claim(r.working, req)
		a.took = time.Since(begun)
		r.asked <- a
	}()
}

// answered takes what a claim brought.
func (r *run) answered(a answer) error {
	r.asking = false
	if a.err != nil && !errors.Is(a.err, queue.ErrLost) {
		r.lingerAgain()
		return fmt.Errorf("claim: %w", a.err)
	}
	r.reported(a.sent)
	if a.err != nil {
		return a.err
	}
	if len(a.got) > 0 {
		smooth(&r.ahead.claimTime, a.took)
	}
	r.over = false
	r.begin(a)
	// A lane that has filled its share says nothing about the others: to wait for them costs less than a claim.
	r.maybeDue = len(a.got) == a.most && !r.over && (a.ahead || slices.ContainsFunc(a.got, func(c queue.Claimed) bool {
		return r.room(r.lanes[c.Lane]) > 0
	}))
	_, others := r.split(a.lease)
	return r.reportAs(r.working, others)
}

// state states which jobs are held. Only the loop claims, so nothing comes in between.
func (r *run) state() error {
	l := r.current()
	var ids []uuid.UUID
	for id, c := range r.held {
		if c.Worker == l.id {
			ids = append(ids, id)
		}
	}
	if err := r.driver.Reconcile(r.working, l.id, ids); err != nil {
		return fmt.Errorf("state what is held: %w", err)
	}
	r.maybeDue = r.maybeDue || r.unsure
	r.unsure, r.stated = false, r.elapsed()
	return nil
}

// tellEvery is how far apart the same trouble is logged, for a queue that comes and goes.
const tellEvery = time.Minute

// failed logs the trouble once, a refusal apart from a queue that is away, and waits, longer each time, while handlers go on.
func (r *run) failed(err error) {
	if r.claiming.Err() != nil {
		return
	}
	r.unsure, r.maybeDue = true, true
	if !r.logged(err) {
		r.tell(err)
	}
	r.rest()
}

// tell logs the trouble of a driver.
func (r *run) tell(err error) {
	what, level := "queue out of reach, trying again", slog.LevelWarn
	if errors.Is(err, queue.ErrRefused) {
		what, level = "queue must not be used, trying again", slog.LevelError
	}
	if at, before := r.told[what]; what != r.trouble && (!before || r.elapsed()-at >= tellEvery) {
		r.log.Log(r.working, level, what, "err", err)
		r.told[what], r.trouble = r.elapsed(), what
	}
}

// rest waits, longer after each error of the driver in a row, while handlers go on.
func (r *run) rest() {
	if r.pause == 0 {
		r.pause = firstPause / 2
	}
	r.pause = min(2*r.pause, mostPause)
	wait := time.NewTimer(r.pause)
	defer wait.Stop()
	for {
		select {
		case o := <-r.ended:
			r.end(o)
		case <-wait.C:
			return
		case <-r.claiming.Done():
			return
		}
	}
}

// recovered takes note that the driver answers, and logs it where its trouble was.
func (r *run) recovered() {
	if r.trouble != "" {
		r.log.Info("queue answers again")
	}
	r.pause, r.trouble = 0, ""
}

// lost takes note that the lease has lapsed; the next step registers anew. Handlers at work are not disturbed.
func (r *run) lost() {
	l := r.current()
	if l == nil {
		return
	}
	l.end()
	r.giveAheadBack() // under the former id: what the queue still knows of it comes back at once
	r.set(nil)
	r.log.Info("lease lapsed while the queue was out of reach or the process was stopped, going on under a new id", "worker", l.id)
	r.maybeDue = true
}

// drain waits for the handlers at work, reporting each as it ends.
func (r *run) drain() {
	if r.asking {
		r.answered(<-r.asked) //nolint:errcheck // part reports again
	}
	r.giveAheadBack()
	r.flush(r.working) //nolint:errcheck // part does it again
	late := (<-chan time.Time)(nil)
	stopped := r.working.Done()
	if r.waiting {
		<-r.due //nolint:errcheck // its context has ended, so that the answer says nothing
	}
	for r.busy > 0 {
		select {
		case o := <-r.ended:
			r.end(o)
			r.flush(r.working) //nolint:errcheck // part does it again
		case <-stopped:
			stopped, late = nil, time.After(hardTime)
		case <-late:
			return
		}
	}
}

// part reports what is left and unregisters: what is still held goes back uncounted.
func (r *run) part() error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.working), partingTime)
	defer cancel()
	err := r.flush(ctx)
	if errors.Is(err, queue.ErrLost) {
		err = nil // what was reported counts where the claims still stood
	}
	l := r.current()
	if l == nil {
		return err
	}
	l.end()
	r.set(nil)
	if err := r.driver.Unregister(ctx, l.id); err != nil {
		return fmt.Errorf("leave the queue: %w", err)
	}
	return err
}
