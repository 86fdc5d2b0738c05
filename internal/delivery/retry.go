package delivery

import (
	"math/rand/v2"
	"time"
)

const (
	firstDelay   = 500 * time.Millisecond // the delay after the first try, doubled after each
	leastDelay   = 250 * time.Millisecond // no two tries are closer
	longest      = 10 * time.Minute       // no delay is longer
	lastMargin   = 15 * time.Second       // the last retry begins so long before the end: time to connect and to be read
	replyMargin  = 30 * time.Second       // a reply to a dot is awaited until so long after the end
	ownMargin    = 5 * time.Second        // and the row is its owner's for so much longer
	outcomeAgain = 200 * time.Millisecond // after an outcome could not be written
	replyWait    = time.Minute            // a worker waits at least so long for the reply to a dot
)

// nextTry plans the try after the attempts made so far: exponential with full jitter, so that a thousand
// deferred messages do not come back together, and cut to the life that is left. ok is false when no try
// fits.
func nextTry(now, notAfter time.Time, attempts int, jitter func(int64) int64) (at time.Time, ok bool) {
	most := min(longestDelay(attempts), notAfter.Add(-lastMargin).Sub(now))
	if most < leastDelay {
		return time.Time{}, false
	}
	delay := leastDelay + time.Duration(jitter(int64(most-leastDelay)+1))
	return now.Add(delay).Truncate(time.Millisecond), true
}

// longestDelay returns how far ahead the next try is planned at most.
func longestDelay(attempts int) time.Duration {
	if shift := attempts - 1; shift < 11 {
		return min(longest, firstDelay<<max(shift, 0))
	}
	return longest
}

// randomBelow returns a number in [0, n).
func randomBelow(n int64) int64 { return rand.Int64N(n) }
