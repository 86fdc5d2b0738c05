package test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"otpost/test/e2e"
)

// The clock of Redis' host differs from this one's. The mail server refuses the first four tries of
// each mail: the retries must come in time, and no job may be claimed repeatedly before its time.
// With OTPOST_SOAK the mails' times are compared.
func TestRetriesComeInTimeWhateverRedisClockSays(t *testing.T) {
	t.Parallel()
	skews := []int{-30, 300}
	if soak() > 0 {
		skews = []int{0, -300, -30, -5, 2, 30, 300}
	}
	took := map[int]time.Duration{}
	for _, skew := range skews { // one after the other: their times are compared
		took[skew] = retriesBeside(t, time.Duration(skew)*time.Second)
		if at0, both := took[0], took[skew]; at0 > 0 && both > at0*3/2 {
			t.Errorf("Redis' clock %+d s: all mails after %s, and %s at 0 s", skew, both, at0)
		}
	}
}

// retriesBeside sends three mails with four refusals each beside a Redis whose clock is ahead,
// and returns how long that took.
func retriesBeside(t *testing.T, ahead time.Duration) time.Duration {
	t.Helper()
	redis := e2e.NewRedisAhead(t, ahead)
	w := startWorld(t, e2e.NewRedisSite(t, programs, redis.URL()))
	var mu sync.Mutex
	tries := map[string]int{}
	w.sink.Use(func(s e2e.Stage, m e2e.Mail) error {
		if s != e2e.AtRcpt {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		if tries[m.To]++; tries[m.To] <= 4 {
			return e2e.Refuse(451, "later")
		}
		return nil
	})
	worker := w.Worker(t, "-v")
	var all []*login
	for i := range 3 {
		l := w.enrol(t, fmt.Sprintf("CLOCK%d", i))
		all = append(all, l)
		l.begin(t, w.server.Client)
	}
	begun := time.Now()
	for _, l := range all {
		w.oneCopy(t, l)
		w.delivered(t, l)
	}
	took := time.Since(begun)
	mu.Lock()
	defer mu.Unlock()
	for _, l := range all {
		if n := tries[l.address]; n != 5 {
			t.Errorf("Redis' clock %s ahead: %s was tried %d times, want 5", ahead, l.serial, n)
		}
	}
	handlings := strings.Count(w.Read(worker.Log), "job begun")
	if handlings < 15 || handlings > 20 {
		t.Errorf("Redis' clock %s ahead: %d handlings of 3 mails with 5 tries, want 15, and 20 at most", ahead,
			handlings)
	}
	if status := w.Read(worker.Log); !strings.Contains(status,
		"clocks of redis and of this host differ") == (ahead.Abs() > time.Second) {
		t.Errorf("Redis' clock %s ahead: the worker's warning is missing, or given without need", ahead)
	}
	t.Logf("Redis' clock %s ahead: all mails after %s, %d handlings", ahead, took.Round(100*time.Millisecond),
		handlings)
	w.server.Kill()
	worker.Kill()
	redis.Kill(t)
	return took
}
