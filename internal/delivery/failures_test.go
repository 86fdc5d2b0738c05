package delivery_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"otpost/internal/delivery"
	"otpost/internal/queue"
)

func TestFailuresCountsWhatWasNotSentSinceATime(t *testing.T) {
	t.Parallel()
	r := newRig(t, attempt{before: delivery.ClassPermanent, code: 550}, attempt{before: delivery.ClassPermanent, code: 550}, attempt{reply: delivery.ClassPermanent, code: 554})
	if none, err := r.Failures(t.Context(), time.Time{}); err != nil || none != nil {
		t.Fatalf("at the start: %+v, %v", none, err)
	}
	begun := r.clock.Now()
	old, _ := r.put("queued")
	r.work(workerA, old, queue.Claimed{})
	r.clock.Advance(time.Hour)
	for range 2 { // refused before and at the dot
		ticket, _ := r.put("queued")
		r.work(workerA, ticket, queue.Claimed{})
		r.clock.Advance(time.Second)
	}
	sent, _ := r.put("queued")
	r.work(workerA, sent, queue.Claimed{})
	r.wantState(sent, delivery.Accepted)
	dropped, challenge := r.put("queued")
	r.drop(challenge)
	r.wantState(dropped, delivery.Dropped)
	waiting, _ := r.put("queued")
	late, _ := r.put("queued")
	r.clock.Advance(life)
	r.work(workerA, late, queue.Claimed{})
	r.wantState(waiting, delivery.Queued)
	refused := begun.Add(time.Hour + time.Second)
	want := []delivery.Failure{
		{State: delivery.Failed, Reason: delivery.Refused, Count: 2, Last: refused},
		{State: delivery.Expired, Reason: delivery.TooLate, Count: 1, Last: r.clock.Now()},
	}
	got, err := r.Failures(t.Context(), begun.Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	want[0].Count = 3
	if got, err = r.Failures(t.Context(), begun); err != nil || !cmp.Equal(want, got) {
		t.Errorf("since the start: %+v, %v", got, err)
	}
}
