package queuetest

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"otpost/internal/queue"
)

// agree fails unless a status says what List says. Both may still count as scheduled what has
// become due.
func (q *subject) agree(when string) {
	q.t.Helper()
	if diff := cmp.Diff(glance(q.list(queue.Filter{})), q.status()); diff != "" {
		q.t.Fatalf("%s: status (-as listed +got):\n%s", when, diff)
	}
}

// glance counts jobs that are listed: in each state the longest due first.
func glance(jobs []queue.Listed) (s queue.Status) {
	for _, j := range jobs {
		switch j.State {
		case queue.Ready:
			d := &s.Ready[j.Priority]
			if d.Jobs++; d.Oldest.IsZero() {
				d.Oldest = j.RunAt
			}
		case queue.Leased:
			s.Leased++
		case queue.Scheduled:
			if s.Scheduled++; s.NextDue.IsZero() {
				s.NextDue = j.RunAt
			}
		case queue.Dead:
			s.Dead++
		}
	}
	return s
}

// mixture adds jobs of all priorities and of two kinds, some for later.
func (q *subject) mixture() (jobs []queue.Job) {
	q.t.Helper()
	for i := range 12 {
		j := q.job()
		j.Priority = queue.Priority(i % 2)
		if i%3 == 0 {
			j.Kind = "test.other"
		}
		if i%6 == 5 {
			j.RunAt = q.clock.Now().Add(time.Duration(i) * time.Second)
		}
		jobs = append(jobs, j)
		q.put(j)
		q.clock.Advance(time.Millisecond)
	}
	return jobs
}

func statusAgreesWithList(t *testing.T, q *subject) {
	crashing, w := q.worker(), q.worker()
	jobs := q.mixture()
	q.agree("enqueued")
	q.put(jobs...)
	q.agree("enqueued again")
	q.claim(crashing, 2)
	got := q.claim(w, 3)
	q.agree("claimed")
	again := queue.Result{ID: got[1].ID, Token: got[1].Token, Action: queue.Retry, RunAt: q.clock.Now().Add(time.Hour)}
	q.report(w, result(got[0], queue.DeadLetter), again, result(got[2], queue.Release))
	q.agree("reported")
	if err := q.RunNow(q.ctx(), again.ID); err != nil {
		t.Fatal(err)
	}
	q.agree("run now")
	for range 2 {
		q.clock.Advance(queue.Lease / 2)
		if err := q.Heartbeat(q.ctx(), w); err != nil {
			t.Fatal(err)
		}
	}
	q.agree("lapsed")
	q.sweep(2)
	q.agree("swept")
	q.claim(w, 100) // what is due becomes ready, and all of it is taken
	if err := q.Reconcile(q.ctx(), w, []uuid.UUID{jobs[1].ID}); err != nil {
		t.Fatal(err)
	}
	q.agree("given back")
	if err := q.Unregister(q.ctx(), w); err != nil {
		t.Fatal(err)
	}
	q.clock.Advance(time.Minute)
	q.agree("expired")
	last := q.worker()
	for done := q.claim(last, 100); len(done) > 0; done = q.claim(last, 100) {
		for _, c := range done {
			q.report(last, result(c, queue.Done))
		}
	}
	q.put(jobs[0], jobs[1])
	q.agree("enqueued after the end")
}
