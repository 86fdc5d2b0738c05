package cli

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// stops are the two ends that signals bring: graceful at the first SIGTERM or SIGINT, at once at the second.
type stops struct {
	graceful context.Context //nolint:containedctx // an end, not a call's context
	hard     context.Context //nolint:containedctx // likewise
}

// stopRules say what the signals mean.
type stopRules struct {
	graceful string         // INT or TERM: only this one stops gracefully, the other at once; else both do
	most     *time.Duration // how long a graceful stop may take before it becomes a hard one; nil: for ever
}

// listen makes signals into ends and calls reload at each SIGHUP. The function that it returns ends it.
func listen(ctx context.Context, rules stopRules, reload func()) (stops, func()) {
	graceful, stop := context.WithCancel(ctx)
	hard, kill := context.WithCancel(ctx)
	rules.bound(graceful, kill)
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for s := range signals {
			switch {
			case s == syscall.SIGHUP:
				reload()
			case graceful.Err() != nil, !rules.isGraceful(s):
				kill()
				stop()
			default:
				stop()
			}
		}
	}()
	return stops{graceful, hard}, func() {
		signal.Stop(signals)
		close(signals)
		<-done
		stop()
		kill()
	}
}

// bound calls kill when a graceful stop has taken its time.
func (r stopRules) bound(graceful context.Context, kill func()) {
	if r.most != nil {
		context.AfterFunc(graceful, func() { time.AfterFunc(*r.most, kill) })
	}
}

// isGraceful reports whether a signal stops gracefully.
func (r stopRules) isGraceful(s os.Signal) bool {
	switch r.graceful {
	case "INT":
		return s == syscall.SIGINT
	case "TERM":
		return s == syscall.SIGTERM
	default:
		return true
	}
}
