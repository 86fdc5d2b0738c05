// Package queuetest is what every queue driver must pass: Run.
//
// Memory is a driver in memory that passes it too: the model that others are compared with, and a
// queue for tests of what stands on a queue.
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

// Open returns a driver of an empty queue of its own that goes by the clock now, and what ends it.
// The suite opens some hundred of them, so t.Cleanup would be too late.
type Open func(t *testing.T, now func() time.Time) (d queue.Driver, end func())

// Run puts a driver through every promise of the contract, each in a subtest.
func Run(t *testing.T, open Open) {
	t.Helper()
	run(t, open, []promise{
		{"ClaimGivesAllOfTheJob", claimGivesAllOfTheJob},
		{"EnqueueOfAKnownIDChangesNothing", enqueueOfAKnownID},
		{"EnqueueOfADoneIDIsANewJob", enqueueOfADoneID},
		{"EnqueueRefusesALongPayload", enqueueRefusesALongPayload},
		{"DeadJobIsNotRunUntilEnqueuedAgain", deadJob},
		{"ClaimsAreByPriorityThenAge", claimOrder},
		{"LowestPriorityIsNotStarved", lowestIsNotStarved},
		{"ClaimTakesNoMoreThanAskedAndOnlyItsKinds", claimLimits},
		{"ClaimOfAnUnknownWorkerIsLost", unknownWorkerIsLost},
		{"LapsedLeaseIsLostButReportsCount", lapsedLease},
		{"HeartbeatKeepsTheLease", heartbeatKeepsTheLease},
		{"TokenRisesWithEveryClaim", tokenRises},
		{"LateReportOfASweptWorkerChangesNothing", lateReport},
		{"ReportCanBeRepeated", repeatedReport},
		{"RetryComesAtItsTime", retryComesAtItsTime},
		{"RetryMovesTheEnd", retryMovesTheEnd},
		{"ScheduledJobsComeWhenDue", scheduledJobs},
		{"RunNowMakesAScheduledJobDue", runNowScheduled},
		{"RunNowEndsAWait", runNowEndsAWait},
		{"RunNowChangesNothingElse", runNowChangesNothingElse},
		{"ExpiredIsLeasedAndComesBack", expiredIsLeased},
		{"ScheduledPastItsEndExpiresAtItsEnd", scheduledPastItsEnd},
		{"FiveSweepsArePoison", fiveSweeps},
		{"ReleasesDoNotCount", releasesDoNotCount},
		{"UnregisterGivesBackUncounted", unregisterGivesBack},
		{"ReconcileGivesTheRestBackUncounted", reconcileGivesBack},
		{"SweepLeavesTheLiving", sweepLeavesTheLiving},
		{"WorkersListsTheLiving", workersListsTheLiving},
		{"WaitWakesForANewJob", waitWakes},
		{"WaitSeesWhatIsThere", waitSeesWhatIsThere},
		{"WaitPassesOverOtherKinds", waitPassesOverOtherKinds},
		{"WaitComesWithTheSchedule", waitComesWithTheSchedule},
		{"WaitEndsWithItsContext", waitEndsWithItsContext},
		{"ClaimersNeverShareAJob", claimersNeverShare},
		{"StatusOfAnEmptyQueueIsZero", emptyStatus},
		{"StatusCountsByStateAndPriority", statusCounts},
		{"StatusAgreesWithListWhateverHappens", statusAgreesWithList},
		{"ListTellsOfEachJobButItsPayload", listTells},
		{"ListIsInOrderAndFiltered", listOrder},
		{"ClaimKeepsTheLane", claimKeepsTheLane},
		{"EnqueueRefusesABadLane", enqueueRefusesABadLane},
		{"ClaimPassesOverFullLanes", claimPassesOverFullLanes},
		{"LowestPriorityIsNotStarvedInOpenLanes", lowestIsNotStarvedInOpenLanes},
		{"RetryInAFullLaneWaits", retryInAFullLaneWaits},
		{"WaitPassesOverFullLanes", waitPassesOverFullLanes},
		{"StaleJobsComeLast", staleComesLast},
		{"StaleJobsAreNotStarved", staleIsNotStarved},
	})
	t.Run("BehavesLikeTheModel", func(t *testing.T) {
		t.Parallel()
		likeTheModel(t, open)
	})
}

// promise is one sentence of the contract.
type promise struct {
	name string
	test func(t *testing.T, q *subject)
}

func run(t *testing.T, open Open, promises []promise) {
	t.Helper()
	for _, promise := range promises {
		t.Run(promise.name, func(t *testing.T) {
			t.Parallel()
			clock := NewClock()
			d, end := open(t, clock.Now)
			t.Cleanup(end)
			promise.test(t, &subject{t: t, Driver: d, clock: clock})
		})
	}
}

const kind = "test.kind"

// subject is the driver under test with the steps that tests are made of. Its methods fail the test
// on an error.
type subject struct {
	t *testing.T
	queue.Driver
	clock   *Clock
	workers []uuid.UUID // that the test has registered
}

func (q *subject) ctx() context.Context { return q.t.Context() }

func newID() uuid.UUID { return uuid.Must(uuid.NewV7()) }

// job returns a job that lives a minute.
func (q *subject) job() queue.Job {
	return queue.Job{ID: newID(), Kind: kind, NotAfter: q.clock.Now().Add(time.Minute)}
}

func (q *subject) put(jobs ...queue.Job) {
	q.t.Helper()
	if err := q.Enqueue(q.ctx(), jobs...); err != nil {
		q.t.Fatalf("enqueue: %v", err)
	}
}

func (q *subject) worker() uuid.UUID {
	q.t.Helper()
	w := queue.Worker{ID: uuid.New(), Host: "host", PID: 7, Version: "v1", Handlers: 32}
	if err := q.Register(q.ctx(), w); err != nil {
		q.t.Fatalf("register: %v", err)
	}
	q.workers = append(q.workers, w.ID)
	return w.ID
}

func (q *subject) claim(worker uuid.UUID, most int, done ...queue.Result) []queue.Claimed {
	q.t.Helper()
	got, err := q.Claim(q.ctx(), queue.ClaimRequest{Worker: worker, Most: most, Kinds: []string{kind}, Done: done})
	if err != nil {
		q.t.Fatalf("claim: %v", err)
	}
	return got
}

// one claims the one job that is there.
func (q *subject) one(worker uuid.UUID) queue.Claimed {
	q.t.Helper()
	got := q.claim(worker, 10)
	if len(got) != 1 {
		q.t.Fatalf("claimed %d jobs, want 1", len(got))
	}
	return got[0]
}

func (q *subject) none(worker uuid.UUID) {
	q.t.Helper()
	if got := q.claim(worker, 10); len(got) != 0 {
		q.t.Fatalf("claimed %d jobs, want none", len(got))
	}
}

func (q *subject) report(worker uuid.UUID, r ...queue.Result) {
	q.t.Helper()
	if err := q.Report(q.ctx(), worker, r...); err != nil {
		q.t.Fatalf("report: %v", err)
	}
}

// sweep sweeps after the test's workers have learnt of it where their lease has lapsed: a process
// sweeps none of its own that it believes alive.
func (q *subject) sweep(want int) {
	q.t.Helper()
	for _, w := range q.workers {
		if err := q.Report(q.ctx(), w); err != nil && !errors.Is(err, queue.ErrLost) {
			q.t.Fatalf("report nothing: %v", err)
		}
	}
	if n, err := q.Sweep(q.ctx()); err != nil || n != want {
		q.t.Fatalf("sweep: %d, %v; want %d", n, err, want)
	}
}

// pass lets a time pass while others sweep.
func (q *subject) pass(d time.Duration) {
	q.t.Helper()
	for i, part := range steps(d) {
		if i > 0 {
			if _, err := q.Sweep(q.ctx()); err != nil {
				q.t.Fatalf("sweep: %v", err)
			}
		}
		q.clock.Advance(part)
	}
}

// over reports whether the end of a claimed job has passed.
func (q *subject) over(c queue.Claimed) bool {
	return !c.NotAfter.IsZero() && !c.NotAfter.After(q.clock.Now())
}

func result(c queue.Claimed, a queue.Action) queue.Result {
	return queue.Result{ID: c.ID, Token: c.Token, Action: a}
}

func ids(claimed []queue.Claimed) []uuid.UUID {
	all := make([]uuid.UUID, 0, len(claimed))
	for _, c := range claimed {
		all = append(all, c.ID)
	}
	return all
}

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
