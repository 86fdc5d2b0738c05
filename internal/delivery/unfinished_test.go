package delivery_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"otpost/internal/delivery"
	"otpost/internal/queue"
)

func TestUnfinishedIsWhatHasNoFinalState(t *testing.T) {
	t.Parallel()
	r := newRig(t, attempt{before: delivery.ClassTemporary, code: 451})
	if none, err := r.Unfinished(t.Context(), 0); err != nil || none != nil {
		t.Fatalf("at the start: %+v, %v", none, err)
	}
	begun := r.clock.Now()
	deferred, _ := r.put("queued")
	r.work(workerA, deferred, queue.Claimed{})
	r.wantState(deferred, delivery.Deferred)
	sent, _ := r.put("queued")
	r.work(workerA, sent, queue.Claimed{})
	r.wantState(sent, delivery.Accepted)
	r.clock.Advance(time.Second)
	waiting, _ := r.put("queued")
	all, err := r.Unfinished(t.Context(), 0)
	if err != nil || len(all) != 2 {
		t.Fatalf("%+v, %v", all, err)
	}
	first := delivery.Unfinished{
		ID: deferred.ID, State: delivery.Deferred, Via: delivery.ViaQueue, Server: "queued", Created: begun, NextTry: all[0].NextTry,
		NotAfter: begun.Add(life), Attempts: 1,
	}
	if diff := cmp.Diff(first, all[0]); diff != "" || !first.NextTry.After(begun) {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if all[1].ID != waiting.ID || all[1].State != delivery.Queued || all[1].Attempts != 0 {
		t.Errorf("the second is %+v", all[1])
	}
	if one, err := r.Unfinished(t.Context(), 1); err != nil || len(one) != 1 || one[0].ID != deferred.ID {
		t.Errorf("at most one: %+v, %v", one, err)
	}
	want := []delivery.Backlog{
		{State: delivery.Queued, Mails: 1, Oldest: begun.Add(time.Second)},
		{State: delivery.Deferred, Mails: 1, Attempts: 1, Oldest: begun},
	}
	if got, err := r.Backlog(t.Context()); err != nil || !cmp.Equal(want, got) {
		t.Errorf("backlog %+v, %v, want %+v", got, err, want)
	}
}
