package storetest

import (
	"sync"
	"time"
)

// Clock is the time that a database under test goes by. It stands still until it is moved, and is safe for
// concurrent use.
type Clock struct {
	mu sync.Mutex
	at time.Time
}

// NewClock returns a clock that stands at noon of 2026-11-24, UTC.
func NewClock() *Clock { return &Clock{at: time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)} }

// Now returns the clock's time, in UTC.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

// Advance moves the clock.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}
