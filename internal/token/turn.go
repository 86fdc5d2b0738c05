package token

import (
	"context"
	"sync"
	"time"

	"otpost/internal/fault"
)

// longestTurn is the default of Options.Turn.
const longestTurn = 2 * time.Second

// turns lets one guess after the other at a token: parallel right logins, each paid in advance,
// would otherwise meet the limit.
type turns struct {
	mu   *sync.Mutex
	keys map[string]*turn
}

// turn is who is at a key (a value in the channel) and how many want to be.
type turn struct {
	taken chan struct{}
	users int
}

func newTurns() turns { return turns{mu: &sync.Mutex{}, keys: make(map[string]*turn)} }

// Turn waits until no other guess of this process is at one of the tokens, and returns the function
// that lets the next one in, and whether there was another guess to wait for. After Options.Turn it
// returns fault.Busy: nothing was paid.
func (s *Service) Turn(ctx context.Context, serials ...string) (release func(), waited bool, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, s.Options.Turn, busy())
	defer cancel()
	var held []string
	release = func() {
		for _, key := range held {
			s.turns.leave(key, true)
		}
	}
	for _, key := range sortedUnique(serials) { // in one order, so that two never wait for each other
		behind, err := s.turns.enter(ctx, key)
		if err != nil {
			release()
			return nil, false, err
		}
		waited = waited || behind
		held = append(held, key)
	}
	return release, waited, nil
}

func busy() error {
	return fault.New(fault.Busy, "busy_token", "The server is busy with other requests for this token. Please try again.")
}

// enter waits for a key and reports whether another guess was there.
func (t turns) enter(ctx context.Context, key string) (behind bool, err error) {
	t.mu.Lock()
	one := t.keys[key]
	if one == nil {
		one = &turn{taken: make(chan struct{}, 1)}
		t.keys[key] = one
	}
	behind = one.users > 0
	one.users++
	t.mu.Unlock()
	select {
	case one.taken <- struct{}{}:
		return behind, nil
	case <-ctx.Done():
		t.leave(key, false)
		return behind, context.Cause(ctx)
	}
}

func (t turns) leave(key string, held bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	one := t.keys[key]
	if held {
		<-one.taken
	}
	if one.users--; one.users == 0 {
		delete(t.keys, key)
	}
}
