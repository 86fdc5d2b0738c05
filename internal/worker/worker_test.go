package worker_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"otpost/internal/queue"
	"otpost/internal/queue/queuetest"
	"otpost/internal/worker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const kind = "test.kind"

// bench is a worker at work on a queue in memory, in the fake time of a bubble.
type bench struct {
	t    *testing.T
	jobs *queuetest.Memory
	w    *worker.Worker
	log  *bytes.Buffer
	stop context.CancelFunc // gracefully
	kill context.CancelFunc // at once
	err  chan error         // of Run

	handlers int // 4
}

// at runs test in a bubble of fake time. Channels that handlers wait for must be made in it.
func at(t *testing.T, test func(b *bench)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := &bench{
			t:        t,
			jobs:     queuetest.NewMemory(time.Now),
			log:      &bytes.Buffer{},
			err:      make(chan error, 1),
			handlers: 4,
		}
		test(b)
		b.kill()
		b.stop()
	})
}

// work starts a worker; around wraps the queue for it (nil: no wrapper).
func (b *bench) work(around func(queue.Driver) queue.Driver,
	run func(ctx context.Context, c queue.Claimed) queue.Result) {
	var d queue.Driver = b.jobs
	if around != nil {
		d = around(d)
	}
	begun := time.Now()
	b.w = worker.New(worker.Options{
		Driver:   d,
		Kinds:    []worker.Kind{{Name: kind, Run: run}},
		Handlers: b.handlers,
		Version:  "v1",
		Log:      slog.New(slog.NewTextHandler(b.log, nil)),
		Elapsed:  func() time.Duration { return time.Since(begun) },
	})
	var graceful, hard context.Context
	graceful, b.stop = context.WithCancel(context.Background())
	hard, b.kill = context.WithCancel(context.Background())
	go func() { b.err <- b.w.Run(graceful, hard) }()
}

// put enqueues n jobs that live a minute.
func (b *bench) put(n int) {
	b.t.Helper()
	for range n {
		b.enqueue(queue.Job{NotAfter: time.Now().Add(time.Minute)})
	}
}

func (b *bench) enqueue(j queue.Job) {
	b.t.Helper()
	j.ID, j.Kind = uuid.Must(uuid.NewV7()), kind
	if err := b.jobs.Enqueue(context.Background(), j); err != nil {
		b.t.Fatal(err)
	}
}

// end stops the worker gracefully and checks that it left the queue.
func (b *bench) end() {
	b.t.Helper()
	b.stop()
	b.ended()
}

func (b *bench) ended() {
	b.t.Helper()
	if err := <-b.err; err != nil {
		b.t.Fatalf("run: %v", err)
	}
	seen, err := b.jobs.Workers(context.Background())
	if err != nil || len(seen) != 0 {
		b.t.Fatalf("workers after the end: %+v, %v", seen, err)
	}
}

// left claims the jobs that the queue still has for other workers.
func (b *bench) left() []queue.Claimed {
	b.t.Helper()
	return claimAs(b.t, b.jobs, uuid.New())
}

func claimAs(t *testing.T, d queue.Driver, id uuid.UUID) []queue.Claimed {
	t.Helper()
	if err := d.Register(context.Background(), queue.Worker{ID: id}); err != nil {
		t.Fatal(err)
	}
	got, err := d.Claim(context.Background(), queue.ClaimRequest{Worker: id, Most: 1000, Kinds: []string{kind}})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// counter counts how often each job ran, and how many at a time.
type counter struct {
	mu        sync.Mutex
	runs      map[uuid.UUID]int
	now, most int
}

func (c *counter) run(_ context.Context, job queue.Claimed) queue.Result {
	c.mu.Lock()
	if c.runs == nil {
		c.runs = make(map[uuid.UUID]int)
	}
	c.runs[job.ID]++
	c.now++
	c.most = max(c.most, c.now)
	c.mu.Unlock()
	time.Sleep(10 * time.Millisecond)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now--
	return queue.Result{}
}

func (c *counter) once(t *testing.T, want int) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.runs) != want {
		t.Errorf("%d jobs ran, want %d", len(c.runs), want)
	}
	for id, n := range c.runs {
		if n != 1 {
			t.Errorf("job %s ran %d times", id, n)
		}
	}
}

// spy counts the calls of a driver and can stand in for some of them.
type spy struct {
	queue.Driver
	claims, reports, holds atomic.Int64
	claim                  func(ctx context.Context, r queue.ClaimRequest) ([]queue.Claimed, error)
	heartbeat              func(ctx context.Context, w uuid.UUID) error
	report                 func(w uuid.UUID)
}

func (s *spy) Claim(ctx context.Context, r queue.ClaimRequest) ([]queue.Claimed, error) {
	s.claims.Add(1)
	if s.claim != nil {
		return s.claim(ctx, r)
	}
	return s.Driver.Claim(ctx, r)
}

func (s *spy) Report(ctx context.Context, w uuid.UUID, r ...queue.Result) error {
	s.reports.Add(1)
	if s.report != nil {
		s.report(w)
	}
	return s.Driver.Report(ctx, w, r...)
}

func (s *spy) Reconcile(ctx context.Context, w uuid.UUID, held []uuid.UUID) error {
	s.holds.Add(1)
	return s.Driver.Reconcile(ctx, w, held)
}

func (s *spy) Heartbeat(ctx context.Context, w uuid.UUID) error {
	if s.heartbeat != nil {
		return s.heartbeat(ctx, w)
	}
	return s.Driver.Heartbeat(ctx, w)
}

func (s *spy) around(d queue.Driver) queue.Driver {
	s.Driver = d
	return s
}

func TestEveryJobRunsOnceAndReportsRideInClaims(t *testing.T) {
	at(t, func(b *bench) {
		var c counter
		var s spy
		b.work(s.around, c.run)
		b.put(100)
		time.Sleep(time.Second)
		c.once(t, 100)
		if c.most != 3 { // a lane's share
			t.Errorf("%d at a time", c.most)
		}
		if n := s.reports.Load(); n != 0 {
			t.Errorf("%d reports of their own", n)
		}
		if n := s.claims.Load(); n > 100/3+5 {
			t.Errorf("%d claims for 100 jobs by 4 handlers", n)
		}
		b.end()
		if left := b.left(); len(left) != 0 {
			t.Errorf("%d jobs are left", len(left))
		}
	})
}

func TestNeverMoreIsClaimedThanHandlersAreFree(t *testing.T) {
	at(t, func(b *bench) {
		var c counter
		var s spy
		s.claim = func(ctx context.Context, r queue.ClaimRequest) ([]queue.Claimed, error) {
			c.mu.Lock()
			if c.now+r.Most > 4 {
				t.Errorf("claims %d while %d are at work", r.Most, c.now)
			}
			c.mu.Unlock()
			return s.Driver.Claim(ctx, r)
		}
		b.work(s.around, c.run)
		for range 40 {
			b.put(2)
			time.Sleep(3 * time.Millisecond)
		}
		time.Sleep(time.Second)
		c.once(t, 80)
		b.end()
	})
}

func TestIdleWorkerStartsAtOnceAndAtTheScheduledTime(t *testing.T) {
	at(t, func(b *bench) {
		ran := make(chan time.Time, 2)
		b.work(nil, func(context.Context, queue.Claimed) queue.Result { ran <- time.Now(); return queue.Result{} })
		time.Sleep(3300 * time.Millisecond)
		now := time.Now()
		b.put(1)
		b.enqueue(queue.Job{RunAt: now.Add(2750 * time.Millisecond)})
		if first := <-ran; !first.Equal(now) {
			t.Errorf("begun after %s", first.Sub(now))
		}
		if second := <-ran; !second.Equal(now.Add(2750 * time.Millisecond)) {
			t.Errorf("scheduled for 2.75s, begun after %s", second.Sub(now))
		}
		b.end()
	})
}

func TestGracefulStopFinishesWhatRunsAndLeavesTheRest(t *testing.T) {
	at(t, func(b *bench) {
		var finished atomic.Int64
		b.work(nil, func(ctx context.Context, _ queue.Claimed) queue.Result {
			time.Sleep(30 * time.Second)
			if ctx.Err() == nil && worker.MayStart(ctx) {
				finished.Add(1)
			}
			return queue.Result{}
		})
		b.put(6)
		time.Sleep(time.Second)
		begun := time.Now()
		b.end()
		if d := time.Since(begun); d != 29*time.Second || finished.Load() != 3 {
			t.Errorf("%d finished in %s", finished.Load(), d)
		}
		left := b.left()
		if len(left) != 3 || left[0].Crashes != 0 {
			t.Errorf("left: %+v", left)
		}
	})
}

func TestHardStopGivesJobsBackUncounted(t *testing.T) {
	at(t, func(b *bench) {
		b.work(nil, func(ctx context.Context, _ queue.Claimed) queue.Result {
			<-ctx.Done()
			return queue.Result{Action: queue.Release}
		})
		b.put(3)
		time.Sleep(time.Second)
		b.stop()
		synctest.Wait()
		begun := time.Now()
		b.kill()
		b.ended()
		if d := time.Since(begun); d != 0 {
			t.Errorf("took %s", d)
		}
		if left := b.left(); len(left) != 3 || left[0].Crashes != 0 {
			t.Errorf("left: %+v", left)
		}
	})
}

func TestHardStopDoesNotWaitForADeafHandler(t *testing.T) {
	at(t, func(b *bench) {
		b.work(nil, func(context.Context, queue.Claimed) queue.Result {
			time.Sleep(time.Hour)
			return queue.Result{}
		})
		b.put(1)
		time.Sleep(time.Second)
		begun := time.Now()
		b.kill()
		b.ended()
		if d := time.Since(begun); d > 2*time.Second {
			t.Errorf("took %s", d)
		}
		time.Sleep(time.Hour) // it ends without a stop
		if left := b.left(); len(left) != 1 || left[0].Crashes != 0 {
			t.Errorf("left: %+v", left)
		}
	})
}

func TestPanicIsLoggedAndTheJobComesBackLater(t *testing.T) {
	at(t, func(b *bench) {
		var at1 []time.Duration
		begun := time.Time{}
		b.work(nil, func(context.Context, queue.Claimed) queue.Result {
			if begun.IsZero() {
				begun = time.Now()
			}
			at1 = append(at1, time.Since(begun))
			if len(at1) < 4 {
				panic("as the test wants it")
			}
			return queue.Result{}
		})
		b.put(1)
		time.Sleep(20 * time.Second)
		b.end()
		want := []time.Duration{0, time.Second, 3 * time.Second, 7 * time.Second}
		for i, d := range at1 {
			if i >= len(want) || d.Truncate(time.Second) != want[i] {
				t.Fatalf("ran at %v, want %v", at1, want)
			}
		}
		if n := strings.Count(b.log.String(), "handler panicked"); n != 3 || len(at1) != 4 {
			t.Errorf("%d runs, logged %d times", len(at1), n)
		}
	})
}

func TestJobPastItsEndReachesTheKind(t *testing.T) {
	at(t, func(b *bench) {
		ends := make(chan time.Time, 3)
		b.work(nil, func(_ context.Context, c queue.Claimed) queue.Result {
			ends <- c.NotAfter
			return queue.Result{}
		})
		b.enqueue(queue.Job{NotAfter: time.Now().Add(-time.Second)})
		if end := <-ends; end.IsZero() || end.After(time.Now()) {
			t.Errorf("end %s", end)
		}
		b.end()
	})
}

func TestRetryAndDeadAreReported(t *testing.T) {
	at(t, func(b *bench) {
		runs := make(chan struct{}, 3)
		b.work(nil, func(_ context.Context, c queue.Claimed) queue.Result {
			runs <- struct{}{}
			if len(runs) < 2 {
				return queue.Result{Action: queue.Retry, RunAt: time.Now().Add(5 * time.Second), NotAfter: c.NotAfter}
			}
			return queue.Result{Action: queue.DeadLetter, Reason: "as the test wants it"}
		})
		b.put(1)
		time.Sleep(20 * time.Second)
		b.end()
		if left := b.left(); len(runs) != 2 || len(left) != 0 {
			t.Errorf("%d runs, left %+v", len(runs), left)
		}
	})
}

func TestWorkerEndsAfterItsMostJobs(t *testing.T) {
	at(t, func(b *bench) {
		var done atomic.Int32
		spent := make(chan struct{})
		hold := make(chan struct{})
		w := worker.New(worker.Options{
			Driver:   b.jobs,
			Handlers: 4,
			MostJobs: 6,
			Log:      slog.New(slog.NewTextHandler(b.log, nil)),
			Elapsed:  elapsed(),
			Spent:    func() { close(spent) },
			Kinds: []worker.Kind{{Name: kind, Run: func(context.Context, queue.Claimed) queue.Result {
				if done.Add(1) > 4 {
					<-hold
				}
				return queue.Result{}
			}}},
		})
		b.put(10)
		b.stop, b.kill = func() {}, func() {}
		go func() { b.err <- w.Run(context.Background(), context.Background()) }()
		<-spent // while the last ones are at work
		synctest.Wait()
		select {
		case err := <-b.err:
			t.Fatalf("Run returned %v before its jobs had ended", err)
		default:
		}
		close(hold)
		b.ended()
		if n := done.Load(); n != 6 {
			t.Errorf("%d jobs were begun, want 6", n)
		}
		if n := len(b.left()); n != 4 {
			t.Errorf("%d jobs are left for the next worker, want 4", n)
		}
	})
}

func TestMostJobsCountsASuspectWhenItRuns(t *testing.T) {
	at(t, func(b *bench) {
		b.enqueue(queue.Job{})
		for range queue.CrashesAlone {
			dying := uuid.New()
			if got := claimAs(t, b.jobs, dying); len(got) != 1 {
				t.Fatalf("claimed %d", len(got))
			}
			time.Sleep(queue.Lease) // the bubble's time
			if _, err := b.jobs.Sweep(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		var ran atomic.Int32
		w := worker.New(worker.Options{
			Driver: b.jobs, MostJobs: 1, Elapsed: elapsed(),
			Kinds: []worker.Kind{{Name: kind, Run: func(context.Context, queue.Claimed) queue.Result {
				ran.Add(1)
				return queue.Result{}
			}}},
		})
		b.stop, b.kill = func() {}, func() {}
		go func() { b.err <- w.Run(context.Background(), context.Background()) }()
		b.ended()
		if ran.Load() != 1 {
			t.Errorf("the job ran %d times, want once", ran.Load())
		}
	})
}

// elapsed returns a clock of the bubble.
func elapsed() func() time.Duration {
	begun := time.Now()
	return func() time.Duration { return time.Since(begun) }
}
