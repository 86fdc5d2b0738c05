package app

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// Notifier tells the service manager how the process stands, by the protocol of sd_notify(3): READY, STATUS, RELOADING,
// STOPPING and WATCHDOG. Without a manager (no NOTIFY_SOCKET) and as nil it tells nobody. It is safe for concurrent use.
type Notifier struct {
	log *slog.Logger

	mu     sync.Mutex
	phase  phase
	status string // that was told last
	failed bool   // it was logged that the manager does not listen
}

type phase int

const (
	starting phase = iota
	running
	stopping
)

// NewNotifier returns a Notifier that logs to log when the manager's socket cannot be reached.
func NewNotifier(log *slog.Logger) *Notifier { return &Notifier{log: log} }

// Ready says that the process does its work, and how it stands. It counts once; later ones are a Status.
func (n *Notifier) Ready(status string) {
	if n == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.phase != starting {
		n.tell(status)
		return
	}
	n.phase, n.status = running, status
	n.send(daemon.SdNotifyReady + "\nSTATUS=" + status)
}

// tell sends a status that differs from the last one, unless the end is near.
func (n *Notifier) tell(status string) {
	if n.phase != running || n.status == status {
		return
	}
	n.status = status
	n.send("STATUS=" + status)
}

// Reload runs f and tells its beginning and its end. Type=notify-reload of systemd 253 wants the time of the beginning; the
// manager before it does not look at it.
func (n *Notifier) Reload(f func()) {
	n.state(daemon.SdNotifyReloading + "\n" + daemon.SdNotifyMonotonicUsec())
	f()
	n.state(daemon.SdNotifyReady)
}

// state sends a state that only a running process has.
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

// Stopping says that the graceful stop has begun.
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

// Watch pings the manager's watchdog at half of its time (WATCHDOG_USEC) for as long as alive has no error, until ctx ends.
// alive is given that half to answer. A process that hangs gets no ping, and the manager restarts it. Without a watchdog Watch
// returns at once.
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

// answers reports whether alive had no error. That it takes too long is logged while it is still at it.
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
