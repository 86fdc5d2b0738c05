package redisq_test

import (
	"fmt"
	"testing"

	"github.com/google/uuid"

	"otpost/internal/queue"
)

// A record that cannot be read hides no other record from an operator. It counts in the structure that holds its id,
// and is listed once it is dead.
func TestOperatorSeesPastCorruptRecords(t *testing.T) {
	t.Parallel()
	s := serve(t)
	d := open(t, s)
	w := register(t, d)
	good := enqueue(t, d, 2)
	head := "1 r 0 1000 0 1000 0 0 - - test.kind"
	corrupt := uuid.NewString()
	for id, record := range map[string]string{
		corrupt: "1 r 7 1000 0 1000 0 0 - - test.kind\n", uuid.NewString(): head, uuid.NewString(): "2" + head[1:] + "\n",
		"no-id": head + "\n", "": head + "\n", "0190\n\x00\xff4444-aaaa-bbbb-cc0": head + "\n",
	} {
		s.do("HSET", bucket(id), id, record)
	}
	s.do("ZADD", "otpost:{test}:ready:test.kind:0", "1", corrupt)
	now, err := d.Status(t.Context())
	if err != nil || now.Ready[queue.Urgent].Jobs != 3 || now.Dead != 0 {
		t.Fatalf("status %+v, %v", now, err)
	}
	if waiting, err := d.List(t.Context(), queue.Filter{}); err != nil || len(waiting) != 2 {
		t.Fatalf("jobs: %+v, %v", waiting, err)
	}
	if got := claim(t, d, w, 100); len(got) != len(good) {
		t.Fatalf("claimed %d", len(got))
	}
	now, err = d.Status(t.Context())
	if err != nil || now.Ready[queue.Urgent].Jobs != 0 || now.Leased != 2 || now.Dead != 1 {
		t.Fatalf("status %+v, %v", now, err)
	}
	dead, err := d.List(t.Context(), queue.Filter{State: queue.Dead})
	if err != nil || len(dead) != 1 || dead[0].ID.String() != corrupt || dead[0].Reason == "" {
		t.Fatalf("dead: %+v, %v", dead, err)
	}
}

// A status reads lists that anybody may have written to, and no time in them makes it fail.
func TestStatusTakesAnyTime(t *testing.T) {
	t.Parallel()
	s := serve(t)
	d := open(t, s)
	enqueue(t, d, 1)
	for prio, score := range []string{"-inf", "inf", "1e300", "0.5"} {
		key := fmt.Sprintf("otpost:{test}:ready:test.kind:%d", prio)
		s.do("DEL", key)
		s.do("ZADD", key, score, "x")
	}
	s.do("ZADD", "otpost:{test}:sched:test.kind", "-5", "x")
	s.do("ZADD", "otpost:{test}:workers", "1", "no-id")
	now, err := d.Status(t.Context())
	if err != nil || now.Scheduled != 1 || now.NextDue.IsZero() || now.Leased != 0 {
		t.Fatalf("status %+v, %v", now, err)
	}
	for p, at := range now.Ready {
		if at.Jobs != 1 || at.Oldest.IsZero() {
			t.Errorf("priority %d: %+v", p, at)
		}
	}
}

// The kinds are what a status goes by. Who has lost that list makes it again with the next job,
// even one that is known.
func TestStatusFindsTheKindsAgain(t *testing.T) {
	t.Parallel()
	s := serve(t)
	jobs := enqueue(t, open(t, s), 2)
	d := open(t, s) // has met no kind
	if now, err := d.Status(t.Context()); err != nil || now.Ready[queue.Urgent].Jobs != 2 {
		t.Fatalf("status %+v, %v", now, err)
	}
	s.do("DEL", "otpost:{test}:kinds")
	if err := d.Enqueue(t.Context(), jobs[0]); err != nil {
		t.Fatal(err)
	}
	if now, err := d.Status(t.Context()); err != nil || now.Ready[queue.Urgent].Jobs != 2 {
		t.Fatalf("status %+v, %v", now, err)
	}
}
