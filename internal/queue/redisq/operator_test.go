package redisq_test

import (
	"testing"

	"github.com/google/uuid"

	"otpost/internal/queue"
)

// Whoever can write to Redis writes what they like: what nobody can read hides nothing from an operator, and is shown once it
// lies with the dead.
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
	if err != nil || now.Ready[queue.Urgent].Jobs != 2 || now.Dead != 0 {
		t.Fatalf("status %+v, %v", now, err)
	}
	if got := claim(t, d, w, 100); len(got) != len(good) {
		t.Fatalf("claimed %d", len(got))
	}
	now, err = d.Status(t.Context())
	if err != nil || now.Ready[queue.Urgent].Jobs != 0 || now.Leased != 2 || now.Dead != 1 {
		t.Fatalf("status %+v, %v", now, err)
	}
	dead, err := d.List(t.Context(), queue.Filter{State: queue.Aside})
	if err != nil || len(dead) != 1 || dead[0].ID.String() != corrupt || dead[0].Reason == "" {
		t.Fatalf("dead: %+v, %v", dead, err)
	}
}
