package worker_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"otpost/internal/queue"
)

// slowClaims is a spy whose claims take a time, as those of a queue behind a network do.
func slowClaims(took time.Duration) *spy {
	s := &spy{}
	s.claim = func(ctx context.Context, r queue.ClaimRequest) ([]queue.Claimed, error) {
		time.Sleep(took)
		return s.Driver.Claim(ctx, r)
	}
	return s
}

func (b *bench) status() queue.Status {
	b.t.Helper()
	s, err := b.jobs.Status(context.Background())
	if err != nil {
		b.t.Fatal(err)
	}
	return s
}

// Three handlers do 30 jobs of 1 ms while a claim of 10 ms is under way.
func TestQuickHandlersDoNotWaitForClaims(t *testing.T) {
	at(t, func(b *bench) {
		s := slowClaims(10 * time.Millisecond)
		var ran atomic.Int64
		b.put(600)
		b.work(s.around, func(context.Context, queue.Claimed) queue.Result {
			ran.Add(1)
			time.Sleep(time.Millisecond)
			return queue.Result{}
		})
		time.Sleep(500 * time.Millisecond)
		if n := ran.Load(); n != 600 {
			t.Errorf("%d runs of 600 jobs in half a second", n)
		}
		if n := s.claims.Load(); n > 60 {
			t.Errorf("%d claims for 600 jobs", n)
		}
		b.end()
	})
}

// Jobs that were claimed ahead of handlers which then stall are for other workers.
func TestJobsClaimedAheadGoBackWhenHandlersStall(t *testing.T) {
	at(t, func(b *bench) {
		stall := make(chan struct{})
		b.put(400)
		b.work(slowClaims(10*time.Millisecond).around, func(ctx context.Context, c queue.Claimed) queue.Result {
			select {
			case <-stall:
				<-ctx.Done()
			case <-time.After(time.Millisecond):
			}
			return queue.Result{}
		})
		time.Sleep(60 * time.Millisecond)
		if n := b.status().Leased; n <= 4 {
			t.Errorf("%d jobs leased: none was claimed ahead", n)
		}
		close(stall)
		time.Sleep(100 * time.Millisecond)
		if n := b.status().Leased; n > 4 {
			t.Errorf("%d jobs leased by 4 handlers that stall", n)
		}
		b.kill()
	})
}

func TestGracefulStopGivesJobsClaimedAheadBackUncounted(t *testing.T) {
	at(t, func(b *bench) {
		b.put(400)
		b.work(slowClaims(10*time.Millisecond).around, func(context.Context, queue.Claimed) queue.Result {
			time.Sleep(time.Millisecond)
			return queue.Result{}
		})
		time.Sleep(60 * time.Millisecond)
		b.stop()
		if err := <-b.err; err != nil {
			t.Error(err)
		}
		jobs, err := b.jobs.List(context.Background(), queue.Filter{})
		if err != nil || len(jobs) == 0 {
			t.Fatalf("%d jobs left, %v", len(jobs), err)
		}
		for _, j := range jobs {
			if j.State != queue.Ready || j.Crashes != 0 {
				t.Fatalf("after the stop: %+v", j)
			}
		}
	})
}
