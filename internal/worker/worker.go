// Package worker claims jobs and runs their kinds.
//
// It promises: no more jobs are claimed than handlers are free; the jobs of one lane never have all handlers; of
// the jobs that have killed workers before one runs at a time; an end of the graceful context lets running handlers
// finish and gives everything else back uncounted; a worker whose lease lapsed goes on under a new id, and what its
// handlers still report counts where the queue lets it. It knows no kind by name and decides nothing about a job:
// the kind's answer is the report.
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
	// Run does a job, or writes down that it has expired or is poisoned: NotAfter and Poisoned tell. Its answer is the report;
	// ID and Token are filled in, and the zero Result is Done. ctx outlives a graceful stop and ends with a hard one. A panic
	// is logged, and the job comes back later.
	Run func(ctx context.Context, claimed queue.Claimed) queue.Result
}

// Options say what to work on. Driver and Kinds are needed.
type Options struct {
	Driver   queue.Driver
	Kinds    []Kind
	Handlers int                  // jobs at a time; 32
	MostJobs int                  // Run ends by itself when it has begun so many and they have ended; never
	Spent    func()               // called when the last of MostJobs has begun: another Worker may take over; nothing
	Version  string               // of the program, for the list of workers
	Log      *slog.Logger         // discards
	Told     func(error) bool     // an error of Driver is logged elsewhere, and so not here; never
	Now      func() time.Time     // of the queue's clock, for the times of retries; time.Now
	Elapsed  func() time.Duration // a clock that counts the machine's sleep and never goes back; CLOCK_BOOTTIME
}

// Worker runs jobs until it is told to stop.
type Worker struct {
	driver   queue.Driver
	kinds    map[string]Kind
	names    []string
	handlers int
	mostJobs int
	spent    func()
	version  string
	log      *slog.Logger
	logged   func(error) bool // Options.Told
	now      func() time.Time
	elapsed  func() time.Duration

	mu    sync.Mutex
	lease *lease // nil: not registered
}

// New returns a worker; it does nothing before Run.
func New(o Options) *Worker {
	w := &Worker{
		driver: o.Driver, kinds: make(map[string]Kind), handlers: o.Handlers, mostJobs: o.MostJobs, spent: o.Spent,
		version: o.Version, log: o.Log, logged: o.Told, now: o.Now, elapsed: o.Elapsed,
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

// Run works until graceful ends, or MostJobs have begun: then nothing more is claimed and it returns when the running handlers
// have ended. The end of hard ends their contexts too and gives their jobs back at once. The error is that of the last report;
// jobs whose report failed come back when the lease lapses.
func (w *Worker) Run(graceful, hard context.Context) error {
	// Calls of the driver and handlers outlive the graceful stop, for an answer that is given up may have been a claim.
	working, stop := context.WithCancel(context.WithoutCancel(graceful))
	defer stop()
	claiming, stopClaiming := context.WithCancel(graceful)
	defer stopClaiming()
	defer context.AfterFunc(hard, func() { stopClaiming(); stop() })()
	r := &run{
		Worker: w, claiming: claiming, working: working,
		due: make(chan error, 1), ended: make(chan outcome, w.handlers), kick: make(chan struct{}, 1),
		held: make(map[uuid.UUID]queue.Claimed), panics: make(map[uuid.UUID]int),
		lanes: make(map[string]int), told: make(map[string]time.Duration), maybeDue: true,
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
	return r.part()
}

func (w *Worker) describe(id uuid.UUID) queue.Worker {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return queue.Worker{ID: id, Host: host, PID: os.Getpid(), Version: w.version, Handlers: w.handlers}
}
