package worker_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"otpost/internal/queue"
	"otpost/internal/worker"
)

// suspects puts n jobs into the queue that have killed two workers, and starts a worker for them.
func suspects(b *bench, n int, run func(ctx context.Context, c queue.Claimed) queue.Result) {
	b.t.Helper()
	for range n {
		b.enqueue(queue.Job{Lane: "suspect"})
	}
	for range queue.CrashesAlone {
		if got := claimAs(b.t, b.jobs, uuid.New()); len(got) == 0 {
			b.t.Fatal("nothing to crash with")
		}
		time.Sleep(queue.Lease)
		if _, err := b.jobs.Sweep(context.Background()); err != nil {
			b.t.Fatal(err)
		}
	}
	b.work(nil, run)
}

func TestSuspectsRunOneAtATimeAndNoneStarves(t *testing.T) {
	at(t, func(b *bench) {
		var now, ran atomic.Int64
		suspects(b, 5, func(ctx context.Context, c queue.Claimed) queue.Result {
			if c.Crashes < queue.CrashesAlone {
				return queue.Result{}
			}
			if n := now.Add(1); n != 1 {
				t.Errorf("%d suspects at a time", n)
			}
			defer now.Add(-1)
			worker.MayStart(ctx)
			time.Sleep(5 * time.Second)
			ran.Add(1)
			return queue.Result{}
		})
		time.Sleep(time.Minute / 2)
		if n := ran.Load(); n != 5 {
			t.Errorf("%d of 5 suspects ran within 30s", n)
		}
		b.end()
	})
}

// Until its first write a suspect may be what kills: no job is claimed that would be counted with it.
func TestSuspectHoldsClaimsBackUntilItsFirstWrite(t *testing.T) {
	for _, c := range []struct {
		name        string
		write, want time.Duration // after the suspect's begin
	}{
		{"it writes", 30 * time.Millisecond, 30 * time.Millisecond},
		{"it hangs", time.Hour, 100 * time.Millisecond},
		{"it ends", 0, 20 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			at(t, func(b *bench) {
				began, others := make(chan time.Time, 1), make(chan time.Time, 1)
				suspects(b, 1, func(ctx context.Context, job queue.Claimed) queue.Result {
					if job.Crashes < queue.CrashesAlone {
						others <- time.Now()
						return queue.Result{}
					}
					began <- time.Now()
					if c.write == 0 {
						time.Sleep(c.want)
						return queue.Result{}
					}
					select {
					case <-time.After(c.write):
						worker.MayStart(ctx)
						<-ctx.Done()
					case <-ctx.Done():
					}
					return queue.Result{Action: queue.Release}
				})
				begun := <-began
				b.put(1)
				if d := (<-others).Sub(begun); d < c.want || d > c.want+5*time.Millisecond {
					t.Errorf("the next job began %s after the suspect, want %s", d, c.want)
				}
				b.kill()
				b.ended()
			})
		})
	}
}

// The jobs of a hanging server are suspects after two kills of the worker: they hold no other job.
func TestSuspectsAtAHangingServerHoldNoOtherJob(t *testing.T) {
	at(t, func(b *bench) {
		b.handlers = 32
		var hanging atomic.Int64
		late := 0
		waited := make(chan time.Duration, 1000)
		suspects(b, 34, func(ctx context.Context, c queue.Claimed) queue.Result {
			if c.Lane != "suspect" {
				waited <- time.Since(c.RunAt)
				return queue.Result{}
			}
			hanging.Add(1)
			select {
			case <-time.After(10 * time.Second):
			case <-ctx.Done():
			}
			return queue.Result{Action: queue.Retry, RunAt: time.Now().Add(time.Second)}
		})
		const n = 400
		for range n {
			time.Sleep(100 * time.Millisecond)
			b.enqueue(queue.Job{Lane: "healthy", RunAt: time.Now()})
			d := <-waited
			if d > 100*time.Millisecond {
				t.Errorf("waited %s", d)
			}
			if d > 10*time.Millisecond {
				late++
			}
		}
		if late > n/20 || hanging.Load() < 3 { // a tenth of a second of each eleven
			t.Errorf("%d of %d healthy jobs had to wait, %d suspects ran", late, n, hanging.Load())
		}
		b.kill()
		b.ended()
	})
}
