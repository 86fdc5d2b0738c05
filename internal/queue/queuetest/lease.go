package queuetest

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"otpost/internal/queue"
)

func unknownWorkerIsLost(t *testing.T, q *subject) {
	q.put(q.job())
	w := uuid.New()
	if _, err := q.Claim(q.ctx(), queue.ClaimRequest{Worker: w, Most: 1, Kinds: []string{kind}}); !errors.Is(err, queue.ErrLost) {
		t.Errorf("claim: %v", err)
	}
	if err := q.Heartbeat(q.ctx(), w); !errors.Is(err, queue.ErrLost) {
		t.Errorf("heartbeat: %v", err)
	}
	if err := q.Reconcile(q.ctx(), w, nil); !errors.Is(err, queue.ErrLost) {
		t.Errorf("hold: %v", err)
	}
	if err := q.Report(q.ctx(), w); !errors.Is(err, queue.ErrLost) {
		t.Errorf("report: %v", err)
	}
	q.one(q.worker())
}

func lapsedLease(t *testing.T, q *subject) {
	w := q.worker()
	q.put(q.job())
	c := q.one(w)
	q.clock.Advance(queue.Lease) // no worker has swept yet
	_, err := q.Claim(q.ctx(), queue.ClaimRequest{Worker: w, Most: 1, Kinds: []string{kind}, Done: []queue.Result{result(c, queue.Done)}})
	if !errors.Is(err, queue.ErrLost) {
		t.Errorf("claim: %v, want ErrLost", err)
	}
	if err := q.Heartbeat(q.ctx(), w); !errors.Is(err, queue.ErrLost) {
		t.Errorf("heartbeat: %v, want ErrLost", err)
	}
	q.sweep(0) // the report counted
	q.none(q.worker())
}

func heartbeatKeepsTheLease(t *testing.T, q *subject) {
	w := q.worker()
	q.put(q.job())
	c := q.one(w)
	for range 8 {
		q.clock.Advance(queue.Lease - time.Millisecond)
		q.sweep(0)
		if err := q.Heartbeat(q.ctx(), w); err != nil {
			t.Fatal(err)
		}
	}
	q.report(w, result(c, queue.Done))
	q.none(w)
}

func tokenRises(t *testing.T, q *subject) {
	w := q.worker()
	q.put(q.job())
	last := int64(-1)
	for range 4 {
		c := q.one(w)
		if c.Token <= last {
			t.Fatalf("token %d after %d", c.Token, last)
		}
		last = c.Token
		q.report(w, result(c, queue.Release))
	}
}

func lateReport(t *testing.T, q *subject) {
	slow := q.worker()
	j := q.job()
	q.put(j)
	old := q.one(slow)
	q.clock.Advance(queue.Lease)
	quick := q.worker()
	q.sweep(1)
	now := q.one(quick)
	if now.SweptOwner != slow || now.Crashes != 1 {
		t.Fatalf("claim after the sweep: %+v", now)
	}
	for _, a := range []queue.Action{queue.Done, queue.Retry, queue.Release, queue.DeadLetter} {
		if err := q.Report(q.ctx(), slow, result(old, a)); !errors.Is(err, queue.ErrLost) {
			t.Errorf("late report %d: %v, want ErrLost", a, err)
		}
		q.report(quick, result(old, a)) // the right worker with an old token
		q.none(quick)
	}
	q.report(quick, result(now, queue.Release))
	if again := q.one(quick); again.SweptOwner != slow {
		t.Fatalf("the swept owner is forgotten: %+v", again)
	}
}

func repeatedReport(t *testing.T, q *subject) {
	w := q.worker()
	q.put(q.job())
	c := q.one(w)
	r := queue.Result{ID: c.ID, Token: c.Token, Action: queue.Retry}
	q.report(w, r)
	again := q.one(w)
	q.report(w, r, r) // must not give the second claim back
	q.none(w)
	q.report(w, result(again, queue.Done))
	q.report(w, result(again, queue.Done))
	q.none(w)
}

func retryComesAtItsTime(t *testing.T, q *subject) {
	w := q.worker()
	q.put(q.job())
	c := q.one(w)
	at := q.clock.Now().Add(3 * time.Second)
	q.report(w, queue.Result{ID: c.ID, Token: c.Token, Action: queue.Retry, RunAt: at})
	q.clock.Advance(3*time.Second - time.Millisecond)
	q.none(w)
	q.clock.Advance(time.Millisecond)
	got := q.one(w)
	if !got.RunAt.Equal(at) || !got.NotAfter.Equal(c.NotAfter) || got.Crashes != 0 {
		t.Fatalf("after the retry: %+v", got)
	}
}

func retryMovesTheEnd(t *testing.T, q *subject) {
	w := q.worker()
	q.put(q.job())
	c := q.one(w)
	end := q.clock.Now().Add(2 * time.Second)
	q.report(w, queue.Result{ID: c.ID, Token: c.Token, Action: queue.Retry, RunAt: q.clock.Now(), NotAfter: end})
	if c = q.one(w); q.over(c) || !c.NotAfter.Equal(end) {
		t.Fatalf("claim: %+v", c)
	}
	q.report(w, result(c, queue.Release))
	q.clock.Advance(2 * time.Second)
	if c = q.one(w); !q.over(c) {
		t.Fatalf("claim after the new end: %+v", c)
	}
}

func scheduledJobs(t *testing.T, q *subject) {
	w := q.worker()
	later, sooner, now := q.job(), q.job(), q.job()
	later.RunAt, sooner.RunAt = q.clock.Now().Add(2*time.Second), q.clock.Now().Add(time.Second)
	q.put(later, sooner, now)
	if c := q.one(w); c.ID != now.ID {
		t.Fatalf("claimed %s", c.ID)
	}
	q.clock.Advance(time.Second - time.Millisecond)
	q.none(w)
	q.clock.Advance(time.Millisecond)
	if c := q.one(w); c.ID != sooner.ID {
		t.Fatalf("claimed %s", c.ID)
	}
	q.clock.Advance(time.Second)
	if c := q.one(w); c.ID != later.ID {
		t.Fatalf("claimed %s", c.ID)
	}
}

func expiredIsLeased(t *testing.T, q *subject) {
	q.put(q.job())
	q.clock.Advance(time.Minute)
	w := q.worker()
	c := q.one(w)
	if !q.over(c) {
		t.Fatalf("claim at the end itself: %+v", c)
	}
	q.none(w) // it is leased ...
	q.clock.Advance(queue.Lease)
	q.sweep(1)
	w = q.worker()
	c = q.one(w) // ... and comes back, for the row may not have been written
	if !q.over(c) || c.Crashes != 1 {
		t.Fatalf("claim: %+v", c)
	}
	q.report(w, result(c, queue.Done))
	q.none(w)
}

func scheduledPastItsEnd(t *testing.T, q *subject) {
	j := q.job()
	j.RunAt = j.NotAfter.Add(time.Hour)
	q.put(j)
	q.clock.Advance(time.Minute - time.Millisecond)
	w := q.worker()
	q.none(w)
	q.clock.Advance(time.Millisecond)
	if c := q.one(w); !q.over(c) {
		t.Fatalf("claim: %+v", c)
	}
}

func fiveSweeps(t *testing.T, q *subject) {
	j := q.job()
	j.NotAfter = q.clock.Now().Add(time.Hour)
	q.put(j)
	for crashes := range queue.CrashesPoison {
		w := q.worker()
		if c := q.one(w); c.Poisoned() || q.over(c) || c.Crashes != crashes {
			t.Fatalf("after %d sweeps: %+v", crashes, c)
		}
		q.pass(queue.Lease)
		q.sweep(1)
	}
	w := q.worker()
	c := q.one(w)
	if !c.Poisoned() {
		t.Fatalf("claim: %+v", c)
	}
	q.report(w, result(c, queue.Release))
	q.clock.Advance(time.Hour)
	w = q.worker()
	if c = q.one(w); !c.Poisoned() { // a job past its end may be run when the row is valid; this one must never be
		t.Fatalf("claim after its end: %+v", c)
	}
	q.report(w, result(c, queue.Done))
	q.none(w)
}

func releasesDoNotCount(t *testing.T, q *subject) {
	w := q.worker()
	q.put(q.job())
	for range 2 * queue.CrashesPoison {
		c := q.one(w)
		if c.Crashes != 0 || q.over(c) {
			t.Fatalf("claim: %+v", c)
		}
		q.report(w, result(c, queue.Release))
	}
}

func unregisterGivesBack(t *testing.T, q *subject) {
	first := q.worker()
	q.put(q.job(), q.job())
	if got := q.claim(first, 2); len(got) != 2 {
		t.Fatalf("claimed %d", len(got))
	}
	second := q.worker()
	if err := q.Unregister(q.ctx(), first); err != nil {
		t.Fatal(err)
	}
	got := q.claim(second, 5)
	if len(got) != 2 || got[0].Crashes != 0 || got[0].SweptOwner != uuid.Nil {
		t.Fatalf("claimed %+v", got)
	}
	if err := q.Heartbeat(q.ctx(), first); !errors.Is(err, queue.ErrLost) {
		t.Fatalf("heartbeat of the unregistered: %v", err)
	}
	if err := q.Unregister(q.ctx(), first); err != nil {
		t.Fatalf("again: %v", err)
	}
}

func reconcileGivesBack(t *testing.T, q *subject) {
	w, other := q.worker(), q.worker()
	q.put(q.job(), q.job(), q.job())
	mine := q.claim(w, 2)
	theirs := q.one(other)
	if err := q.Reconcile(q.ctx(), w, []uuid.UUID{mine[1].ID, theirs.ID, newID()}); err != nil {
		t.Fatal(err)
	}
	back := q.one(other)
	if back.ID != mine[0].ID || back.Crashes != 0 || back.SweptOwner != uuid.Nil {
		t.Fatalf("given back: %+v", back)
	}
	q.report(w, result(mine[0], queue.Done)) // the claim is over
	q.report(w, result(mine[1], queue.Done))
	q.clock.Advance(queue.Lease)
	q.sweep(2) // back and theirs
}

func sweepLeavesTheLiving(t *testing.T, q *subject) {
	dying := q.worker()
	q.put(q.job())
	q.one(dying)
	q.clock.Advance(queue.Lease / 2)
	living := q.worker()
	q.put(q.job())
	mine := q.one(living)
	q.clock.Advance(queue.Lease / 2)
	q.sweep(1)
	q.sweep(0)
	if back := q.one(living); back.SweptOwner != dying || back.ID == mine.ID {
		t.Fatalf("swept: %+v", back)
	}
}

func workersListsTheLiving(t *testing.T, q *subject) {
	begun := q.clock.Now()
	q.worker()
	q.clock.Advance(queue.Lease - time.Second)
	second := q.worker()
	if seen, err := q.Workers(q.ctx()); err != nil || len(seen) != 2 {
		t.Fatalf("%d workers, %v", len(seen), err)
	}
	q.clock.Advance(time.Second)
	if err := q.Heartbeat(q.ctx(), second); err != nil {
		t.Fatal(err)
	}
	want := []queue.Seen{{
		Worker:  queue.Worker{ID: second, Host: "host", PID: 7, Version: "v1", Handlers: 32},
		Started: begun.Add(queue.Lease - time.Second), Heartbeat: begun.Add(queue.Lease), Local: true,
	}}
	got, err := q.Workers(q.ctx())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("workers (-want +got):\n%s", diff)
	}
}
