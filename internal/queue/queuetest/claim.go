package queuetest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"otpost/internal/queue"
)

func claimGivesAllOfTheJob(t *testing.T, q *subject) {
	w := q.worker()
	want := q.job()
	want.Priority, want.RunAt, want.Payload = queue.Normal, q.clock.Now(), []byte{0, 1, 2}
	q.put(want)
	got := q.one(w)
	if diff := cmp.Diff(want, got.Job); diff != "" {
		t.Fatalf("job (-want +got):\n%s", diff)
	}
	if got.Worker != w || q.over(got) || got.Crashes != 0 || got.SweptOwner != uuid.Nil {
		t.Fatalf("claim: %+v", got)
	}
	endless := queue.Job{ID: newID(), Kind: kind}
	q.put(endless)
	q.clock.Advance(5 * time.Second)
	if c := q.one(w); q.over(c) || !c.NotAfter.IsZero() || len(c.Payload) != 0 {
		t.Fatalf("a job without an end or payload: %+v", c)
	}
}

func enqueueOfAKnownID(t *testing.T, q *subject) {
	w := q.worker()
	j := q.job()
	q.put(j)
	again := j
	again.Priority, again.RunAt, again.NotAfter = queue.Normal, q.clock.Now().Add(time.Hour), time.Time{}
	q.put(again, again)
	c := q.one(w)
	if c.Priority != j.Priority || !c.NotAfter.Equal(j.NotAfter) {
		t.Fatalf("the second enqueue changed the job: %+v", c)
	}
	q.put(again)
	q.none(w) // leased is known, too
	q.report(w, queue.Result{ID: c.ID, Token: c.Token, Action: queue.Retry, RunAt: q.clock.Now().Add(time.Second)})
	q.put(j)
	q.none(w) // and so is scheduled
}

func enqueueOfADoneID(t *testing.T, q *subject) {
	w := q.worker()
	j := q.job()
	q.put(j)
	first := q.one(w)
	q.report(w, result(first, queue.Done))
	q.none(w)
	q.clock.Advance(time.Millisecond * 10)
	q.put(j)
	second := q.one(w)
	if second.Token <= first.Token {
		t.Fatalf("token %d after %d", second.Token, first.Token)
	}
	q.report(w, result(first, queue.Done)) // the answer of the first report was lost
	q.clock.Advance(queue.Lease)
	q.sweep(1)
}

func enqueueRefusesALongPayload(t *testing.T, q *subject) {
	good, bad := q.job(), q.job()
	good.Payload, bad.Payload = make([]byte, queue.MostPayload), make([]byte, queue.MostPayload+1)
	if err := q.Enqueue(q.ctx(), q.job(), bad); !errors.Is(err, queue.ErrPayload) {
		t.Fatalf("error %v, want ErrPayload", err)
	}
	w := q.worker()
	q.none(w)
	q.put(good)
	if c := q.one(w); len(c.Payload) != queue.MostPayload {
		t.Fatalf("payload of %d bytes", len(c.Payload))
	}
}

func deadJob(t *testing.T, q *subject) {
	w := q.worker()
	j := q.job()
	q.put(j)
	r := result(q.one(w), queue.DeadLetter)
	r.Reason = "no such row"
	q.report(w, r)
	q.clock.Advance(9 * time.Second)
	q.none(w)
	q.put(j)
	if c := q.one(w); c.ID != j.ID || c.Crashes != 0 {
		t.Fatalf("claim: %+v", c)
	}
}

func claimOrder(t *testing.T, q *subject) {
	w := q.worker()
	var want []uuid.UUID
	byPriority := map[queue.Priority][]queue.Job{}
	for range 3 {
		for _, p := range []queue.Priority{queue.Normal, queue.Urgent} {
			j := q.job()
			j.Priority = p
			byPriority[p] = append(byPriority[p], j)
			q.put(j)
		}
		q.clock.Advance(time.Millisecond)
	}
	for p := queue.Urgent; p <= queue.Normal; p++ {
		for _, j := range byPriority[p] {
			want = append(want, j.ID)
		}
	}
	var got []uuid.UUID
	for range 2 {
		got = append(got, ids(q.claim(w, 3))...)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("order (-want +got):\n%s", diff)
	}
}

func lowestIsNotStarved(t *testing.T, q *subject) {
	w := q.worker()
	low := q.job()
	low.Priority = queue.Normal
	q.put(low)
	for n := 1; ; n++ {
		q.put(q.job(), q.job()) // more than is claimed
		if c := q.claim(w, 1); c[0].ID == low.ID {
			break
		}
		if n > queue.LowestEvery {
			t.Fatalf("not claimed in %d claims", n)
		}
	}
}

func claimLimits(t *testing.T, q *subject) {
	w := q.worker()
	other := q.job()
	other.Kind = "test.other"
	q.put(other, q.job(), q.job(), q.job())
	if got := q.claim(w, 0); len(got) != 0 {
		t.Fatalf("claimed %d of at most none", len(got))
	}
	if got := q.claim(w, 2); len(got) != 2 {
		t.Fatalf("claimed %d, want 2", len(got))
	}
	if got := q.claim(w, 2); len(got) != 1 {
		t.Fatalf("claimed %d, want the one that is left", len(got))
	}
	got, err := q.Claim(q.ctx(), queue.ClaimRequest{Worker: w, Most: 5, Kinds: []string{kind, "test.other"}})
	if err != nil || len(got) != 1 || got[0].ID != other.ID {
		t.Fatalf("other kind: %v, %v", ids(got), err)
	}
	if got, err := q.Claim(q.ctx(), queue.ClaimRequest{Worker: w, Most: 5}); err != nil || len(got) != 0 {
		t.Fatalf("no kind: %v, %v", ids(got), err)
	}
}

func claimersNeverShare(t *testing.T, q *subject) {
	const claimers, jobs = 8, 400
	q.clock.Go()
	for range jobs / 100 {
		var batch []queue.Job
		for range 100 {
			batch = append(batch, q.job())
		}
		q.put(batch...)
	}
	all := make(chan []uuid.UUID, claimers)
	errs := make(chan error, claimers)
	for range claimers {
		w := q.worker()
		go func() {
			mine, err := drain(q.ctx(), q.Driver, w)
			all <- mine
			errs <- err
		}()
	}
	seen := map[uuid.UUID]int{}
	for range claimers {
		for _, id := range <-all {
			seen[id]++
		}
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	for id, n := range seen {
		if n != 1 {
			t.Errorf("%s was claimed %d times", id, n)
		}
	}
	if len(seen) != jobs {
		t.Fatalf("%d of %d jobs were claimed", len(seen), jobs)
	}
}

// drain claims until there is nothing left, reporting each batch with the next claim.
func drain(ctx context.Context, d queue.Driver, w uuid.UUID) ([]uuid.UUID, error) {
	var mine []uuid.UUID
	var done []queue.Result
	for {
		got, err := d.Claim(ctx, queue.ClaimRequest{Worker: w, Most: 7, Kinds: []string{kind}, Done: done})
		if err != nil {
			return mine, fmt.Errorf("claim: %w", err)
		}
		if len(got) == 0 {
			return mine, nil
		}
		done = nil
		for _, c := range got {
			done = append(done, result(c, queue.Done))
		}
		mine = append(mine, ids(got)...)
	}
}
