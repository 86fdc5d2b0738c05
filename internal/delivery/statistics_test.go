package delivery_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"otpost/internal/delivery"
	"otpost/internal/queue"
)

func (r *rig) statistics(realms []string) delivery.Statistics {
	r.t.Helper()
	st, err := r.Statistics(r.t.Context(), realms)
	if err != nil {
		r.t.Fatal(err)
	}
	return st
}

func TestStatisticsOfNothingAreEmptyAndComplete(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	st := r.statistics(nil)
	if st.Took != nil || st.Waiting != 0 || !st.Oldest.IsZero() || len(st.Servers) != 0 || st.Failures == nil || len(st.Failures) != 0 {
		t.Errorf("%+v", st)
	}
	for i, m := range st.Minutes {
		if want := r.db.Now().Truncate(time.Minute).Add(time.Duration(i-59) * time.Minute); m != (delivery.Minute{Begin: want}) {
			t.Errorf("minute %d: %+v", i, m)
		}
	}
}

// A failure from before the clock was set back is no server's last result: the success after it is.
func TestStatisticsFollowAClockThatIsSetBack(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.clock.Advance(time.Hour)
	r.server.script = []attempt{{before: delivery.ClassPermanent, code: 550, text: "no such user"}}
	r.work(workerA, r.putIn("realm1", "A", "00000000000000000001"), queue.Claimed{})
	r.clock.Advance(-time.Hour)
	r.server.script = []attempt{{reply: delivery.ClassAccepted, code: 250}}
	r.work(workerA, r.putIn("realm1", "B", "00000000000000000002"), queue.Claimed{})
	st := r.statistics(nil)
	if last := st.Servers["queued"].Last; last == nil || last.State != delivery.Accepted {
		t.Errorf("last result: %+v", last)
	}
	if len(st.Failures) != 0 || st.Minutes[59].Accepted != 1 {
		t.Errorf("failures: %+v, the last minute: %+v", st.Failures, st.Minutes[59])
	}
}

// Twenty messages are accepted after 1 to 20 s each, of the 20 the 10th, 19th and 20th are the quantiles; one
// fails, one waits.
func TestStatisticsCountByMinuteServerAndReason(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	begun := r.db.Now()
	for i := range 20 {
		r.server.script = []attempt{{early: func() { r.clock.Advance(time.Duration(i+1) * time.Second) }, reply: delivery.ClassAccepted, code: 250}}
		r.work(workerA, r.putIn("realm1", "A", "00000000000000000001"), queue.Claimed{})
	}
	r.server.script = []attempt{{before: delivery.ClassPermanent, code: 550, text: "no such user"}}
	r.work(workerA, r.putIn("realm2", "B", "00000000000000000002"), queue.Claimed{})
	r.putIn("realm2", "C", "00000000000000000003")
	now := begun.Add(210 * time.Second) // 1 + ... + 20 s
	st := r.statistics(nil)
	if diff := cmp.Diff(&delivery.Quantiles{Count: 20, P50: 10 * time.Second, P95: 19 * time.Second, P99: 20 * time.Second}, st.Took); diff != "" {
		t.Error(diff)
	}
	if st.Waiting != 1 || !st.Oldest.Equal(now) {
		t.Errorf("open: %d, %s", st.Waiting, st.Oldest)
	}
	// The sums 1+...+n reach 55 s with the 10th, 105 s with the 14th, 171 s with the 18th, 210 s with the 20th.
	for i, want := range map[int]delivery.Minute{
		56: {Begin: begun, Accepted: 10}, 57: {Begin: begun.Add(time.Minute), Accepted: 4}, 58: {Begin: begun.Add(2 * time.Minute), Accepted: 4},
		59: {Begin: begun.Add(3 * time.Minute), Accepted: 2, Failed: 1},
	} {
		if st.Minutes[i] != want {
			t.Errorf("minute %d: %+v, want %+v", i, st.Minutes[i], want)
		}
	}
	at := st.Servers["queued"]
	if len(st.Servers) != 1 || at.Accepted != 20 || at.Failed != 1 || at.Last == nil || at.Last.State != delivery.Failed || !at.Last.At.Equal(now) ||
		at.Last.Attempt == nil || at.Last.Attempt.Code != 550 {
		t.Errorf("servers: %+v, last %+v", st.Servers, at.Last)
	}
	if len(st.Failures) != 1 || st.Failures[0].Reason != delivery.Refused || st.Failures[0].Server != "queued" ||
		st.Failures[0].Count != 1 ||
		st.Failures[0].Last == nil || st.Failures[0].Last.Code != 550 || st.Failures[0].Last.Text != "no such user" {
		t.Errorf("failures: %+v", st.Failures)
	}
	if own := r.statistics([]string{"realm1"}); own.Took.Count != 20 || own.Waiting != 0 || len(own.Failures) != 0 || own.Minutes[59].Failed != 0 || own.Servers["queued"].Last.State != delivery.Accepted {
		t.Errorf("realm1 sees others: %+v", own)
	}
	if other := r.statistics([]string{}); other.Took != nil || other.Waiting != 0 || len(other.Servers) != 0 {
		t.Errorf("who has no realm sees something: %+v", other)
	}
	r.clock.Advance(25 * time.Hour)
	if old := r.statistics(nil); old.Took != nil || old.Servers["queued"].Accepted != 0 || old.Servers["queued"].Last == nil || len(old.Failures) != 0 {
		t.Errorf("a day later: %+v", old)
	}
}
