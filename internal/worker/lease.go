package worker

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"otpost/internal/queue"
)

// lease is one registration of a worker.
type lease struct {
	id       uuid.UUID
	elapsed  func() time.Duration
	answered atomic.Int64 // when the last heartbeat that was answered was sent, by elapsed
	over     atomic.Bool
}

func (l *lease) end() { l.over.Store(true) }

// fresh reports whether the lease is certainly still held, so that an irreversible step may start.
func (l *lease) fresh() bool {
	return !l.over.Load() && l.elapsed()-time.Duration(l.answered.Load()) < queue.StartUntil
}

// sinceBoot reads CLOCK_BOOTTIME, which counts while the machine sleeps, as the clocks of its peers
// do.
func sinceBoot() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		panic(err) // Linux has had it since 2.6.39
	}
	return time.Duration(t.Nano())
}

type handlerKey struct{}

// handlerState is what the context of a handler carries.
type handlerState struct {
	lease *lease // under which its job was claimed
	write func() // called before each write; nil: nothing
}

// MayStart reports, in the context of a handler, whether the lease of the handler's job still
// allows an irreversible step: until queue.StartUntil after the last answered heartbeat. A handler
// calls it before its writes to the network; a suspect's first call lets further claims start.
// Outside of a handler it is true. It is safe for concurrent use.
func MayStart(ctx context.Context) bool {
	h, ok := ctx.Value(handlerKey{}).(*handlerState)
	if !ok {
		return true
	}
	if h.write != nil {
		h.write()
	}
	return h.lease.fresh()
}

func (w *Worker) current() *lease {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lease
}

func (w *Worker) set(l *lease) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lease = l
}

// register begins a lease under a new id.
func (r *run) register() error {
	l := &lease{id: uuid.New(), elapsed: r.elapsed}
	l.answered.Store(int64(r.elapsed()))
	if err := r.driver.Register(r.working, r.describe(l.id)); err != nil {
		// The answer may have been lost: the registration must not stay.
		r.driver.Unregister(r.working, l.id) //nolint:errcheck // the lease lapses
		return fmt.Errorf("register: %w", err)
	}
	r.set(l)
	r.stated, r.maybeDue = r.elapsed(), true
	r.sweep(r.working) // jobs of dead workers come back at once
	return nil
}

// every calls f at each period until ctx ends.
func (r *run) every(ctx context.Context, period time.Duration, f func(ctx context.Context)) {
	tick := time.NewTicker(period)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			f(ctx)
		}
	}
}

// heartbeat renews the lease. Only a refusal counts here: other errors meet the claims, which log
// them.
func (r *run) heartbeat(ctx context.Context) {
	l := r.current()
	if l == nil {
		return
	}
	sent := r.elapsed()
	switch err := r.driver.Heartbeat(ctx, l.id); {
	case err == nil:
		l.answered.Store(int64(sent))
	case errors.Is(err, queue.ErrLost):
		l.end()
		select {
		case r.kick <- struct{}{}:
		default: // the loop has the notice already
		}
	}
}

// sweep takes back the jobs of dead workers. Its errors meet the claims, too, which log them.
func (r *run) sweep(ctx context.Context) {
	if n, err := r.driver.Sweep(ctx); err == nil && n > 0 {
		r.log.Warn("jobs of a dead worker taken back", "jobs", n)
	}
}
