package delivery_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"otpost/internal/delivery"
	"otpost/internal/mail"
	"otpost/internal/queue"
)

func TestRelayExpiresWhatNobodySent(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ticket, _ := r.put("queued")
	r.clock.Advance(life + 2*time.Second - time.Millisecond) // whoever is at it may still write its end
	r.relay()
	r.wantState(ticket, delivery.Queued)
	r.clock.Advance(time.Millisecond)
	r.relay()
	r.wantState(ticket, delivery.Expired)
}

func TestRelayLeavesADotToItsOwnerUntilItsReplyCanHaveCome(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ticket, _ := r.put("queued")
	r.clock.Advance(life - time.Second)
	r.crash(ticket, workerA)
	r.clock.Advance(30 * time.Second) // the end has passed, the reply may still come
	r.relay()
	r.wantState(ticket, delivery.Sending)
	r.clock.Advance(10 * time.Second)
	r.relay()
	r.wantState(ticket, delivery.Unknown)
}

// lostJobs counts what the relay enqueues.
type lostJobs struct {
	queue.Driver
	ids []uuid.UUID
}

// Enqueue implements queue.Driver.
func (l *lostJobs) Enqueue(_ context.Context, jobs ...queue.Job) error {
	for _, j := range jobs {
		l.ids = append(l.ids, j.ID)
	}
	return nil
}

func TestRelayEnqueuesWhatTheQueueLostEveryFiveSeconds(t *testing.T) {
	t.Parallel()
	r := newRig(t, attempt{before: mail.Unreachable})
	lost := &lostJobs{}
	r.Driver = lost
	queued, _ := r.put("queued")
	inline, _ := r.put("inline")
	deferred, _ := r.put("queued")
	again := r.work(workerA, deferred, queue.Claimed{})
	r.relay()
	if len(lost.ids) != 0 {
		t.Fatal("enqueued before the queue had its time")
	}
	r.clock.Advance(2 * time.Second)
	r.relay()
	r.relay()
	want := []uuid.UUID{queued.ID}
	if at := again.RunAt; !at.After(r.clock.Now().Add(-2 * time.Second)) {
		want = append(want, deferred.ID)
	}
	if !slices.Equal(lost.ids, want) {
		t.Fatalf("enqueued %d, want %d", len(lost.ids), len(want))
	}
	r.clock.Advance(5 * time.Second)
	lost.ids = nil
	r.relay()
	if len(lost.ids) != 2 || slices.Contains(lost.ids, inline.ID) {
		t.Fatalf("enqueued %d after 5 s, want the two that are the queue's", len(lost.ids))
	}
}

func TestOneRelayWorksAtATime(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ticket, _ := r.put("queued")
	another := func() {
		if err := r.RelayRound(t.Context(), "another"); err != nil {
			t.Fatal(err)
		}
	}
	r.clock.Advance(life - time.Second)
	r.relay() // holds the lease for 5 s
	r.clock.Advance(4 * time.Second)
	another()
	r.wantState(ticket, delivery.Queued)
	r.clock.Advance(time.Second)
	another()
	r.wantState(ticket, delivery.Expired)
}
