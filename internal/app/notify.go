package app

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// Notifier sends the state of the process to the service manager by the protocol of sd_notify(3):
// READY, STATUS, RELOADING, STOPPING and WATCHDOG. Without a manager (no NOTIFY_SOCKET) and as nil
// it sends nothing. It is safe for concurrent use.
type Notifier struct {
	log *slog.Logger

	mu     sync.Mutex
	phase  phase
	status string // that was sent last
	failed bool   // that the manager does not listen was logged
}

type phase int

const (
	starting phase = iota
	running
	stopping
)

// NewNotifier returns a Notifier that logs to log when the manager's socket cannot be reached.
func NewNotifier(log *slog.Logger) *Notifier { return &Notifier{log: log} }

// Ready sends READY=1 and the status. A second call sends only the status.
func (n *Notifier) Ready(status string) {
	if n == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.phase != starting {
		n.sendStatus(status)
		return
	}
	n.phase, n.status = running, status
	n.send(daemon.SdNotifyReady + "\nSTATUS=" + status)
}

// sendStatus sends a status that differs from the last one, unless the process is stopping.
func (n *Notifier) sendStatus(status string) {
	if n.phase != running || n.status == status {
		return
	}
	n.status = status
	n.send("STATUS=" + status)
}

// Reload runs f and sends its beginning and its end. Type=notify-reload of systemd 253 needs the
// time of the beginning; earlier versions ignore it.
func (n *Notifier) Reload(f func()) {
	n.state(daemon.SdNotifyReloading + "\n" + daemon.SdNotifyMonotonicUsec())
	f()
	n.state(daemon.SdNotifyReady)
}

// state sends a state of a running process.
func (n *Notifier) state(text string) {
	if n == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.phase == running {
		n.send(text)
	}
}

// Stopping sends that the graceful stop has begun.
func (n *Notifier) Stopping() {
	if n == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.phase != stopping {
		n.phase = stopping
		n.send(daemon.SdNotifyStopping + "\nSTATUS=finishing what is under way")
	}
}

func (n *Notifier) send(text string) {
	if _, err := daemon.SdNotify(false, text); err != nil && !n.failed {
		n.failed = true
		n.log.Warn("service manager does not listen", "err", err)
	}
}

// Watch pings the manager's watchdog at half of its time (WATCHDOG_USEC) while alive returns no
// error, until ctx ends. alive has that half to answer. A process that hangs sends no ping, and the
// manager restarts it. Without a watchdog Watch returns at once.
func (n *Notifier) Watch(ctx context.Context, alive func(context.Context) error) {
	if n == nil {
		return
	}
	period, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		n.log.Warn("watchdog of the service manager not understood", "err", err)
	}
	if err != nil || period <= 0 {
		return
	}
	half := period / 2
	tick := time.NewTicker(half)
	defer tick.Stop()
	for {
		if n.answers(ctx, half, alive) {
			n.mu.Lock()
			n.send(daemon.SdNotifyWatchdog)
			n.mu.Unlock()
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// answers reports whether alive returned no error in time. A time-out is logged while alive is
// still running.
func (n *Notifier) answers(ctx context.Context, within time.Duration, alive func(context.Context) error) bool {
	late := time.AfterFunc(within, func() {
		if ctx.Err() == nil {
			n.log.Error("process hangs, the service manager will restart it")
		}
	})
	defer late.Stop()
	asked, cancel := context.WithTimeout(ctx, within*9/10)
	defer cancel()
	err := alive(asked)
	if err != nil && ctx.Err() == nil {
		n.log.Error("watchdog gets no ping", "err", err)
	}
	return err == nil
}
