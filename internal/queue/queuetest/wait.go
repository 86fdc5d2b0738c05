package queuetest

import (
	"context"
	"errors"
	"testing"
	"time"

	"otpost/internal/queue"
)

func waitWakes(t *testing.T, q *subject) {
	q.clock.Go()
	w := q.worker()
	woken := make(chan error, 1)
	go func() { woken <- q.Wait(q.ctx(), []string{kind}, nil, time.Minute) }()
	// Whether it waits already or begins later, it must see the job.
	q.put(q.job())
	if err := <-woken; err != nil {
		t.Fatal(err)
	}
	c := q.one(w)
	go func() { woken <- q.Wait(q.ctx(), []string{kind}, nil, time.Minute) }()
	q.report(w, result(c, queue.Release))
	if err := <-woken; err != nil {
		t.Fatal(err)
	}
}

func waitSeesWhatIsThere(t *testing.T, q *subject) {
	q.clock.Go()
	q.put(q.job())
	if err := q.Wait(q.ctx(), []string{kind}, nil, time.Hour); err != nil {
		t.Fatal(err)
	}
}

func waitPassesOverOtherKinds(t *testing.T, q *subject) {
	q.clock.Go()
	q.put(q.job())
	begun := time.Now()
	if err := q.Wait(q.ctx(), []string{"test.other"}, nil, 30*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(begun); d < 30*time.Millisecond {
		t.Fatalf("woken after %s for a job of another kind", d)
	}
}

func waitComesWithTheSchedule(t *testing.T, q *subject) {
	q.clock.Go()
	w := q.worker()
	j := q.job()
	j.RunAt = q.clock.Now().Add(60 * time.Millisecond)
	q.put(j)
	for {
		if err := q.Wait(q.ctx(), []string{kind}, nil, time.Minute); err != nil {
			t.Fatal(err)
		}
		now := q.clock.Now()
		if got := q.claim(w, 1); len(got) == 1 {
			if q.clock.Now().Before(j.RunAt.Truncate(time.Millisecond)) {
				t.Fatalf("claimed at %s, due at %s", q.clock.Now(), j.RunAt)
			}
			return
		}
		if late := now.Sub(j.RunAt); late > 2*time.Millisecond {
			t.Fatalf("woken %s after it was due, and it cannot be claimed", late)
		}
	}
}

func waitEndsWithItsContext(t *testing.T, q *subject) {
	ctx, cancel := context.WithCancel(q.ctx())
	ended := make(chan error, 1)
	go func() { ended <- q.Wait(ctx, []string{kind}, nil, time.Hour) }()
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v", err)
	}
}
