package queuetest

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"otpost/internal/queue"
)

// operator returns the driver's side for operators, which every driver has.
func (q *subject) operator() queue.Operator {
	q.t.Helper()
	o, ok := q.Driver.(queue.Operator)
	if !ok {
		q.t.Fatalf("%T is no queue.Operator", q.Driver)
	}
	return o
}

func (q *subject) status() queue.Status {
	q.t.Helper()
	s, err := q.operator().Status(q.ctx())
	if err != nil {
		q.t.Fatalf("status: %v", err)
	}
	return s
}

func (q *subject) list(f queue.Filter) []queue.Listed {
	q.t.Helper()
	all, err := q.operator().List(q.ctx(), f)
	if err != nil {
		q.t.Fatalf("list: %v", err)
	}
	return all
}

func (q *subject) wantStatus(want queue.Status) {
	q.t.Helper()
	if diff := cmp.Diff(want, q.status()); diff != "" {
		q.t.Fatalf("status (-want +got):\n%s", diff)
	}
}

func emptyStatus(t *testing.T, q *subject) {
	q.worker()
	q.wantStatus(queue.Status{})
	if all := q.list(queue.Filter{}); all != nil {
		t.Fatalf("an empty queue lists %+v", all)
	}
}

func statusCounts(t *testing.T, q *subject) {
	w := q.worker()
	first, second, low, later, latest := q.job(), q.job(), q.job(), q.job(), q.job()
	low.Priority = queue.Normal
	begun := q.clock.Now()
	later.RunAt, latest.RunAt = begun.Add(20*time.Second), begun.Add(30*time.Second)
	q.put(first, latest)
	q.clock.Advance(time.Second)
	q.put(second, low, later)
	q.wantStatus(queue.Status{
		Ready:     [2]queue.Depth{queue.Urgent: {Jobs: 2, Oldest: begun}, queue.Normal: {Jobs: 1, Oldest: begun.Add(time.Second)}},
		Scheduled: 2, NextDue: later.RunAt,
	})
	got := q.claim(w, 2)
	q.report(w, result(got[0], queue.DeadLetter))
	q.wantStatus(queue.Status{
		Ready:  [2]queue.Depth{queue.Normal: {Jobs: 1, Oldest: begun.Add(time.Second)}},
		Leased: 1, Scheduled: 2, NextDue: later.RunAt, Dead: 1,
	})
	q.report(w, result(got[1], queue.Done))
	q.clock.Advance(time.Minute)
	due := q.status()
	n := due.Scheduled
	for _, d := range due.Ready {
		n += d.Jobs
	}
	if n != 3 || due.Leased != 0 || due.Dead != 1 {
		t.Fatalf("when everything is due: %+v", due)
	}
}

func listTells(t *testing.T, q *subject) {
	dying, w := q.worker(), q.worker()
	now := q.clock.Now()
	ready := queue.Job{ID: newID(), Kind: kind, Priority: queue.Normal, RunAt: now, NotAfter: now.Add(time.Minute), Payload: []byte("sealed")}
	endless := queue.Job{ID: newID(), Kind: "test.other", Priority: queue.Normal, RunAt: now.Add(time.Hour)}
	q.put(ready, endless)
	plain := ready
	plain.Payload = nil
	want := []queue.Listed{{Job: plain, State: queue.Ready}, {Job: endless, State: queue.Scheduled}}
	if diff := cmp.Diff(want, q.list(queue.Filter{})); diff != "" {
		t.Fatalf("jobs that wait (-want +got):\n%s", diff)
	}
	q.one(dying)
	q.clock.Advance(queue.Lease / 2)
	if err := q.Heartbeat(q.ctx(), w); err != nil {
		t.Fatal(err)
	}
	q.clock.Advance(queue.Lease / 2)
	q.sweep(1)
	c := q.one(w)
	want[0].State, want[0].Worker, want[0].Crashes = queue.Leased, w, 1
	if diff := cmp.Diff(want, q.list(queue.Filter{})); diff != "" {
		t.Fatalf("a leased job (-want +got):\n%s", diff)
	}
	r := result(c, queue.DeadLetter)
	r.Reason = "no such row"
	q.report(w, r)
	want[0].State, want[0].Worker, want[0].Reason = queue.Dead, uuid.Nil, "no such row"
	want[0], want[1] = want[1], want[0]
	if diff := cmp.Diff(want, q.list(queue.Filter{})); diff != "" {
		t.Fatalf("a dead job (-want +got):\n%s", diff)
	}
}

func listOrder(t *testing.T, q *subject) {
	w := q.worker()
	held := q.job()
	q.put(held)
	q.one(w)
	var jobs []queue.Job
	for range 3 {
		q.clock.Advance(time.Millisecond)
		jobs = append(jobs, q.job())
		q.put(jobs[len(jobs)-1])
	}
	later := q.job()
	later.RunAt = q.clock.Now().Add(time.Second)
	q.put(later)
	for _, c := range []struct {
		name string
		f    queue.Filter
		want []uuid.UUID
	}{
		{"all", queue.Filter{}, []uuid.UUID{jobs[0].ID, jobs[1].ID, jobs[2].ID, held.ID, later.ID}},
		{"most", queue.Filter{Most: 2}, []uuid.UUID{jobs[0].ID, jobs[1].ID}},
		{"ready", queue.Filter{State: queue.Ready}, []uuid.UUID{jobs[0].ID, jobs[1].ID, jobs[2].ID}},
		{"leased", queue.Filter{State: queue.Leased}, []uuid.UUID{held.ID}},
		{"scheduled", queue.Filter{State: queue.Scheduled}, []uuid.UUID{later.ID}},
		{"dead", queue.Filter{State: queue.Dead}, nil},
		{"one", queue.Filter{ID: jobs[1].ID, Most: 1}, []uuid.UUID{jobs[1].ID}},
		{"one, other state", queue.Filter{ID: jobs[1].ID, State: queue.Leased}, nil},
		{"unknown", queue.Filter{ID: newID()}, nil},
	} {
		var got []uuid.UUID
		for _, l := range q.list(c.f) {
			got = append(got, l.ID)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}
