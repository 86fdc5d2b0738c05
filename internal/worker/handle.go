package worker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"time"

	"github.com/google/uuid"

	"otpost/internal/queue"
)

// outcome is the result of a handler for a claim.
type outcome struct {
	claim    queue.Claimed
	result   queue.Result
	took     time.Duration
	panicked bool
}

// begin starts a handler for each job. A suspect beside another one comes back later, because at
// once it would fill the next claim. Jobs that were claimed ahead wait for a handler. Other jobs
// above their lane's share go back, which happens only with a driver that does not distinguish
// lanes.
func (r *run) begin(a answer) {
	for _, c := range a.got {
		r.held[c.ID] = c
		switch {
		case r.claiming.Err() != nil:
			r.giveBack(c, queue.Result{Action: queue.Release})
		case isSuspect(c) && (r.suspect != nil || r.room(r.lanes[c.Lane]) == 0):
			r.giveBack(c, queue.Result{Action: queue.Retry, RunAt: r.now().Add(suspectAgain)})
		case r.room(r.lanes[c.Lane]) == 0 && a.ahead:
			r.keep(c)
		case r.room(r.lanes[c.Lane]) == 0:
			r.giveBack(c, queue.Result{Action: queue.Release})
			r.over = true
		default:
			r.start(a.lease, c)
		}
	}
}

// giveBack reports a claim that was not begun.
func (r *run) giveBack(c queue.Claimed, result queue.Result) {
	result.ID, result.Token = c.ID, c.Token
	r.add(outcome{claim: c, result: result})
}

// add appends an outcome for the next report.
func (r *run) add(o outcome) {
	if len(r.done) == 0 {
		r.flushAt = time.After(linger)
	}
	r.done = append(r.done, o)
}

func (r *run) start(l *lease, c queue.Claimed) {
	r.enter(c.Lane)
	r.begun++
	r.ahead.running[c.ID] = time.Now()
	h := &handlerState{lease: l}
	if isSuspect(c) {
		r.suspect = newSuspect(c)
		h.write = r.suspect.write
	}
	ctx := context.WithValue(r.working, handlerKey{}, h)
	go func() { r.ended <- r.handle(ctx, c) }()
}

// handle runs a kind. It returns also after a panic.
func (r *run) handle(ctx context.Context, c queue.Claimed) (o outcome) {
	o = outcome{claim: c, panicked: true}
	begun := time.Now()
	defer func() {
		if o.panicked {
			r.log.Error("handler panicked, trying again later", "job", c.ID, "kind", c.Kind,
				"err", fmt.Sprint(recover()), "stack", string(debug.Stack()))
			o.result = queue.Result{Action: queue.Retry, NotAfter: c.NotAfter}
		}
		o.result.ID, o.result.Token = c.ID, c.Token
		o.took = time.Since(begun)
	}()
	r.log.Debug("job begun", "job", c.ID, "kind", c.Kind)
	o.result = r.kinds[c.Kind].Run(ctx, c)
	o.panicked = false
	r.log.Debug("job ended", "job", c.ID, "kind", c.Kind, "took_ms", time.Since(begun).Milliseconds())
	return o
}

// end records that a handler has ended.
func (r *run) end(o outcome) {
	id := o.claim.ID
	r.leave(o.claim.Lane)
	delete(r.ahead.running, id)
	smooth(&r.ahead.handlerTime, o.took)
	if s := r.suspect; s != nil && s.job.ID == id && s.job.Token == o.claim.Token {
		r.suspect, r.maybeDue = nil, true
	}
	if o.panicked {
		o.result.RunAt = r.now().Add(min(time.Second<<min(r.panics[id], 10), time.Minute))
		if len(r.panics) >= 1000 { // they may be of jobs that other workers have finished
			clear(r.panics)
		}
		r.panics[id]++
	} else {
		delete(r.panics, id)
	}
	r.add(o)
	r.beginAhead()
}

// split returns the outcomes of claims under the lease, and those of claims under earlier leases.
func (r *run) split(l *lease) (mine, others []outcome) {
	for _, o := range r.done {
		if l != nil && o.claim.Worker == l.id {
			mine = append(mine, o)
		} else {
			others = append(others, o)
		}
	}
	return mine, others
}

func results(outcomes []outcome) []queue.Result {
	all := make([]queue.Result, 0, len(outcomes))
	for _, o := range outcomes {
		all = append(all, o.result)
	}
	return all
}

// reported removes outcomes that the driver has received.
func (r *run) reported(outcomes []outcome) {
	if len(outcomes) == 0 {
		return
	}
	for _, o := range outcomes {
		if r.held[o.claim.ID].Token == o.claim.Token {
			delete(r.held, o.claim.ID)
		}
	}
	r.done = slices.DeleteFunc(r.done, func(o outcome) bool {
		return slices.ContainsFunc(outcomes, func(p outcome) bool {
			return p.claim.ID == o.claim.ID && p.claim.Token == o.claim.Token
		})
	})
	r.lingerAgain()
}

// lingerAgain restarts the time after which outcomes are reported.
func (r *run) lingerAgain() {
	if r.flushAt = nil; len(r.done) > 0 {
		r.flushAt = time.After(linger)
	}
}

// flush reports all outcomes.
func (r *run) flush(ctx context.Context) error {
	mine, others := r.split(r.current())
	if len(mine) > 0 {
		err := r.driver.Report(ctx, mine[0].claim.Worker, results(mine)...)
		if err != nil && !errors.Is(err, queue.ErrLost) {
			return fmt.Errorf("report: %w", err)
		}
		r.reported(mine)
		if err != nil {
			return err
		}
	}
	return r.reportAs(ctx, others)
}

// reportAs reports under the ids of lapsed leases: a report counts if its claim is still valid.
func (r *run) reportAs(ctx context.Context, outcomes []outcome) error {
	byWorker := make(map[uuid.UUID][]outcome)
	for _, o := range outcomes {
		byWorker[o.claim.Worker] = append(byWorker[o.claim.Worker], o)
	}
	for _, worker := range slices.Collect(maps.Keys(byWorker)) {
		err := r.driver.Report(ctx, worker, results(byWorker[worker])...)
		if err != nil && !errors.Is(err, queue.ErrLost) {
			return fmt.Errorf("report: %w", err)
		}
		r.reported(byWorker[worker])
	}
	return nil
}
