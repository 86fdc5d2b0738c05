// Package queuetest is what every queue driver must pass: Run.
//
// Memory is a driver in memory that passes it too: the model that others are compared with, and a
// queue for tests of what stands on a queue.
package queuetest

import (
	"context"
	"errors"
	"testing"
	"time"

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
