package worker_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"otpost/internal/queue"
)

// servers is a kind whose lane says what happens: a job of a lane that begins with "dead" hangs for 10 s and is
// then to come back until its end; each other one ends after 5 ms and tells how long it waited.
type servers struct {
	hanging, most atomic.Int64 // jobs that hang now, and the most at once
	waited        chan time.Duration
}

func newServers() *servers { return &servers{waited: make(chan time.Duration, 10_000)} }

func (s *servers) run(ctx context.Context, c queue.Claimed) queue.Result {
	if len(c.Lane) < 4 || c.Lane[:4] != "dead" {
		s.waited <- time.Since(c.RunAt)
		time.Sleep(5 * time.Millisecond)
		return queue.Result{}
	}
	if n := s.hanging.Add(1); n > s.most.Load() {
		s.most.Store(n)
	}
	defer s.hanging.Add(-1)
	if !c.NotAfter.IsZero() && !c.NotAfter.After(time.Now()) {
		return queue.Result{}
	}
	select {
	case <-time.After(10 * time.Second):
	case <-ctx.Done():
		return queue.Result{Action: queue.Release}
	}
	return queue.Result{Action: queue.Retry, RunAt: time.Now().Add(time.Second)}
}

func (b *bench) inLane(lane string) {
	b.t.Helper()
	b.enqueue(queue.Job{Lane: lane, RunAt: time.Now(), NotAfter: time.Now().Add(2 * time.Minute)})
}

// over ends the worker with what hangs in it.
func (b *bench) over() {
	b.t.Helper()
	b.kill()
	b.ended()
}

func TestDeadServersLeaveHandlersForAHealthyOne(t *testing.T) {
	for _, c := range []struct{ dead, mails, most int }{{1, 100, 24}, {2, 200, 28}, {3, 300, 28}, {10, 1000, 28},
		{25, 2500, 28}} {
		t.Run(fmt.Sprintf("%d servers", c.dead), func(t *testing.T) {
			at(t, func(b *bench) {
				b.handlers = 32
				s := newServers()
				b.work(nil, s.run)
				for i := range c.mails {
					b.inLane(fmt.Sprintf("dead %d", i%c.dead))
				}
				time.Sleep(time.Second)
				for range 200 {
					b.inLane("healthy")
					if d := <-s.waited; d > 5*time.Millisecond {
						t.Errorf("healthy job waited %s", d)
					}
					time.Sleep(300 * time.Millisecond)
				}
				if n := int(s.most.Load()); n > c.most || n < c.most-4 {
					t.Errorf("%d handlers hung, want %d", n, c.most)
				}
				b.over()
			})
		})
	}
}

// One login a second at a dead server for five minutes: its retries are older than every first try of a healthy server.
func TestRetriesAtADeadServerStarveNoFirstTry(t *testing.T) {
	at(t, func(b *bench) {
		b.handlers = 32
		s := newServers()
		var spy spy
		b.work(spy.around, s.run)
		for range 300 {
			b.inLane("dead")
			b.inLane("healthy")
			if d := <-s.waited; d > 5*time.Millisecond {
				t.Errorf("healthy job waited %s", d)
			}
			time.Sleep(time.Second)
		}
		if n := spy.claims.Load(); n > 300*12 {
			t.Errorf("%d claims in 300 s", n)
		}
		b.over()
	})
}

func TestLoneServerHasThreeQuartersOfTheHandlers(t *testing.T) {
	at(t, func(b *bench) {
		b.handlers = 32
		var c counter
		var s spy
		b.work(s.around, c.run)
		b.put(2400)
		time.Sleep(1100 * time.Millisecond) // 2400 / 24 * 10 ms
		c.once(t, 2400)
		if n := s.claims.Load(); c.most != 24 || n > 2400/24+20 {
			t.Errorf("%d at a time, %d claims", c.most, n)
		}
		b.end()
	})
}

// unaware is a driver that cannot tell lanes apart.
type unaware struct {
	queue.Driver
	claims atomic.Int64
}

func (u *unaware) Claim(ctx context.Context, r queue.ClaimRequest) ([]queue.Claimed, error) {
	u.claims.Add(1)
	r.Full = nil
	return u.Driver.Claim(ctx, r)
}

func (u *unaware) Wait(ctx context.Context, kinds, _ []string, most time.Duration) error {
	return u.Driver.Wait(ctx, kinds, nil, most)
}

func TestJobsOverTheShareGoBackUncountedAndDoNotSpin(t *testing.T) {
	at(t, func(b *bench) {
		s := newServers()
		var u *unaware
		b.work(func(d queue.Driver) queue.Driver { u = &unaware{Driver: d}; return u }, s.run)
		for range 10 {
			b.inLane("dead")
		}
		time.Sleep(9 * time.Second)
		if n := u.claims.Load(); n > 9*12 || s.hanging.Load() != 3 {
			t.Errorf("%d claims in 9 s, %d hang", n, s.hanging.Load())
		}
		b.over()
		for _, c := range b.left() {
			if c.Crashes != 0 {
				t.Errorf("counted: %+v", c)
			}
		}
	})
}

// waits counts the calls of Wait that are under way.
type waits struct {
	queue.Driver
	now atomic.Int64
}

func (w *waits) Wait(ctx context.Context, kinds, full []string, most time.Duration) error {
	w.now.Add(1)
	defer w.now.Add(-1)
	return w.Driver.Wait(ctx, kinds, full, most)
}

// Who waits takes the mark that would wake another process.
func TestWorkerWithoutAFreeHandlerDoesNotWait(t *testing.T) {
	at(t, func(b *bench) {
		s := newServers()
		var w *waits
		b.work(func(d queue.Driver) queue.Driver { w = &waits{Driver: d}; return w }, s.run)
		time.Sleep(100 * time.Millisecond)
		if n := w.now.Load(); n != 1 {
			t.Fatalf("%d calls of Wait of an idle worker", n)
		}
		for i := range 4 {
			b.inLane(fmt.Sprintf("dead %d", i))
		}
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		if n := w.now.Load(); n != 0 || s.hanging.Load() != 4 {
			t.Errorf("%d calls of Wait while %d of 4 handlers are at work", n, s.hanging.Load())
		}
		b.over()
	})
}
