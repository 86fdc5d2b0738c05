package app

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"otpost/internal/queue"
)

// slowQueue takes a minute for each beat.
type slowQueue struct{ queue.Driver }

func (slowQueue) Heartbeat(ctx context.Context, _ uuid.UUID) error {
	select {
	case <-time.After(time.Minute):
	case <-ctx.Done():
	}
	return nil
}

// A beat that waits for a queue which does not answer, however long, is no reason to restart the process; a worker
// that does not beat any more is.
func TestOnlyAWorkerThatDoesNotBeatIsSilent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &heartbeat{begun: time.Now()}
		b := heartbeatDriver{Driver: slowQueue{}, heartbeat: p}
		for range 3 {
			ended := make(chan error)
			go func() { ended <- b.Heartbeat(t.Context(), uuid.New()) }()
			for range 59 {
				time.Sleep(time.Second)
				if s := p.silence(); s > heartbeatLost {
					t.Fatalf("silent for %s while it waits for the queue", s)
				}
			}
			if err := <-ended; err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(heartbeatLost + time.Second)
		if s := p.silence(); s <= heartbeatLost {
			t.Fatalf("silent for %s after %s without a beat", s, heartbeatLost+time.Second)
		}
	})
}
