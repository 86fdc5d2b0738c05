package store

import (
	"context"
	"sync"
	"time"
)

const (
	// quickRead is how long a ReadInTurn may take that waits for no turn. A page of a list takes 2
	// to 7 ms (docs/performance.md).
	quickRead = 20 * time.Millisecond
	// quickShare and costlyShare bound the processor time of both kinds: one part in so many of one
	// processor. Logins need the rest.
	quickShare, costlyShare = 8, 8
	// leastRead is what a read counts for at least: the request around it takes about as long as a quick read.
	leastRead = 5 * time.Millisecond
	// readAhead is how much of that time may be used before it is earned, so that an occasional read never waits.
	readAhead = 2 * time.Second
)

// allowance is time that is earned at a constant rate and spent by reads.
type allowance struct {
	share time.Duration // one second is earned in so many seconds
	paid  time.Time     // when what is spent is earned; in the past: nothing is owed
}

// wait returns how long it takes until a read may begin; not positive: now.
func (a *allowance) wait(now time.Time) time.Duration {
	return a.paid.Add(-a.share * readAhead).Sub(now)
}

// spend takes the time of a read; a negative one is given back.
func (a *allowance) spend(now time.Time, took time.Duration) {
	if a.paid.Before(now) {
		a.paid = now
	}
	a.paid = a.paid.Add(a.share * took)
}

// turns bounds the time of all ReadInTurns of a process, however many callers there are. A read is tried for
// quickRead. One that takes longer begins again when its turn has come: one at a time, in the order of the
// calls, with a pause between them.
type turns struct {
	limit time.Duration // how long a call waits for its turn
	turn  chan struct{} // holds one value while a call has the turn or waits for the end of the pause

	mu            sync.Mutex
	quick, costly allowance
}

func newTurns(limit time.Duration) *turns {
	return &turns{
		limit: limit, turn: make(chan struct{}, 1),
		quick: allowance{share: quickShare}, costly: allowance{share: costlyShare},
	}
}

// do calls read once or twice. read returns how long it has read, without what it waited, and ends early when its
// context ends. The error is that of read, that of ctx, or ErrBusy when the turn has not come in time.
func (t *turns) do(ctx context.Context, read func(ctx context.Context) (time.Duration, error)) error {
	if t.mayTry() {
		limited, cancel := context.WithTimeout(ctx, quickRead)
		took, err := read(limited)
		slow := limited.Err() != nil && ctx.Err() == nil
		cancel()
		t.spend(&t.quick, max(took, leastRead)-quickRead)
		if err == nil || !slow {
			return err
		}
	}
	if err := t.take(ctx); err != nil {
		return err
	}
	defer func() { <-t.turn }()
	took, err := read(ctx)
	t.spend(&t.costly, max(took, leastRead))
	return err
}

// mayTry reports whether a read may begin without a turn. Its longest time is spent at once, so that
// reads at the same moment count.
func (t *turns) mayTry() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	if t.quick.wait(now) > 0 {
		return false
	}
	t.quick.spend(now, quickRead)
	return true
}

func (t *turns) spend(a *allowance, took time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	a.spend(time.Now(), took)
}

// pause returns how long the next costly read has to wait.
func (t *turns) pause() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.costly.wait(time.Now())
}

// take waits for the turn and for the end of the pause.
func (t *turns) take(ctx context.Context) error {
	limit := time.NewTimer(t.limit)
	defer limit.Stop()
	select {
	case t.turn <- struct{}{}:
	case <-limit.C:
		return errNoTurn
	case <-ctx.Done():
		return ctx.Err()
	}
	pause := time.NewTimer(t.pause())
	defer pause.Stop()
	err := errNoTurn
	select {
	case <-pause.C:
		return nil
	case <-limit.C:
	case <-ctx.Done():
		err = ctx.Err()
	}
	<-t.turn
	return err
}
