package queuetest

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"otpost/internal/queue"
)

func (q *subject) runNow(id uuid.UUID) {
	q.t.Helper()
	if err := q.RunNow(q.ctx(), id); err != nil {
		q.t.Fatalf("run now: %v", err)
	}
}

func runNowScheduled(t *testing.T, q *subject) {
	w := q.worker()
	j, other := q.job(), q.job()
	j.RunAt, other.RunAt, j.Payload = q.clock.Now().Add(30*time.Second), q.clock.Now().Add(30*time.Second), []byte("sealed")
	q.put(j, other)
	q.none(w)
	q.runNow(j.ID)
	q.wantStatus(queue.Status{Ready: [2]queue.Depth{{Jobs: 1, Oldest: q.clock.Now()}}, Scheduled: 1, NextDue: other.RunAt})
	got := q.one(w)
	if got.ID != j.ID || !got.RunAt.Equal(q.clock.Now()) || !got.NotAfter.Equal(j.NotAfter) || string(got.Payload) != "sealed" {
		t.Fatalf("claimed %+v", got)
	}
	retried := result(got, queue.Retry)
	retried.RunAt = q.clock.Now().Add(20 * time.Second)
	q.report(w, retried)
	q.runNow(j.ID)
	if again := q.one(w); again.ID != j.ID || again.Token <= got.Token {
		t.Fatalf("claimed %+v", again)
	}
}

func runNowEndsAWait(t *testing.T, q *subject) {
	j := q.job()
	j.RunAt = q.clock.Now().Add(50 * time.Second)
	q.put(j)
	woken := make(chan error, 1)
	go func() { woken <- q.Wait(t.Context(), []string{kind}, nil, 10*time.Minute) }()
	begun := time.Now()
	q.runNow(j.ID) // before or after Wait has begun: both count
	if err := <-woken; err != nil || time.Since(begun) > time.Minute {
		t.Fatalf("woken after %s: %v", time.Since(begun), err)
	}
}

func runNowChangesNothingElse(t *testing.T, q *subject) {
	w := q.worker()
	ready, leased, dead := q.job(), q.job(), q.job()
	q.put(dead)
	q.report(w, result(q.one(w), queue.DeadLetter))
	q.put(leased)
	held := q.one(w)
	q.put(ready)
	q.clock.Advance(time.Second)
	before := q.list(queue.Filter{})
	for _, id := range []uuid.UUID{ready.ID, leased.ID, dead.ID, newID()} {
		q.runNow(id)
	}
	if diff := cmp.Diff(before, q.list(queue.Filter{})); diff != "" {
		t.Fatalf("(-before +after):\n%s", diff)
	}
	q.report(w, result(held, queue.Done))
	if got := q.one(w); got.ID != ready.ID {
		t.Fatalf("claimed %+v", got)
	}
}
