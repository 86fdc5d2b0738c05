package pinhash

import (
	"context"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"time"
)

// Numbers that we chose: how long a caller waits for a slot by default, and how many peers are
// remembered as right, for how long.
const (
	maxWait   = 2 * time.Second // then a client had better come again
	goodPeers = 10_000
	goodFor   = time.Hour
)

// Slots bounds how many hashes are computed at once, because each takes a core and megabytes. Who waits is served in turn, one
// caller of each peer, so that a peer with many requests delays its own ones alone. A quarter of the slots (of one slot: none)
// is kept for peers that were right within the last hour, so that strangers cannot take all. What it keeps of
// waiters is as much as there are calls of Acquire under way. It is safe for concurrent use.
type Slots struct {
	reserve int
	wait    time.Duration // of a caller
	good    *recent[string, struct{}]

	mu        sync.Mutex
	free      int
	lines     map[string]*line // peers with waiters
	strangers []*line          // lines whose turn comes, in this order
	friends   []*line
	friendly  bool // whose turn it is while both wait
}

// line is a peer's queue of waiters. Every line with waiters stands once in strangers or friends.
type line struct {
	peer    string
	friend  bool // in which row it stands
	waiters []*waiter
}

type waiter struct {
	served chan struct{} // closed when the slot is the waiter's
}

// NewSlots returns n slots, or as many as there are processors to use when n is 0. The clock may be nil: time.Now.
func NewSlots(n int, now func() time.Time) *Slots {
	if n <= 0 {
		n = runtime.GOMAXPROCS(0)
	}
	if now == nil {
		now = time.Now
	}
	reserve := 0
	if n > 1 {
		reserve = max(1, n/4)
	}
	return &Slots{
		reserve: reserve,
		wait:    maxWait,
		free:    n,
		lines:   make(map[string]*line),
		good:    newRecent[string, struct{}](goodFor, goodPeers, now),
	}
}

// Acquire waits for a slot, at most 2 s: then ErrBusy, or the error of ctx when that ends before. peer says on
// whose behalf: a client's address, of which its Network counts. release gives the slot back and must be called;
// its argument says whether the peer turned out to be right. Calls after the first do nothing.
func (s *Slots) Acquire(ctx context.Context, peer string) (release func(right bool), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	peer = Network(peer)
	w := s.enter(peer)
	if w != nil {
		if err := s.await(ctx, peer, w); err != nil {
			return nil, err
		}
	}
	var once sync.Once
	return func(right bool) {
		once.Do(func() { s.leave(peer, right) })
	}, nil
}

// enter takes a slot at once and returns nil, or puts a waiter into the peer's line.
func (s *Slots) enter(peer string) *waiter {
	good := s.good.has(peer)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lines[peer] == nil && (good && s.free > 0 || s.free > s.reserve) {
		s.free-- // nobody who waits may have it, else it would not be free
		return nil
	}
	w := &waiter{served: make(chan struct{})}
	l := s.lines[peer]
	if l == nil {
		l = &line{peer: peer}
		s.lines[peer] = l
		s.queue(l, good)
	}
	l.waiters = append(l.waiters, w)
	return w
}

func (s *Slots) await(ctx context.Context, peer string, w *waiter) error {
	limit := time.NewTimer(s.wait)
	defer limit.Stop()
	var err error
	select {
	case <-w.served:
		return nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-limit.C:
		err = fmt.Errorf("%w: waited %v", ErrBusy, s.wait)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-w.served: // it came in the same moment
		return nil
	default:
		s.giveUp(peer, w)
		return err
	}
}

// giveUp takes a waiter out of its peer's line, and the line with the last of them.
func (s *Slots) giveUp(peer string, w *waiter) {
	l := s.lines[peer]
	l.waiters = slices.DeleteFunc(l.waiters, func(other *waiter) bool { return other == w })
	if len(l.waiters) > 0 {
		return
	}
	delete(s.lines, peer)
	row := &s.strangers
	if l.friend {
		row = &s.friends
	}
	*row = slices.DeleteFunc(*row, func(other *line) bool { return other == l })
}

func (s *Slots) leave(peer string, right bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free++
	if right {
		s.good.put(peer, struct{}{})
		if l := s.lines[peer]; l != nil && !l.friend {
			s.strangers = slices.DeleteFunc(s.strangers, func(other *line) bool { return other == l })
			s.queue(l, true)
		}
	}
	for s.free > 0 {
		l := s.next()
		if l == nil {
			return
		}
		s.serve(l)
	}
}

// next takes the line whose turn it is out of its row, nil when nobody may have a slot.
func (s *Slots) next() *line {
	row := &s.friends
	if s.free > s.reserve && len(s.strangers) > 0 && (len(s.friends) == 0 || !s.friendly) {
		row = &s.strangers
	}
	if len(*row) == 0 {
		return nil
	}
	l := (*row)[0]
	*row = (*row)[1:]
	return l
}

// serve gives a slot to the first of the line and puts the line back behind the others.
func (s *Slots) serve(l *line) {
	w := l.waiters[0]
	l.waiters = l.waiters[1:]
	s.free--
	s.friendly = !s.friendly
	close(w.served)
	if len(l.waiters) == 0 {
		delete(s.lines, l.peer)
		return
	}
	s.queue(l, s.good.has(l.peer))
}

func (s *Slots) queue(l *line, good bool) {
	l.friend = good
	if good {
		s.friends = append(s.friends, l)
	} else {
		s.strangers = append(s.strangers, l)
	}
}

// Network returns what stands for the network of a client's address where clients are counted: an IPv4
// address itself, the /64 of an IPv6 address, because one subscriber has all of its addresses (RFC 6177).
// What is no address stands for itself.
func Network(client string) string {
	at, err := netip.ParseAddr(client)
	if err != nil {
		return client
	}
	at = at.Unmap().WithZone("")
	if at.Is4() {
		return at.String()
	}
	network, _ := at.Prefix(64) // 64 is in the range of every IPv6 address
	return network.String()
}
