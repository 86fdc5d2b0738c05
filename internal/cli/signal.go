package cli

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// stops are the two ends that signals bring: graceful at the first SIGTERM or SIGINT, at once at the second.
type stops struct {
	graceful context.Context //nolint:containedctx // an end, not a call's context
	hard     context.Context //nolint:containedctx // likewise
}

// listen makes signals into ends and calls reopen at each SIGHUP. The function that it returns ends it.
func listen(ctx context.Context, reopen func()) (stops, func()) {
	graceful, stop := context.WithCancel(ctx)
	hard, kill := context.WithCancel(ctx)
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for s := range signals {
			switch {
			case s == syscall.SIGHUP:
				reopen()
			case graceful.Err() != nil:
				kill()
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
