package worker_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"otpost/internal/queue"
	"otpost/internal/worker"
)

var errAway = errors.New("the queue is away")

// The rule StartUntil: no new dot later than 7 s after the last heartbeat that was answered.
func TestNothingIsBegunOnAStaleLease(t *testing.T) {
	at(t, func(b *bench) {
		var away atomic.Bool
		var s spy
		s.heartbeat = func(ctx context.Context, w uuid.UUID) error {
			if away.Load() {
				return errAway
			}
			return s.Driver.Heartbeat(ctx, w)
		}
		ask, may := make(chan struct{}), make(chan bool)
		mayStart := func() bool {
			ask <- struct{}{}
			return <-may
		}
		b.work(s.around, func(ctx context.Context, _ queue.Claimed) queue.Result {
			for range 3 {
				<-ask
				may <- worker.MayStart(ctx)
			}
			return queue.Result{}
		})
		b.put(1)
		time.Sleep(20*time.Second + queue.HeartbeatEvery/2) // the last heartbeat was a second ago
		if !mayStart() {
			t.Error("stale though its heartbeats are answered")
		}
		away.Store(true)
		time.Sleep(queue.StartUntil - queue.HeartbeatEvery/2 - time.Millisecond)
		if !mayStart() {
			t.Error("stale too early")
		}
		time.Sleep(time.Millisecond)
		if mayStart() {
			t.Error("fresh 7s after the last answer")
		}
		b.end()
	})
}

func TestOutsideOfAHandlerThereIsNoLease(t *testing.T) {
	t.Parallel()
	if !worker.MayStart(t.Context()) {
		t.Error("may not start")
	}
}

// The worker is paused over its lease, swept by another, and resumed.
func TestWorkerWhoseLeaseLapsedGoesOnUnderANewID(t *testing.T) {
	at(t, func(b *bench) {
		var paused atomic.Bool
		var s spy
		reported := make(chan uuid.UUID, 4)
		s.heartbeat = func(ctx context.Context, w uuid.UUID) error {
			if paused.Load() {
				return errAway
			}
			return s.Driver.Heartbeat(ctx, w)
		}
		s.claim = func(ctx context.Context, r queue.ClaimRequest) ([]queue.Claimed, error) {
			if paused.Load() {
				return nil, errAway
			}
			return s.Driver.Claim(ctx, r)
		}
		s.report = func(w uuid.UUID) { reported <- w }
		claims := make(chan queue.Claimed, 4)
		resume := make(chan struct{})
		may := make(chan bool, 4)
		b.work(s.around, func(ctx context.Context, c queue.Claimed) queue.Result {
			claims <- c
			if c.Crashes == 0 {
				<-resume
				may <- worker.MayStart(ctx)
				if ctx.Err() != nil {
					t.Error("a handler was aborted")
				}
			}
			return queue.Result{}
		})
		b.put(1)
		first := <-claims
		paused.Store(true)
		time.Sleep(queue.Lease + queue.HeartbeatEvery)
		if n, err := b.jobs.Sweep(context.Background()); n > 1 || err != nil {
			t.Fatalf("sweep: %d, %v", n, err)
		}
		paused.Store(false)
		second := <-claims
		if second.Worker == first.Worker || second.SweptOwner != first.Worker {
			t.Errorf("after the pause: %+v", second)
		}
		close(resume)
		if <-may {
			t.Error("may start under the lapsed id")
		}
		if w := <-reported; w != first.Worker {
			t.Error("the late result was reported under another id")
		}
		b.end()
		if left := b.left(); len(left) != 0 {
			t.Errorf("left: %+v", left)
		}
		if !strings.Contains(b.log.String(), "lease lapsed") {
			t.Error("not a word in the log")
		}
	})
}

func TestRefusedBeatIsNoticedWithoutAClaim(t *testing.T) {
	at(t, func(b *bench) {
		b.work(nil, func(context.Context, queue.Claimed) queue.Result { return queue.Result{} })
		time.Sleep(time.Second / 2)
		seen, err := b.jobs.Workers(context.Background())
		if err != nil || len(seen) != 1 || seen[0].Version != "v1" || seen[0].Handlers != 4 {
			t.Fatal(seen, err)
		}
		if err := b.jobs.Unregister(context.Background(), seen[0].ID); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * queue.HeartbeatEvery)
		again, err := b.jobs.Workers(context.Background())
		if err != nil || len(again) != 1 || again[0].ID == seen[0].ID {
			t.Fatal(again, err)
		}
		b.end()
	})
}

// The answer of a claim is lost: the jobs are the worker's, and it does not know.
func TestJobsOfALostAnswerComeBackUncounted(t *testing.T) {
	at(t, func(b *bench) {
		var c counter
		var s spy
		var losses atomic.Int64
		s.claim = func(ctx context.Context, r queue.ClaimRequest) ([]queue.Claimed, error) {
			got, err := s.Driver.Claim(ctx, r)
			if len(got) > 0 && losses.Add(1) <= 3 {
				return nil, errAway
			}
			return got, err
		}
		b.work(s.around, c.run)
		b.put(12)
		time.Sleep(5 * time.Second)
		c.once(t, 12)
		if n := strings.Count(b.log.String(), "out of reach"); n == 0 || n > 3 {
			t.Errorf("told %d times", n)
		}
		b.end()
		if left := b.left(); len(left) != 0 {
			t.Errorf("left: %+v", left)
		}
	})
}

func TestQueueThatIsAwayIsToldOnceAndTriedAgain(t *testing.T) {
	at(t, func(b *bench) {
		var c counter
		var s spy
		var away atomic.Bool
		away.Store(true)
		s.claim = func(ctx context.Context, r queue.ClaimRequest) ([]queue.Claimed, error) {
			if away.Load() {
				return nil, errAway
			}
			return s.Driver.Claim(ctx, r)
		}
		b.work(s.around, c.run)
		b.put(3)
		time.Sleep(time.Minute / 2)
		if n := s.claims.Load(); n > 20 {
			t.Errorf("%d claims in half a minute", n)
		}
		away.Store(false)
		time.Sleep(6 * time.Second)
		c.once(t, 3)
		b.end()
		log := b.log.String()
		if strings.Count(log, "out of reach") != 1 || strings.Count(log, "answers again") != 1 {
			t.Errorf("log:\n%s", log)
		}
	})
}

// A queue that comes back with another owner is refused, not out of reach.
func TestRefusalIsToldOnceAfterTheQueueWasAway(t *testing.T) {
	at(t, func(b *bench) {
		var s spy
		var refuses atomic.Bool
		s.claim = func(context.Context, queue.ClaimRequest) ([]queue.Claimed, error) {
			if refuses.Load() {
				return nil, fmt.Errorf("claim: not yours: %w", queue.ErrRefused)
			}
			return nil, errAway
		}
		b.work(s.around, func(context.Context, queue.Claimed) queue.Result { return queue.Result{} })
		time.Sleep(time.Minute / 2)
		refuses.Store(true)
		time.Sleep(time.Minute)
		b.end()
		log := b.log.String()
		if strings.Count(log, "out of reach") != 1 || strings.Count(log, "not yours") != 1 {
			t.Errorf("log:\n%s", log)
		}
	})
}

// A queue that fails every other call would fill the log.
func TestQueueThatComesAndGoesIsToldOnceAMinute(t *testing.T) {
	at(t, func(b *bench) {
		var s spy
		var calls atomic.Int64
		s.claim = func(ctx context.Context, r queue.ClaimRequest) ([]queue.Claimed, error) {
			if calls.Add(1)%2 == 0 {
				return nil, fmt.Errorf("claim: a key of another type: %w", queue.ErrRefused)
			}
			return s.Driver.Claim(ctx, r)
		}
		b.work(s.around, func(context.Context, queue.Claimed) queue.Result { return queue.Result{} })
		for range 90 {
			b.put(1)
			time.Sleep(time.Second)
		}
		b.end()
		log := b.log.String()
		if n := calls.Load(); n < 50 || strings.Count(log, "trying again") != 2 ||
			strings.Count(log, "answers again") != 2 {
			t.Errorf("%d claims, log:\n%s", n, log)
		}
	})
}

func TestWhatIsHeldIsStatedEachTenSeconds(t *testing.T) {
	at(t, func(b *bench) {
		var s spy
		b.work(s.around, func(context.Context, queue.Claimed) queue.Result {
			time.Sleep(50 * time.Second)
			return queue.Result{}
		})
		b.put(2)
		time.Sleep(45 * time.Second)
		if n := s.holds.Load(); n != 4 {
			t.Errorf("stated %d times in 45s", n)
		}
		b.end()
		if left := b.left(); len(left) != 0 {
			t.Errorf("given back while they ran: %+v", left)
		}
	})
}
