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

// The times of the loop.
const (
	waitMost    = time.Second            // one Wait for jobs
	linger      = time.Millisecond       // how long a report waits for further outcomes while handlers are busy
	overPause   = 100 * time.Millisecond // before the next claim, when the last one brought jobs of full lanes
	firstPause  = 100 * time.Millisecond // after an error of the driver, doubled up to mostPause
	mostPause   = 5 * time.Second
	hardTime    = time.Second     // how long a hard stop waits for handlers to notice
	partingTime = 5 * time.Second // for the last calls, when the driver does not answer
)

// run is the state of one Run, hence its many fields. Except for the channels, only the goroutine
// of the loop uses it.
type run struct {
	*Worker
	claiming, working context.Context //nolint:containedctx // their ends are what the loop waits for

	due   chan error    // an answer of Wait
	ended chan outcome  // results of handlers; the buffer has room for all
	kick  chan struct{} // a heartbeat was refused
	asked chan answer   // the answer of a claim

	asking   bool                        // a claim is running
	ahead    ahead                       // jobs that wait for a handler
	held     map[uuid.UUID]queue.Claimed // running, or ended and not yet reported
	done     []outcome                   // ended and not yet reported
	flushAt  <-chan time.Time            // when the first of done has lingered
	busy     int                         // handlers at work
	begun    int                         // jobs that were given to a handler
	lanes    map[string]int              // busy handlers of each lane; absent: none
	suspect  *suspect                    // the running suspect; nil: none
	waiting  bool                        // a Wait is running
	stopWait context.CancelFunc          // ends it
	waitFull []string                    // the lanes whose jobs do not end it
	over     bool                        // the last claim brought jobs of full lanes
	maybeDue bool                        // a claim may bring something
	unsure   bool                        // the result of the last call is unknown: reconcile
	stated   time.Duration               // the time of the last reconciliation
	pause    time.Duration               // the pause after consecutive errors of the driver
	loggedAt map[string]time.Duration    // the last log line of each trouble
	trouble  string                      // the logged trouble that has not ended
	panics   map[uuid.UUID]int           // by job that will be retried
}

// full reports whether this worker has begun its last job.
func (r *run) full() bool { return r.mostJobs > 0 && r.begun >= r.mostJobs }

// free returns how many more jobs may be claimed.
func (r *run) free() int {
	n := r.handlers - r.busy
	if r.mostJobs > 0 {
		n = min(n, r.mostJobs-r.begun)
	}
	return n
}

// loop claims and reports until claiming ends or the last job has begun.
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

// step does the next step: it registers, claims, or waits for an event.
func (r *run) step() error {
	if r.asking { // no other call runs beside a claim
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
		if err := r.reconcile(); err != nil {
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

// await waits for an event: a handler has ended, or a job may be due.
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
		case r.asking: // the answer sets the time again
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

// wait starts a Wait when a handler is free and no job is known to be ready. It first ends a Wait
// for outdated lanes. It also ends a Wait when no handler is free, because the Wait would consume
// the wake-up of a worker with a free handler.
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

// answer is the result of a claim.
type answer struct {
	lease *lease
	sent  []outcome // the outcomes that it reported
	most  int
	ahead bool // it asked for more jobs than handlers are free
	got   []queue.Claimed
	took  time.Duration
	err   error
}

// claim starts a call that reports ended jobs and claims for the handlers that are free, or will be
// free when it answers.
func (r *run) claim() {
	a := answer{lease: r.current()}
	a.sent, _ = r.split(a.lease)
	full, most := r.shares()
	if more := r.mayClaimAhead(); more > 0 {
		full, most, a.ahead = nil, max(most, 0)+more, true
	}
	a.most = most
	req := queue.ClaimRequest{
		Worker: a.lease.id,
		Most:   most,
		Kinds:  r.names,
		Full:   full,
		Done:   results(a.sent),
	}
	r.asking = true
	go func() {
		begun := time.Now()
		a.got, a.err = r.driver.Claim(r.working, req)
		a.took = time.Since(begun)
		r.asked <- a
	}()
}

// answered handles the result of a claim.
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
	// A lane with a full share says nothing about the other lanes: waiting for them costs less than
	// a claim.
	r.maybeDue = len(a.got) == a.most && !r.over && (a.ahead || slices.ContainsFunc(a.got, func(c queue.Claimed) bool {
		return r.room(r.lanes[c.Lane]) > 0
	}))
	_, others := r.split(a.lease)
	return r.reportAs(r.working, others)
}

// reconcile tells the driver which jobs are held. Only the loop claims, so no claim comes in
// between.
func (r *run) reconcile() error {
	l := r.current()
	var ids []uuid.UUID
	for id, c := range r.held {
		if c.Worker == l.id {
			ids = append(ids, id)
		}
	}
	if err := r.driver.Reconcile(r.working, l.id, ids); err != nil {
		return fmt.Errorf("reconcile: %w", err)
	}
	r.maybeDue = r.maybeDue || r.unsure
	r.unsure, r.stated = false, r.elapsed()
	return nil
}

// logTroubleEvery is the minimum interval between two log lines about the same trouble.
const logTroubleEvery = time.Minute

// failed logs the trouble once, a refusal separately from a queue out of reach. It then waits,
// longer each time, while handlers go on.
func (r *run) failed(err error) {
	if r.claiming.Err() != nil {
		return
	}
	r.unsure, r.maybeDue = true, true
	if !r.logged(err) {
		r.logTrouble(err)
	}
	r.backOff()
}

// logTrouble logs the trouble of a driver.
func (r *run) logTrouble(err error) {
	what, level := "queue out of reach, trying again", slog.LevelWarn
	if errors.Is(err, queue.ErrRefused) {
		what, level = "queue must not be used, trying again", slog.LevelError
	}
	if at, before := r.loggedAt[what]; what != r.trouble && (!before || r.elapsed()-at >= logTroubleEvery) {
		r.log.Log(r.working, level, what, "err", err)
		r.loggedAt[what], r.trouble = r.elapsed(), what
	}
}

// backOff waits, longer after each consecutive error of the driver, while handlers go on.
func (r *run) backOff() {
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

// recovered records that the driver answers, and logs it if its trouble was logged.
func (r *run) recovered() {
	if r.trouble != "" {
		r.log.Info("queue answers again")
	}
	r.pause, r.trouble = 0, ""
}

// lost records that the lease has lapsed; the next step registers again. Running handlers continue.
func (r *run) lost() {
	l := r.current()
	if l == nil {
		return
	}
	l.end()
	r.giveAheadBack() // under the old id: jobs that the queue still has under it come back at once
	r.set(nil)
	r.log.Info("lease lapsed while the queue was out of reach or the process was stopped, going on under a new id",
		"worker", l.id)
	r.maybeDue = true
}

// drain waits for the running handlers and reports each as it ends.
func (r *run) drain() {
	if r.asking {
		r.answered(<-r.asked) //nolint:errcheck // leaveQueue reports again
	}
	r.giveAheadBack()
	r.flush(r.working) //nolint:errcheck // leaveQueue reports again
	late := (<-chan time.Time)(nil)
	stopped := r.working.Done()
	if r.waiting {
		<-r.due //nolint:errcheck // its context has ended, so the answer means nothing
	}
	for r.busy > 0 {
		select {
		case o := <-r.ended:
			r.end(o)
			r.flush(r.working) //nolint:errcheck // leaveQueue reports again
		case <-stopped:
			stopped, late = nil, time.After(hardTime)
		case <-late:
			return
		}
	}
}

// leaveQueue reports the remaining outcomes and unregisters: jobs that are still held go back
// uncounted.
func (r *run) leaveQueue() error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.working), partingTime)
	defer cancel()
	err := r.flush(ctx)
	if errors.Is(err, queue.ErrLost) {
		err = nil // a report counts if its claim was still valid
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
