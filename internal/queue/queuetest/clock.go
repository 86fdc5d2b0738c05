package queuetest

import (
	"sync"
	"time"
)

// Clock is the time that a driver under test goes by. It stands still until Go. It is safe for
// concurrent use.
type Clock struct {
	mu      sync.Mutex
	at      time.Time // while it stands
	running time.Time // when it began to run; zero: it stands
}

// NewClock returns a clock that stands at a fixed time.
func NewClock() *Clock { return &Clock{at: time.UnixMilli(1_800_000_000_000).UTC()} }

// Now returns the clock's time, in UTC.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running.IsZero() {
		return c.at
	}
	return c.at.Add(time.Since(c.running))
}

// Advance moves the clock.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// steps cuts a time into parts between which a sweep tells a driver that time passes. A driver
// takes a longer step for a clock that was set.
func steps(d time.Duration) []time.Duration {
	const most = 2 * time.Second
	var all []time.Duration
	for ; d > most; d -= most {
		all = append(all, most)
	}
	return append(all, d)
}

// Go lets the clock run with the machine's from now on.
func (c *Clock) Go() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running = time.Now()
}
