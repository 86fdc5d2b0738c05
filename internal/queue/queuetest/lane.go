package queuetest

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"otpost/internal/queue"
)

// inLane returns a job of a lane that lives a minute.
func (q *subject) inLane(lane string) queue.Job {
	j := q.job()
	j.Lane = lane
	return j
}

// claimBeside claims from all lanes but the full ones.
func (q *subject) claimBeside(worker uuid.UUID, most int, full ...string) []queue.Claimed {
	q.t.Helper()
	got, err := q.Claim(q.ctx(), queue.ClaimRequest{Worker: worker, Most: most, Kinds: []string{kind}, Full: full})
	if err != nil {
		q.t.Fatalf("claim: %v", err)
	}
	return got
}

// awkward are lanes as administrators name mail servers.
var awkward = []string{"", "a", "mail.example.com", "a b", "-", "%", "a/b\"c'd\\", "zwölf\tund\n13", ":{}:",
	strings.Repeat("x", queue.MostLane)}

func claimKeepsTheLane(t *testing.T, q *subject) {
	w, dying := q.worker(), q.worker()
	for _, lane := range awkward {
		j := q.inLane(lane)
		j.Payload = []byte("sealed\nin two lines")
		q.put(j)
		got := q.one(w)
		if got.Lane != lane || string(got.Payload) != string(j.Payload) {
			t.Fatalf("lane %q: claimed %+v", lane, got)
		}
		if all := q.list(queue.Filter{ID: j.ID}); len(all) != 1 || all[0].Lane != lane {
			t.Fatalf("lane %q: listed %+v", lane, all)
		}
		q.report(w, queue.Result{ID: got.ID, Token: got.Token, Action: queue.Retry})
		if again := q.one(w); again.Lane != lane {
			t.Fatalf("lane %q after a retry: %+v", lane, again)
		} else {
			q.report(w, result(again, queue.Release))
		}
		if again := q.one(dying); again.Lane != lane {
			t.Fatalf("lane %q after a release: %+v", lane, again)
		} else {
			q.report(dying, result(again, queue.Done))
		}
	}
}

func enqueueRefusesABadLane(t *testing.T, q *subject) {
	w := q.worker()
	for _, lane := range []string{strings.Repeat("x", queue.MostLane+1), "a\xff"} {
		if err := q.Enqueue(q.ctx(), q.job(), q.inLane(lane)); !errors.Is(err, queue.ErrLane) {
			t.Fatalf("lane %q: error %v, want ErrLane", lane, err)
		}
	}
	q.none(w)
}

func claimPassesOverFullLanes(t *testing.T, q *subject) {
	w := q.worker()
	var want []uuid.UUID
	for i, lane := range awkward {
		full, open := q.inLane(lane), q.inLane("open")
		open.Priority = queue.Priority(i % 2)
		q.put(full, full, open)
		q.clock.Advance(time.Millisecond)
		want = append(want, open.ID)
	}
	if got := q.claimBeside(w, 100, append(awkward, "open")...); len(got) != 0 {
		t.Fatalf("claimed %+v from full lanes", got)
	}
	got := q.claimBeside(w, 3, awkward...)
	got = append(got, q.claimBeside(w, 100, awkward...)...)
	byPriority := func(first int) (all []uuid.UUID) {
		for i := first; i < len(want); i += 2 {
			all = append(all, want[i])
		}
		return all
	}
	want = append(byPriority(0), byPriority(1)...)
	if diff := cmp.Diff(want, ids(got)); diff != "" {
		t.Fatalf("from the open lane (-want +got):\n%s", diff)
	}
	for _, lane := range awkward {
		var others []string
		for _, other := range awkward {
			if other != lane {
				others = append(others, other)
			}
		}
		if got := q.claimBeside(w, 100, others...); len(got) != 1 || got[0].Lane != lane {
			t.Fatalf("claimed %+v, want the job of lane %q", got, lane)
		}
	}
}

func lowestIsNotStarvedInOpenLanes(t *testing.T, q *subject) {
	w := q.worker()
	low, full := q.inLane("open"), q.inLane("full")
	low.Priority, full.Priority = queue.Normal, queue.Normal
	q.put(low, full)
	for n := 1; ; n++ {
		q.put(q.inLane("open"), q.inLane("open"))
		if c := q.claimBeside(w, 1, "full"); c[0].ID == low.ID {
			break
		}
		if n > queue.LowestEvery {
			t.Fatalf("not claimed in %d claims", n)
		}
	}
}

func retryInAFullLaneWaits(t *testing.T, q *subject) {
	w := q.worker()
	q.put(q.inLane("slow"), q.inLane("open"))
	for _, c := range q.claim(w, 2) {
		q.report(w, queue.Result{ID: c.ID, Token: c.Token, Action: queue.Retry, RunAt: q.clock.Now().Add(time.Second)})
	}
	q.clock.Advance(time.Second)
	if got := q.claimBeside(w, 10, "slow"); len(got) != 1 || got[0].Lane != "open" {
		t.Fatalf("claimed %+v", got)
	}
	if got := q.one(w); got.Lane != "slow" {
		t.Fatalf("claimed %+v", got)
	}
}

func waitPassesOverFullLanes(t *testing.T, q *subject) {
	q.clock.Go()
	scheduled := q.inLane("full")
	scheduled.RunAt = q.clock.Now().Add(5 * time.Millisecond)
	q.put(q.inLane("full"), scheduled)
	begun := time.Now()
	if err := q.Wait(q.ctx(), []string{kind}, []string{"full"}, 30*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(begun); d < 30*time.Millisecond {
		t.Fatalf("woken after %s for a job of a full lane", d)
	}
	woken := make(chan error, 1)
	go func() { woken <- q.Wait(q.ctx(), []string{kind}, []string{"full"}, time.Minute) }()
	q.put(q.inLane("full"), q.inLane("open"))
	if err := <-woken; err != nil {
		t.Fatal(err)
	}
	if got := q.claimBeside(q.worker(), 10, "full"); len(got) != 1 || got[0].Lane != "open" {
		t.Fatalf("claimed %+v", got)
	}
}

// staleComesLast: jobs that ended long ago wait behind those that can be in time, whatever their
// priority.
func staleComesLast(t *testing.T, q *subject) {
	var stale []uuid.UUID
	for range 5 {
		j := q.job()
		stale = append(stale, j.ID)
		q.put(j)
		q.clock.Advance(time.Millisecond)
	}
	old, endless := q.job(), queue.Job{ID: newID(), Kind: kind}
	old.NotAfter = old.NotAfter.Add(time.Hour)
	q.put(old, endless)
	q.clock.Advance(time.Minute)
	over, low, fresh := q.job(), q.job(), q.job()
	over.NotAfter = q.clock.Now().Add(time.Second)
	low.Priority = queue.Normal
	q.put(over)
	q.clock.Advance(queue.StaleAfter)
	q.put(fresh, low)
	w := q.worker()
	got := q.claim(w, 5)
	if n := len(got); n != 5 {
		t.Fatalf("claimed %d", n)
	}
	got = append(got, q.claim(w, 100)...)
	want := []uuid.UUID{old.ID, endless.ID, over.ID, fresh.ID, low.ID}
	if old.ID.String() > endless.ID.String() {
		want[0], want[1] = want[1], want[0]
	}
	if diff := cmp.Diff(append(want, stale...), ids(got)); diff != "" {
		t.Fatalf("order (-want +got):\n%s", diff)
	}
	for _, c := range got[5:] {
		if !q.over(c) {
			t.Fatalf("stale: %+v", c)
		}
	}
}

// staleIsNotStarved: every so many-th claim treats stale jobs like any other.
func staleIsNotStarved(t *testing.T, q *subject) {
	stale := q.job()
	q.put(stale)
	q.clock.Advance(time.Minute + queue.StaleAfter)
	w := q.worker()
	for n := 1; ; n++ {
		q.put(q.job(), q.job())
		if c := q.claim(w, 1); c[0].ID == stale.ID {
			break
		}
		if n > queue.LowestEvery {
			t.Fatalf("not claimed in %d claims", n)
		}
	}
}
