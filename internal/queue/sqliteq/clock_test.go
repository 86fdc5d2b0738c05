package sqliteq_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"

	"otpost/internal/queue"
	"otpost/internal/queue/queuetest"
	"otpost/internal/queue/sqliteq"
	"otpost/internal/store"
)

// host is two processes with a worker each, on one database and by one clock.
type host struct {
	t       *testing.T
	clock   *queuetest.Clock
	db      *store.DB
	drivers [2]*sqliteq.Driver
	workers [2]uuid.UUID
	at      time.Duration // since the begin
	swept   int
	lost    int
}

func newHost(t *testing.T) *host {
	t.Helper()
	h := &host{t: t, clock: queuetest.NewClock()}
	dir := t.TempDir()
	for i := range h.drivers {
		h.db, h.drivers[i] = opened(t, dir, h.clock.Now)
		h.workers[i] = register(t, h.drivers[i])
	}
	return h
}

// live lets the processes live for a time: each sweeps twice a second and beats each 2 s; those that are named do
// not beat.
func (h *host) live(d time.Duration, silent ...int) {
	h.t.Helper()
	for end := h.at + d; h.at < end; h.at += queue.SweepEvery {
		h.clock.Advance(queue.SweepEvery)
		for i, driver := range h.drivers {
			n, err := driver.Sweep(h.t.Context())
			if err != nil {
				h.t.Fatal(err)
			}
			h.swept += n
			if h.at%queue.HeartbeatEvery != 0 || len(silent) > 0 && silent[0] == i {
				continue
			}
			if err := driver.Heartbeat(h.t.Context(), h.workers[i]); errors.Is(err, queue.ErrLost) {
				h.lost++
			} else if err != nil {
				h.t.Fatal(err)
			}
		}
	}
}

// After a step of the clock no job gets another worker, whichever acts first: the replies to their dots
// may still be awaited.
func TestStepOfTheClockTakesNothingFromTheLiving(t *testing.T) {
	t.Parallel()
	for _, step := range []time.Duration{
		5 * time.Second, 15 * time.Second, time.Hour, -2500 * time.Millisecond, -15 * time.Second, -time.Hour,
	} {
		for name, first := range map[string]func(h *host) error{
			"sweep": func(h *host) error { n, err := h.drivers[1].Sweep(t.Context()); h.swept += n; return err },
			"beat":  func(h *host) error { return h.drivers[0].Heartbeat(t.Context(), h.workers[0]) },
			"claim": func(h *host) error { return h.drivers[0].Report(t.Context(), h.workers[0]) },
			"hold":  nil,
		} {
			t.Run(fmt.Sprintf("%s, then a %s", step, name), func(t *testing.T) {
				t.Parallel()
				h := newHost(t)
				enqueue(t, h.drivers[0], 2)
				mine, theirs := one2(t, h, 0), one2(t, h, 1)
				h.live(3700 * time.Millisecond)
				h.clock.Advance(step)
				if first == nil {
					first = func(h *host) error { return h.drivers[0].Reconcile(t.Context(), h.workers[0], []uuid.UUID{mine.ID}) }
				}
				if err := first(h); err != nil {
					t.Fatal(err)
				}
				if !held(t, h.db, h.drivers[0], mine) || !held(t, h.db, h.drivers[1], theirs) {
					t.Error("not held right after the step")
				}
				h.live(13 * time.Second)
				if h.swept != 0 || h.lost != 0 || !held(t, h.db, h.drivers[0], mine) || !held(t, h.db, h.drivers[1], theirs) {
					t.Errorf("%d jobs swept, %d beats refused", h.swept, h.lost)
				}
			})
		}
	}
}

// one2 claims one job as a worker.
func one2(t *testing.T, h *host, i int) queue.Claimed {
	t.Helper()
	got := claim(t, h.drivers[i], h.workers[i], 1)
	if len(got) != 1 {
		t.Fatalf("claimed %d", len(got))
	}
	return got[0]
}

// A worker that hangs loses its jobs also when the clock was set meanwhile: one lease later than without.
func TestHungWorkerIsSweptAfterAStepOfTheClock(t *testing.T) {
	t.Parallel()
	for _, step := range []time.Duration{0, 15 * time.Second, time.Hour, -15 * time.Second, -time.Hour} {
		t.Run(step.String(), func(t *testing.T) {
			t.Parallel()
			h := newHost(t)
			enqueue(t, h.drivers[0], 1)
			one2(t, h, 1)
			h.live(5 * time.Second)
			h.clock.Advance(step)
			h.live(2*queue.Lease+time.Second, 1)
			// The hung worker's own process does not take it for dead before it knows that its lease has lapsed.
			if h.swept != 1 || h.lost != 0 {
				t.Errorf("%d jobs swept, %d beats refused", h.swept, h.lost)
			}
		})
	}
}

// Rows of workers that are gone, from before the clock was set back, look like workers for as long as the step.
func TestGhostsOfAClockThatWasSetBackAreNotSeen(t *testing.T) {
	t.Parallel()
	clock := queuetest.NewClock()
	dir := t.TempDir()
	db, d, end := open(t, dir, clock.Now)
	enqueue(t, d, 1)
	ghost := register(t, d)
	one(t, d, ghost)
	if err := db.Write(t.Context(), func(tx *store.Tx) error { // of another boot: its lock says nothing
		tx.Put(`UPDATE queue_worker SET boot = 'another'`)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	end()
	clock.Advance(-time.Hour)
	_, d = opened(t, dir, clock.Now)
	if seen, err := d.Workers(t.Context()); err != nil || len(seen) != 0 {
		t.Fatalf("workers %+v, %v", seen, err)
	}
	w := register(t, d)
	for range 25 {
		if _, err := d.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		clock.Advance(queue.SweepEvery)
		if err := d.Heartbeat(t.Context(), w); err != nil {
			t.Fatal(err)
		}
	}
	if c := one(t, d, w); c.SweptOwner != ghost {
		t.Fatalf("claimed %+v", c)
	}
	if seen, err := d.Workers(t.Context()); err != nil || len(seen) != 1 || seen[0].ID != w {
		t.Fatalf("workers %+v, %v", seen, err)
	}
}

// A start long after all processes ended finds a dead worker by its lock.
func TestRestartLongAfterADeathFindsItsJobsAtOnce(t *testing.T) {
	t.Parallel()
	clock := queuetest.NewClock()
	dir := t.TempDir()
	_, d, end := open(t, dir, clock.Now)
	enqueue(t, d, 3)
	w := register(t, d)
	claim(t, d, w, 3)
	if _, err := d.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	end() // as a death: the lock is free, and its file stays
	clock.Advance(12 * time.Second)
	_, d = opened(t, dir, clock.Now)
	next := register(t, d)
	if n, err := d.Sweep(t.Context()); err != nil || n != 3 {
		t.Fatalf("swept %d, %v", n, err)
	}
	if got := claim(t, d, next, 5); len(got) != 3 {
		t.Fatalf("claimed %d", len(got))
	}
}
