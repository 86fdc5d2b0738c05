package delivery_test

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"otpost/internal/delivery"
	"otpost/internal/queue"
	"otpost/internal/store"
)

// steps are the ways in which a clock is stepped: in one process, and between the end of one process and the start of
// the next.
func steps(t *testing.T, test func(t *testing.T, r *rig, step func(d time.Duration) (round func()))) {
	t.Helper()
	for _, name := range []string{"in one process", "on a restart"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			before := r.rounds("before")
			before()
			test(t, r, func(d time.Duration) func() {
				before()
				r.clock.Advance(d)
				if name == "in one process" {
					return before
				}
				return r.rounds("after")
			})
		})
	}
}

func TestRelayWorksAtOnceAfterTheClockWasSetBack(t *testing.T) {
	t.Parallel()
	steps(t, func(t *testing.T, r *rig, step func(time.Duration) func()) {
		round := step(-time.Hour)
		ticket, _ := r.put("queued")
		r.clock.Advance(life + 2*time.Second)
		round()
		r.wantState(ticket, delivery.Expired)
	})
}

// A message that waits for its next try is tried within seconds, not an hour later, whether or not the queue still has
// its job.
func TestWaitingMailIsTriedAfterTheClockWasSetBack(t *testing.T) {
	t.Parallel()
	for _, where := range []string{"inside", "outside"} {
		for _, lost := range []bool{false, true} {
			steps(t, func(t *testing.T, r *rig, step func(time.Duration) func()) {
				d := r.drivers()[where]
				r.Driver = d
				ticket, _ := r.deferred()
				w := queue.Worker{ID: workerA, Host: "h", Handlers: 1}
				if err := d.Register(t.Context(), w); err != nil {
					t.Fatal(err)
				}
				if !lost {
					next := r.record(ticket).NextTry
					if err := d.Enqueue(t.Context(), queue.Job{ID: ticket.ID, Kind: delivery.Kind, RunAt: next,
						NotAfter: next.Add(life)}); err != nil {
						t.Fatal(err)
					}
				} else {
					r.write(func(tx *store.Tx) { tx.Put(`DELETE FROM job`) })
				}
				round := step(-time.Hour)
				for range 8 {
					r.clock.Advance(time.Second)
					round()
				}
				if err := d.Register(t.Context(), queue.Worker{ID: workerB, Host: "h", Handlers: 1}); err != nil {
					t.Fatal(err)
				}
				got, err := d.Claim(t.Context(), queue.ClaimRequest{Worker: workerB, Most: 5, Kinds: []string{delivery.Kind}})
				if err != nil || len(got) != 1 {
					t.Fatalf("%s, lost %v: claimed %d, %v", where, lost, len(got), err)
				}
				r.Handle(t.Context(), got[0], func() bool { return true })
				r.wantState(ticket, delivery.Accepted)
				if len(r.server.sent) != 1 {
					t.Errorf("%d copies", len(r.server.sent))
				}
			})
		}
	}
}

// The handling itself does not put a due job off by an hour: the relay may not have looked yet.
func TestHandlingDoesNotWaitForATryFromBeforeTheClockWasSetBack(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ticket, _ := r.deferred()
	r.clock.Advance(-time.Hour)
	r.work(workerA, ticket, queue.Claimed{})
	r.wantState(ticket, delivery.Accepted)
}

// A dot whose owner may still wait for its reply is left to it for as long as if it began at the step, and not for an
// hour more.
func TestDotOfALostWorkerIsTakenOverAfterTheClockWasSetBack(t *testing.T) {
	t.Parallel()
	steps(t, func(t *testing.T, r *rig, step func(time.Duration) func()) {
		ticket, _ := r.put("queued")
		r.crash(ticket, workerA)
		round := step(-time.Hour)
		round()
		got := r.work(workerB, ticket, queue.Claimed{})
		r.wantState(ticket, delivery.Sending)
		if wait := got.RunAt.Sub(r.clock.Now()); got.Action != queue.Retry || wait > 70*time.Second {
			t.Fatalf("job %+v, in %v", got, wait)
		}
		r.clock.Advance(70 * time.Second)
		round()
		r.work(workerB, ticket, queue.Claimed{})
		r.work(workerB, ticket, queue.Claimed{})
		r.wantState(ticket, delivery.Accepted)
	})
}

// While the queue is away, a message from before the step is sent by the relay and does not wait for half of a life
// that lies ahead.
func TestRelaySendsWithoutTheQueueAfterTheClockWasSetBack(t *testing.T) {
	t.Parallel()
	steps(t, func(t *testing.T, r *rig, step func(time.Duration) func()) {
		r.without(delivery.WaitInOutbox)
		ticket, _ := r.put("queued")
		round := step(-time.Hour)
		for range 8 {
			r.clock.Advance(time.Second)
			round()
		}
		r.wantState(ticket, delivery.Accepted)
	})
}

// An hour forward: every code is over. Nothing is sent any more, nothing twice, and fresh messages go out.
func TestClockSetForwardEndsWhatIsOverAndNothingElse(t *testing.T) {
	t.Parallel()
	steps(t, func(t *testing.T, r *rig, step func(time.Duration) func()) {
		waiting, _ := r.put("queued")
		onTheWire, _ := r.put("queued")
		r.crash(onTheWire, workerA)
		round := step(time.Hour)
		round()
		r.wantState(waiting, delivery.Expired)
		r.wantState(onTheWire, delivery.Unknown)
		for _, ticket := range []delivery.Ticket{waiting, onTheWire} {
			r.work(workerB, ticket, queue.Claimed{})
		}
		fresh, _ := r.put("queued")
		r.work(workerB, fresh, queue.Claimed{})
		r.wantState(fresh, delivery.Accepted)
		if len(r.server.sent) != 2 {
			t.Errorf("%d dots, want the crashed one and the fresh one", len(r.server.sent))
		}
	})
}

// Retention goes on after a step: what the relay noted ahead of the new time holds nothing up.
func TestRetentionGoesOnAfterTheClockWasSetBack(t *testing.T) {
	t.Parallel()
	steps(t, func(t *testing.T, r *rig, step func(time.Duration) func()) {
		round := step(-time.Hour)
		old := r.ended40DaysAgo(1)
		round()
		if _, err := r.Record(t.Context(), old[0], nil); err == nil {
			t.Error("the old delivery is still there")
		}
	})
}

// ended40DaysAgo makes n deliveries that were accepted 40 days ago.
func (r *rig) ended40DaysAgo(n int) (ids []uuid.UUID) {
	r.t.Helper()
	for range n {
		ticket, _ := r.put("queued")
		r.server.script = []attempt{{reply: delivery.ClassAccepted, code: 250}}
		r.work(workerA, ticket, queue.Claimed{})
		ids = append(ids, ticket.ID)
	}
	r.write(func(tx *store.Tx) {
		tx.Put(`UPDATE delivery SET updated_ms = $1 WHERE state = 'accepted'`, store.Millis(r.db.Now().Add(-40*24*time.Hour)))
	})
	return ids
}
