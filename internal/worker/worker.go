// Package worker claims jobs and runs their kinds.
//
// It promises: a worker claims at most as many jobs as handlers are free, or will be when the
// claim answers (ahead.go); the jobs of one lane
// never occupy all handlers; of the jobs that have killed workers, one runs at a time; the end of
// the graceful context lets running handlers finish and gives all other jobs back uncounted; a
// worker whose lease lapsed continues under a new id, and late reports of its handlers count where
// the queue accepts them. It knows no kind by name and decides nothing about a job: the kind's
// answer is the report.
package worker

import (
	"context"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/google/uuid"

	"otpost/internal/queue"
)

// Kind is one kind of job.
type Kind struct {
	Name string
	// Run does a job, or writes down that it has expired or is poisoned: NotAfter and Poisoned
	// tell. Its answer is the report; ID and Token are filled in, and the zero Result is Done. ctx
	// outlives a graceful stop and ends with a hard one. A panic is logged, and the job comes back
	// later.
	Run func(ctx context.Context, claimed queue.Claimed) queue.Result
}

// Options are the settings of a Worker. Driver and Kinds are required.
type Options struct {
	Driver   queue.Driver
	Kinds    []Kind
	Handlers int                  // jobs at a time; 32
	MostJobs int                  // Run ends after so many jobs; 0: never
	Spent    func()               // called when the last of MostJobs has begun, so that another Worker may start
	Version  string               // of the program, for the list of workers
	Log      *slog.Logger         // discards
	Logged   func(error) bool     // reports whether an error of Driver is logged elsewhere, and so not here; nil: never
	Now      func() time.Time     // of the queue's clock, for the times of retries; time.Now
	Elapsed  func() time.Duration // a monotonic clock that counts the machine's sleep; CLOCK_BOOTTIME
}

// Worker runs jobs until its contexts end.
type Worker struct {
	driver   queue.Driver
	kinds    map[string]Kind
	names    []string
	handlers int
	mostJobs int
	spent    func()
	version  string
	log      *slog.Logger
	logged   func(error) bool // Options.Logged
	now      func() time.Time
	elapsed  func() time.Duration

	mu    sync.Mutex
	lease *lease // nil: not registered
}

// New returns a worker; it does nothing before Run.
func New(o Options) *Worker {
	w := &Worker{
		driver:   o.Driver,
		kinds:    make(map[string]Kind),
		handlers: o.Handlers,
		mostJobs: o.MostJobs,
		spent:    o.Spent,
		version:  o.Version,
		log:      o.Log,
		logged:   o.Logged,
		now:      o.Now,
		elapsed:  o.Elapsed,
	}
	for _, k := range o.Kinds {
		w.kinds[k.Name] = k
		w.names = append(w.names, k.Name)
	}
	if w.handlers <= 0 {
		w.handlers = 32
	}
	if w.log == nil {
		w.log = slog.New(slog.DiscardHandler)
	}
	if w.logged == nil {
		w.logged = func(error) bool { return false }
	}
	if w.now == nil {
		w.now = time.Now
	}
	if w.elapsed == nil {
		w.elapsed = sinceBoot
	}
	return w
}

// Run works until graceful ends or MostJobs jobs have begun. Then it claims nothing more and
// returns when the running handlers have ended. The end of hard ends their contexts and gives their
// jobs back at once. The error is that of the last report; jobs whose report failed come back when
// the lease lapses.
func (w *Worker) Run(graceful, hard context.Context) error {
	// Calls of the driver and handlers outlive the graceful stop, because a cancelled call may have
	// claimed jobs.
	working, stop := context.WithCancel(context.WithoutCancel(graceful))
	defer stop()
	claiming, stopClaiming := context.WithCancel(graceful)
	defer stopClaiming()
	defer context.AfterFunc(hard, func() { stopClaiming(); stop() })()
	r := &run{
		Worker:   w,
		claiming: claiming,
		working:  working,
		due:      make(chan error, 1),
		ended:    make(chan outcome, w.handlers),
		kick:     make(chan struct{}, 1),
		asked:    make(chan answer, 1),
		ahead:    ahead{running: make(map[uuid.UUID]time.Time)},
		held:     make(map[uuid.UUID]queue.Claimed),
		panics:   make(map[uuid.UUID]int),
		lanes:    make(map[string]int),
		loggedAt: make(map[string]time.Duration),
		maybeDue: true,
	}
	var beside sync.WaitGroup
	beside.Go(func() { r.every(working, queue.HeartbeatEvery, r.heartbeat) })
	beside.Go(func() { r.every(claiming, queue.SweepEvery, r.sweep) })
	r.loop()
	stopClaiming()
	if r.full() && w.spent != nil {
		w.spent()
	}
	r.drain()
	stop()
	beside.Wait()
	return r.leaveQueue()
}

func (w *Worker) describe(id uuid.UUID) queue.Worker {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return queue.Worker{
		ID:       id,
		Host:     host,
		PID:      os.Getpid(),
		Version:  w.version,
		Handlers: w.handlers,
	}
}
