package app

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"otpost/internal/queue"
	"otpost/internal/store"
)

// heartbeatLost is the time without a try to renew the lease after which a worker counts as hung.
const heartbeatLost = 15 * time.Second

// heartbeat records when the workers of this process last tried to renew their lease, and whether a
// try is running. The time that the queue takes to answer does not count.
type heartbeat struct {
	begun  time.Time
	last   atomic.Int64 // nanoseconds since begun, plus 1; 0: no worker has begun
	trying atomic.Int64 // running tries
}

// try runs a renewal of the lease and records it.
func (p *heartbeat) try(renew func() error) error {
	p.trying.Add(1)
	err := renew()
	p.last.Store(int64(time.Since(p.begun)) + 1)
	p.trying.Add(-1)
	return err
}

// silence returns the time since the last try; 0 without workers, and during a try.
func (p *heartbeat) silence() time.Duration {
	trying, last := p.trying.Load(), p.last.Load()
	if last == 0 || trying > 0 {
		return 0
	}
	return time.Since(p.begun) - time.Duration(last-1)
}

// health is the state for the service manager.
type health struct {
	notify    *Notifier
	heartbeat heartbeat   // of the workers in this process
	answered  func(error) // called with the result of registrations and claims; nil: none
}

// heartbeatDriver is a driver that records each renewal of a lease in the heartbeat, successful or
// not: a process whose Redis is away is alive.
type heartbeatDriver struct {
	queue.Driver
	heartbeat *heartbeat
	answered  func(error) // called with the result of a registration or a claim; nil: none
}

// Register implements queue.Driver.
func (b heartbeatDriver) Register(ctx context.Context, w queue.Worker) error {
	err := b.heartbeat.try(func() error { return b.Driver.Register(ctx, w) })
	if err != nil && b.answered != nil { // otherwise the next claim reports
		b.answered(err)
	}
	return err
}

// Heartbeat implements queue.Driver.
func (b heartbeatDriver) Heartbeat(ctx context.Context, worker uuid.UUID) error {
	return b.heartbeat.try(func() error { return b.Driver.Heartbeat(ctx, worker) })
}

// Claim implements queue.Driver.
func (b heartbeatDriver) Claim(ctx context.Context, r queue.ClaimRequest) ([]queue.Claimed, error) {
	got, err := b.Driver.Claim(ctx, r)
	if b.answered != nil {
		b.answered(err)
	}
	return got, err
}

// alive returns why the process must be restarted: its writer or its readers do not answer, or its
// workers no longer try to renew their lease. A full disk or a queue out of reach is not a reason,
// because a restart does not help.
func (a *App) alive(ctx context.Context) error {
	if s := a.health.heartbeat.silence(); s > heartbeatLost {
		return fmt.Errorf("the workers have not tried to renew their lease for %s", s.Round(time.Second))
	}
	// Errors are answers, too.
	_ = a.db.WriteLight(ctx, func(*store.Tx) error { return nil })
	_ = a.db.Read(ctx, func(store.Reader) error { return nil })
	if ctx.Err() != nil {
		return errors.New("the database does not answer")
	}
	return nil
}

// readyToWork notifies the service manager that the worker claims from the queue or tries to: a
// Redis that is away does not stop the start.
func (a *App) readyToWork(err error) {
	switch {
	case err == nil:
		a.health.notify.Ready("works on the queue " + a.config.QueueName + ", " + a.queueAt)
	case store.Unusable(err):
		a.health.notify.Ready("the database cannot be used, trying again: " + a.config.DatabaseURI.Path)
	case !errors.Is(err, queue.ErrLost):
		a.health.notify.Ready("queue out of reach, trying again: " + a.queueAt)
	}
}
