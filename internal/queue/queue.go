// Package queue is the contract of otpost's job queue.
//
// It promises: a job that was enqueued is handed out at least once, to one worker at a time, until
// that worker reports it; what a dead worker held is handed out again; a job past its not_after is
// handed out too, for its row is to be ended. It does not promise "exactly once". The truth about a
// delivery is its row; the queue is a hint when to look at it (docs/states.md).
//
// A worker's lease covers all jobs that it holds; heartbeats renew it. Every claim of a job has a
// token of its own, and a report with another worker or token changes nothing.
package queue

import (
	"context"
	"errors"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"otpost/internal/store"
)

// The times of a lease and the limits of a job.
const (
	Lease          = 10 * time.Second       // a worker without a heartbeat for so long is swept
	HeartbeatEvery = 2 * time.Second        // how often a worker renews its lease
	SweepEvery     = 500 * time.Millisecond // how often workers look for dead ones
	StartUntil     = 7 * time.Second        // no new dot later than this after the last answered heartbeat
	ReconcileEvery = 10 * time.Second       // how often a worker states what it holds
	CrashesAlone   = 2                      // a job with so many crashes runs alone in its process
	CrashesPoison  = 5                      // a job with so many crashes is given up
	LowestEvery    = 16                     // every so many-th claim of a driver begins with the lowest priority
	StaleAfter     = time.Minute            // a job whose not_after passed so long ago is claimed after all others
	// stale jobs of a lane that a claim passes over at least, to find one that is not
	MostPassed  = 500
	MostPayload = 64 << 10 // bytes of a payload
	MostLane    = 64       // bytes of a lane
)

// ErrLost says that the driver does not know the worker (any more): its lease has lapsed. It takes
// a new id.
var ErrLost = errors.New("the worker's lease has lapsed")

// ErrRefused says that this queue must not be used, or not as it is: trying again does not help
// until its settings are changed.
var ErrRefused = errors.New("the queue must not be used")

// ErrPayload says that a payload is longer than MostPayload.
var ErrPayload = errors.New("the payload of the job is too long")

// ErrLane says that a lane is longer than MostLane or no UTF-8.
var ErrLane = errors.New("the lane of the job is too long or no text")

// Priority orders the jobs of a queue. The lower one is not starved: every LowestEvery-th claim of
// a driver begins with it.
type Priority int8

// The priorities, first to last.
const (
	Urgent Priority = iota // a user waits before a login page
	Normal                 // everything else
)

// String returns the priority as REST and the command line show it.
func (p Priority) String() string {
	if p == Urgent {
		return "urgent"
	}
	return "normal"
}

// Job is something to do. The caller draws the id; enqueuing an id that the queue knows changes
// nothing.
type Job struct {
	ID   uuid.UUID
	Kind string // "delivery.send"
	// what may be slow or dead for all jobs that share it: an SMTP server. UTF-8, <= MostLane; ""
	// is a lane too
	Lane     string
	Priority Priority
	RunAt    time.Time // zero: now; after NotAfter: at NotAfter
	NotAfter time.Time // the end of what the job is about; zero: none
	Payload  []byte    // <= MostPayload, sealed by the caller; nil for deliveries
}

// Check returns ErrPayload or ErrLane for a job that no queue takes.
func (j Job) Check() error {
	switch {
	case len(j.Payload) > MostPayload:
		return ErrPayload
	case len(j.Lane) > MostLane || !utf8.ValidString(j.Lane):
		return ErrLane
	}
	return nil
}

// Claimed is a job that a worker has leased. It must be reported.
type Claimed struct {
	Job
	Worker     uuid.UUID // who holds it
	Token      int64     // of this claim: higher than that of every earlier one
	Crashes    int       // workers that died holding it
	SweptOwner uuid.UUID // the worker that was last swept while it held the job, kept over retries; zero: none
}

// Poisoned reports whether the job has killed so many workers that it must not be run: that is to
// be written to its row.
func (c Claimed) Poisoned() bool { return c.Crashes >= CrashesPoison }

// Action is what becomes of a job.
type Action int8

// The actions.
const (
	Done       Action = iota // forget it
	Retry                    // hand it out again at RunAt
	Release                  // hand it out again at once; the claim does not count
	DeadLetter               // keep it as dead, with Reason
)

// Result reports a claimed job. It is without effect, and that is no error, when the claim is over:
// swept, given back by Reconcile or reported before. So a report whose answer was lost can be
// repeated.
type Result struct {
	ID       uuid.UUID
	Token    int64
	Action   Action
	RunAt    time.Time // of Retry; zero: now
	NotAfter time.Time // of Retry; zero: as it was
	Reason   string    // of DeadLetter: a sentence without secrets
}

// Worker describes a process that claims.
type Worker struct {
	ID       uuid.UUID // random, unique per start and after every ErrLost
	Host     string
	PID      int
	Version  string
	Handlers int
}

// Seen is a worker as the queue knows it.
type Seen struct {
	Worker
	Started, Heartbeat time.Time
	Local              bool // runs on this host
}

// ClaimRequest asks for jobs.
type ClaimRequest struct {
	Worker uuid.UUID
	Most   int      // how many at most: what the worker can begin soon
	Kinds  []string // only jobs of these kinds
	Full   []string // no jobs of these lanes; nil: every lane
	Done   []Result // reported in the same transaction, before the claim
}

// Driver keeps the jobs of one queue. All methods are safe for concurrent use.
type Driver interface {
	// Enqueue adds the jobs whose ids the queue does not know. A dead job counts as not known and
	// lives again. The errors of Job.Check refuse all of them.
	Enqueue(ctx context.Context, jobs ...Job) error
	// RunNow makes a scheduled job due now. It changes nothing of a job that is ready, leased, dead
	// or not known.
	RunNow(ctx context.Context, id uuid.UUID) error
	// Register makes a worker known and begins its lease. Its process then takes part in same-host
	// recovery: a peer sees within a sweep that the process has died.
	Register(ctx context.Context, w Worker) error
	// Unregister ends a worker; what it still holds is released uncounted.
	Unregister(ctx context.Context, worker uuid.UUID) error
	// Claim reports req.Done and leases up to req.Most jobs: due ones by priority, then by age.
	// Stale jobs (StaleAfter) come after all others, behind which the driver finds up to MostPassed
	// of each lane; every LowestEvery-th claim treats them like any other, so that they do not wait
	// for ever. A claim's cost does not grow with the jobs of other kinds or of full lanes. It
	// returns at once, with none when there is nothing to do, and ErrLost when the worker's lease
	// has lapsed (Done counts all the same where the claim tokens still fit).
	Claim(ctx context.Context, req ClaimRequest) ([]Claimed, error)
	// Report is Claim without a claim, for when a user waits for the outcome or no handler is
	// free; ErrLost as there.
	Report(ctx context.Context, worker uuid.UUID, results ...Result) error
	// Reconcile states which jobs the worker holds; everything else under its name goes back
	// uncounted (the answer of a claim may have been lost). It must not run beside a Claim of the
	// same worker: what that brings is not in held yet. ErrLost as in Heartbeat.
	Reconcile(ctx context.Context, worker uuid.UUID, held []uuid.UUID) error
	// Heartbeat renews the worker's lease. ErrLost: it was swept, or is unknown.
	Heartbeat(ctx context.Context, worker uuid.UUID) error
	// Sweep takes the jobs of dead workers back: crashes+1, swept owner noted. It returns how many.
	Sweep(ctx context.Context) (int, error)
	// Wait returns when a job of one of the kinds may be due, at the latest after most; it consumes
	// no job. Jobs of the full lanes do not end it, unless the driver cannot tell in time. It does
	// not look at the clock in between: what another process adds is seen within 25 ms, a scheduled
	// job when it is due. ctx ends it with its error.
	Wait(ctx context.Context, kinds, full []string, most time.Duration) error
	// Workers lists the workers whose lease has not lapsed.
	Workers(ctx context.Context) ([]Seen, error)
}

// TxDriver is what a driver inside the state database adds: the job commits with the row that it is
// about.
type TxDriver interface {
	Driver
	// EnqueueTx is Enqueue inside the caller's transaction; calls of Wait are woken after its
	// commit.
	EnqueueTx(tx *store.Tx, jobs ...Job)
	// RunNowTx is RunNow inside the caller's transaction; calls of Wait are woken after its commit.
	RunNowTx(tx *store.Tx, id uuid.UUID)
	// RemoveTx removes the jobs that are not leased, in the transaction that ends what they are
	// about. A leased one is its worker's to report.
	RemoveTx(tx *store.Tx, ids ...uuid.UUID)
	// Unknown returns those of ids whose jobs the queue does not know, dead ones included, in no
	// order.
	Unknown(r store.Reader, ids ...uuid.UUID) ([]uuid.UUID, error)
	// HeldTx reports whether the worker still holds the claim and its lease has not lapsed: what a
	// dot needs.
	HeldTx(tx *store.Tx, c Claimed) (bool, error)
	// ReportTx is Report inside the transaction that writes the outcome. A claim that is over is no
	// error, and ErrLost is not told: the outcome is to be written all the same.
	ReportTx(tx *store.Tx, worker uuid.UUID, r Result) error
}
