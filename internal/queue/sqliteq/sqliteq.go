// Package sqliteq is the embedded queue: jobs in the state database.
//
// A job commits with the row that it is about (EnqueueTx) and is deleted with the outcome (ReportTx). Wait does not
// poll: the store's notifier wakes it after a commit of this process or another one. Done reports, the promotion of due
// jobs and the lease are one light commit: a power cut repeats jobs and loses none.
//
// Recovery on one host does not wait for the lease (queue.HostLocks). Leases go by the wall clock,
// which may be set: see lease.go.
//
// SQLite holds any type in any column. A row of a job or worker that cannot be read is put aside or forgotten by
// itself.
package sqliteq

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"otpost/internal/queue"
	"otpost/internal/store"
)

// Options say which queue to open.
type Options struct {
	Queue   string       // its name: [a-z0-9_-]{1,64}
	LockDir string       // folder of the workers' lock files; all processes must name the same one
	Log     *slog.Logger // discards
}

// Driver is a queue in the state database. It is safe for concurrent use.
type Driver struct {
	db     *store.DB
	queue  string
	locks  *queue.HostLocks
	log    *slog.Logger
	pruned atomic.Int64 // when this process did last, milliseconds
	claims atomic.Int64
}

var queueName = regexp.MustCompile(`^[a-z0-9_-]{1,64}$`)

// Open returns the queue of a name. It does no more than read the identity of the host.
func Open(db *store.DB, o Options) (*Driver, error) {
	if !queueName.MatchString(o.Queue) {
		return nil, fmt.Errorf("queue name %q: use 1 to 64 of a-z, 0-9, _ and -", o.Queue)
	}
	if o.LockDir == "" {
		return nil, errors.New("the embedded queue needs a folder for its workers' locks")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	locks, err := queue.NewHostLocks(o.LockDir, "queue."+o.Queue+".") // queue names have no dot
	if err != nil {
		return nil, err
	}
	return &Driver{db: db, queue: o.Queue, locks: locks, log: o.Log}, nil
}

// Close gives up the locks of workers that are still registered, as if their process had died. Call it before the
// database is closed. Goroutines that wait for the lock of another process's worker end with that worker: the wait
// cannot be broken off.
func (d *Driver) Close() error { return d.locks.Close() }

// Enqueue implements queue.Driver. The jobs are on disk when it returns.
func (d *Driver) Enqueue(ctx context.Context, jobs ...queue.Job) error {
	for _, j := range jobs {
		if err := j.Check(); err != nil {
			return fmt.Errorf("enqueue %s: %w", j.ID, err)
		}
	}
	err := d.db.Write(ctx, func(tx *store.Tx) error {
		d.EnqueueTx(tx, jobs...)
		return nil
	})
	if err != nil {
		return fmt.Errorf("enqueue: %w", err)
	}
	return nil
}

// EnqueueTx implements queue.TxDriver. The caller keeps to what queue.Job.Check asks for.
func (d *Driver) EnqueueTx(tx *store.Tx, jobs ...queue.Job) {
	now := d.db.Now()
	for _, j := range jobs {
		d.putJob(tx, now, j)
	}
	tx.Signal()
}

// RunNow implements queue.Driver.
func (d *Driver) RunNow(ctx context.Context, id uuid.UUID) error {
	err := d.db.WriteLight(ctx, func(tx *store.Tx) error {
		d.RunNowTx(tx, id)
		return nil
	})
	if err != nil {
		return fmt.Errorf("make job %s due: %w", id, err)
	}
	return nil
}

// RunNowTx implements queue.TxDriver.
func (d *Driver) RunNowTx(tx *store.Tx, id uuid.UUID) {
	tx.Put(`UPDATE job SET state = 0, run_at_ms = min(run_at_ms, $3) WHERE id = $1 AND queue = $2 AND state = 2`, id[:], d.queue, store.Millis(d.db.Now()))
	tx.Signal()
}

// RemoveTx implements queue.TxDriver.
func (d *Driver) RemoveTx(tx *store.Tx, ids ...uuid.UUID) {
	for _, id := range ids {
		tx.Put(`DELETE FROM job WHERE id = $1 AND state <> 1`, id[:])
	}
}

// Claim implements queue.Driver.
func (d *Driver) Claim(ctx context.Context, req queue.ClaimRequest) ([]queue.Claimed, error) {
	lowestFirst := req.Most > 0 && d.claims.Add(1)%queue.LowestEvery == 0
	var got []queue.Claimed
	lost := false
	err := d.db.WriteLight(ctx, func(tx *store.Tx) error {
		got = nil
		now := d.db.Now()
		known, err := d.alive(tx, req.Worker, now)
		if err != nil {
			return err
		}
		if err := d.report(tx, now, req.Worker, req.Done); err != nil {
			return err
		}
		lost = !known // what was reported counts all the same: no error here
		if lost || req.Most <= 0 {
			return nil
		}
		got, err = d.lease(tx, now, req, lowestFirst)
		return err
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("claim: %w", err)
	case lost:
		d.locks.Drop(req.Worker)
		return nil, queue.ErrLost
	}
	return got, nil
}

// Report implements queue.Driver.
func (d *Driver) Report(ctx context.Context, worker uuid.UUID, results ...queue.Result) error {
	_, err := d.Claim(ctx, queue.ClaimRequest{Worker: worker, Done: results})
	return err
}

// ReportTx implements queue.TxDriver.
func (d *Driver) ReportTx(tx *store.Tx, worker uuid.UUID, r queue.Result) error {
	return d.report(tx, d.db.Now(), worker, []queue.Result{r})
}

// Unknown implements queue.TxDriver.
func (d *Driver) Unknown(r store.Reader, ids ...uuid.UUID) ([]uuid.UUID, error) {
	return d.unknown(r, ids)
}

// HeldTx implements queue.TxDriver.
func (d *Driver) HeldTx(tx *store.Tx, c queue.Claimed) (bool, error) {
	return d.held(tx, d.db.Now(), c)
}

// Reconcile implements queue.Driver.
func (d *Driver) Reconcile(ctx context.Context, worker uuid.UUID, held []uuid.UUID) error {
	known := false
	err := d.db.WriteLight(ctx, func(tx *store.Tx) (err error) {
		if known, err = d.alive(tx, worker, d.db.Now()); err != nil || !known {
			return err
		}
		leased, err := d.leased(tx, worker)
		if err != nil {
			return err
		}
		for _, id := range leased {
			key, readable := id.([]byte)
			if !readable || !slices.ContainsFunc(held, func(h uuid.UUID) bool { return bytes.Equal(h[:], key) }) {
				d.giveBack(tx, worker, id)
			}
		}
		return nil
	})
	return d.answer("state what is held", worker, known, err)
}

// Heartbeat implements queue.Driver.
func (d *Driver) Heartbeat(ctx context.Context, worker uuid.UUID) error {
	known := false
	err := d.db.WriteLight(ctx, func(tx *store.Tx) (err error) {
		known, err = d.renew(tx, worker, d.db.Now())
		return err
	})
	return d.answer("heartbeat", worker, known, err)
}

// answer is the error of a call in a worker's name; a worker that is lost needs its lock no longer.
func (d *Driver) answer(what string, worker uuid.UUID, known bool, err error) error {
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", what, err)
	case !known:
		d.locks.Drop(worker)
		return queue.ErrLost
	}
	return nil
}

// Wait implements queue.Driver.
func (d *Driver) Wait(ctx context.Context, kinds, full []string, most time.Duration) error {
	commits, stop := d.db.Subscribe() // before the first look, so that nothing falls between
	defer stop()
	for begun := time.Now(); ; {
		pause := most - time.Since(begun)
		if pause <= 0 {
			return nil
		}
		next, err := d.nextDue(ctx, kinds, full)
		if err != nil {
			return fmt.Errorf("look for the next job: %w", err)
		}
		if !next.IsZero() {
			left := next.Sub(d.db.Now())
			if left <= 0 {
				return nil
			}
			// The clock has whole milliseconds: without one more the timer may come before them.
			pause = min(pause, left+time.Millisecond)
		}
		timer := time.NewTimer(pause)
		select {
		case <-commits:
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
		timer.Stop()
	}
}

var _ queue.TxDriver = (*Driver)(nil)
