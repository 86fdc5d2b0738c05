package test

import (
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"otpost/test/e2e"
)

// TestPausedWorkerSendsNothingThatAnotherHasTaken stops a worker (SIGSTOP) in the middle of a
// message for longer than its lease, lets another one take the message over, and lets the first go
// on.
func TestPausedWorkerSendsNothingThatAnotherHasTaken(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		stage e2e.Stage
		most  int
	}{{"before the dot", e2e.AtRcpt, 1}, {"after the dot", e2e.AtDot, 2}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "--workers", "0")
			paused := w.Worker(t)
			l := w.enrol(t, "PAUSED")
			reached, open := make(chan struct{}), make(chan struct{})
			t.Cleanup(func() { // also when the test fails before
				select {
				case <-open:
				default:
					close(open)
				}
			})
			var first atomic.Bool
			w.sink.Use(func(stage e2e.Stage, m e2e.Mail) error {
				if stage == c.stage && m.To == l.address && first.CompareAndSwap(false, true) {
					close(reached)
					<-open
				}
				return nil
			})
			l.begin(t, w.server.Client)
			<-reached
			paused.Signal(t, syscall.SIGSTOP)
			t.Cleanup(func() { paused.Signal(t, syscall.SIGCONT) })
			began := time.Now()
			other := w.Site.Worker(t)
			w.delivered(t, l)
			t.Logf("taken over after %s", time.Since(began).Round(100*time.Millisecond))
			close(open)
			paused.Signal(t, syscall.SIGCONT)
			w.settled(t)
			paused.Stop(t)
			other.Stop(t)
			l.finish(t, w.server.Client, w.sameMail(t, l, c.most))
		})
	}
}
