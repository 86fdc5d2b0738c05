package delivery_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"otpost/internal/delivery"
	"otpost/internal/queue"
)

// away is a queue outside the database that is out of reach until it is back.
type away struct {
	queue.Driver
	back atomic.Bool
	jobs atomic.Int64
}

// Enqueue implements queue.Driver.
func (a *away) Enqueue(_ context.Context, jobs ...queue.Job) error {
	if !a.back.Load() {
		return errors.New("connection refused")
	}
	a.jobs.Add(int64(len(jobs)))
	return nil
}

// RunNow implements queue.Driver.
func (a *away) RunNow(context.Context, uuid.UUID) error {
	if !a.back.Load() {
		return errors.New("connection refused")
	}
	return nil
}

func (r *rig) without(fallback delivery.Fallback) *away {
	a := &away{}
	r.Driver, r.Fallback = a, fallback
	return a
}

func TestWithoutTheQueueTheOutboxWaits(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.without(delivery.WaitInOutbox)
	ticket, _ := r.put("queued")
	if o := r.Dispatch(t.Context(), ticket)[0]; !o.Promising() {
		t.Fatalf("outcome %+v", o)
	}
	r.clock.Advance(life / 4)
	r.relay()
	r.wantState(ticket, delivery.Queued)
	a.back.Store(true)
	r.clock.Advance(life / 8)
	r.relay()
	if a.jobs.Load() != 1 {
		t.Fatalf("%d jobs enqueued after the queue came back", a.jobs.Load())
	}
}

func TestWithoutTheQueueTheRelaySendsWhatHasHalfItsLifeLeft(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.without(delivery.WaitInOutbox)
	ticket, _ := r.put("queued")
	r.Dispatch(t.Context(), ticket)
	r.clock.Advance(life / 2)
	r.relay()
	r.wantState(ticket, delivery.Accepted)
	if len(r.server.sent) != 1 {
		t.Fatalf("%d copies", len(r.server.sent))
	}
}

func TestMessagesOfAQueueThatWasSwitchedOffAreSentAllTheSame(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ticket, _ := r.put("queued")
	r.Driver = nil // the next start of the server
	r.clock.Advance(2 * time.Second)
	r.relay()
	r.wantState(ticket, delivery.Accepted)
}

func TestWithoutTheQueueInlineSendsInTheRequest(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.without(delivery.SendInline)
	ticket, _ := r.put("queued")
	if o := r.Dispatch(t.Context(), ticket)[0]; o.State != delivery.Accepted || o.Via != delivery.ViaInline {
		t.Fatalf("outcome %+v", o)
	}
	// A job that went in all the same finds the message taken.
	if got := r.work(workerA, ticket, queue.Claimed{}); got.Action != queue.Done || len(r.server.sent) != 1 {
		t.Fatalf("job %+v, %d copies", got, len(r.server.sent))
	}
	r.server.script = []attempt{{before: delivery.ClassUnreachable}}
	failing, _ := r.put("queued")
	if o := r.Dispatch(t.Context(), failing)[0]; o.State != delivery.Failed || o.Promising() {
		t.Fatalf("one try, and then: %+v", o)
	}
}

func TestWithoutTheQueueErrorRefusesAndEndsTheChallenge(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.without(delivery.Refuse)
	ticket, _ := r.put("queued")
	if o := r.Dispatch(t.Context(), ticket)[0]; o.State != delivery.Failed || o.Promising() || o.Via != delivery.ViaInline {
		t.Fatalf("outcome %+v", o)
	}
	if len(r.ended) != 1 || r.ended[0].Via != delivery.ViaInline {
		t.Fatalf("told: %+v", r.ended)
	}
}

func TestWorkerLeavesAloneWhatTheRequestTookBack(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ticket, _ := r.put("inline")
	if got := r.work(workerA, ticket, queue.Claimed{}); got.Action != queue.Done || len(r.server.sent) != 0 {
		t.Fatalf("job %+v, %d copies", got, len(r.server.sent))
	}
	r.wantState(ticket, delivery.Queued)
}
