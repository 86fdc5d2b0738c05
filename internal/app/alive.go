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

// pulseLost is when a worker that has not tried to renew its lease counts as hung.
const pulseLost = 15 * time.Second

// pulse is when the workers of this process last tried to renew their lease, and whether a try is under way: how
// long the queue takes to answer says nothing about the process.
type pulse struct {
	begun  time.Time
	last   atomic.Int64 // nanoseconds since begun, plus 1; 0: no worker has begun
	trying atomic.Int64 // tries under way
}

// try makes a try to renew a lease.
func (p *pulse) try(renew func() error) error {
	p.trying.Add(1)
	err := renew()
	p.last.Store(int64(time.Since(p.begun)) + 1)
	p.trying.Add(-1)
	return err
}

// silence returns how long the workers have not tried; 0 without workers, and during a try.
func (p *pulse) silence() time.Duration {
	trying, last := p.trying.Load(), p.last.Load()
	if last == 0 || trying > 0 {
		return 0
	}
	return time.Since(p.begun) - time.Duration(last-1)
}

// life is what the service manager is told of.
type life struct {
	notify *Notifier
	pulse  pulse       // of the workers in this process
	told   func(error) // what came of registrations and claims; nil: nobody asks
}

// beating is a driver that lets the pulse feel each renewal of a lease, whether or not the queue took it: a process whose Redis
// is away is alive.
type beating struct {
	queue.Driver
	pulse *pulse
	told  func(error) // what came of a registration or a claim; nil: nobody asks
}

// Register implements queue.Driver.
func (b beating) Register(ctx context.Context, w queue.Worker) error {
	err := b.pulse.try(func() error { return b.Driver.Register(ctx, w) })
	if err != nil && b.told != nil { // else the claim that follows tells
		b.told(err)
	}
	return err
}

// Heartbeat implements queue.Driver.
func (b beating) Heartbeat(ctx context.Context, worker uuid.UUID) error {
	return b.pulse.try(func() error { return b.Driver.Heartbeat(ctx, worker) })
}

// Claim implements queue.Driver.
func (b beating) Claim(ctx context.Context, r queue.ClaimRequest) ([]queue.Claimed, error) {
	got, err := b.Driver.Claim(ctx, r)
	if b.told != nil {
		b.told(err)
	}
	return got, err
}

// alive reports why the process must be restarted: its writer or its readers do not answer, or its workers no longer try to
// renew their lease. A full disk or a queue that is away are no reasons: they answer, and a restart would help neither.
func (a *App) alive(ctx context.Context) error {
	if s := a.life.pulse.silence(); s > pulseLost {
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

// readyToWork tells the service manager that the worker claims from the queue, or that it tries to: a Redis that is away stops no start.
func (a *App) readyToWork(err error) {
	switch {
	case err == nil:
		a.life.notify.Ready("works on the queue " + a.config.QueueName + ", " + a.queueAt)
	case store.Unusable(err):
		a.life.notify.Ready("the database cannot be used, trying again: " + a.config.DatabaseURI.Path)
	case !errors.Is(err, queue.ErrLost):
		a.life.notify.Ready("queue out of reach, trying again: " + a.queueAt)
	}
}
