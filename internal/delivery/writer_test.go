package delivery_test

import (
	"os"
	"sync"
	"testing"
	"time"

	"otpost/internal/store"
)

// held counts the transactions of a database and how long they had the writers' lock.
type held struct {
	mu    sync.Mutex
	turns int
	all   time.Duration
}

func (h *held) add(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.turns++
	h.all += d
}

// take returns what was counted since the last call.
func (h *held) take() (turns int, all time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	turns, all = h.turns, h.all
	h.turns, h.all = 0, 0
	return turns, all
}

// TestRelayLeavesTheWriterToLogins lets messages wait, with the embedded queue and with one outside the database:
// each round of the relay is one transaction, that of its lease, whatever it looks at. With OTPOST_SOAK 100,000
// messages wait, and the rounds, one a second, may have the writer for 50 ms in the mean.
func TestRelayLeavesTheWriterToLogins(t *testing.T) {
	t.Parallel()
	waiting := 6_000
	if os.Getenv("OTPOST_SOAK") != "" {
		waiting = 100_000
	}
	for _, where := range []string{"embedded", "outside"} {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			var h held
			db, err := store.Open(t.Context(), store.Options{Path: r.path, Now: r.clock.Now, Held: h.add})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := db.Close(); err != nil {
					t.Error(err)
				}
			})
			r.fillOpen(waiting, where == "embedded")
			if where == "embedded" {
				r.Driver = r.drivers()["inside"]
			}
			r.DB = db
			round := r.rounds("relay")
			round()
			h.take()
			const rounds = 40 // more than two passes
			var longest, all time.Duration
			for range rounds {
				r.clock.Advance(time.Second)
				round()
				turns, spent := h.take()
				longest, all = max(longest, spent), all+spent
				if turns != 1 {
					t.Errorf("a round took the writer %d times, want once for the lease", turns)
				}
			}
			t.Logf("%d messages wait: a round has the writer for %v in the mean, %v at most", waiting, all/rounds, longest)
			if os.Getenv("OTPOST_SOAK") != "" && all/rounds > 50*time.Millisecond {
				t.Errorf("a round has the writer for %v", all/rounds)
			}
		})
	}
}
