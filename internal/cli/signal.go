package cli

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// stops are the two contexts that signals end: graceful at the first SIGTERM or SIGINT, hard at the
// second.
type stops struct {
	graceful context.Context //nolint:containedctx // signals a stop; not a call's context
	hard     context.Context //nolint:containedctx // likewise
}

// stopRules are the meaning of the signals.
type stopRules struct {
	graceful string         // INT or TERM: this one stops gracefully, the other one at once; else both stop gracefully
	most     *time.Duration // the longest graceful stop, before a hard one; nil: no limit
}

// listen ends the contexts at signals and calls reload at each SIGHUP. The returned function stops
// listening.
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

// bound calls kill when a graceful stop has reached its limit.
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
