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

// Chosen numbers: the default wait for a slot, and how many trusted peers are kept, for how long.
const (
	maxWait   = 2 * time.Second // then the client should try again
	goodPeers = 10_000
	goodFor   = time.Hour
)

// Slots bounds how many hashes are computed at once, because each needs a core and megabytes.
// Waiting callers are served round robin by peer, so that a peer with many requests delays only its
// own. A quarter of the slots (of one slot: none) is reserved for trusted peers, which were right
// within the last hour, so that unknown peers cannot take all. Its memory for waiters is bounded by
// the running calls of Acquire. It is safe for concurrent use.
type Slots struct {
	reserve int
	wait    time.Duration // of a caller
	good    *recent[string, struct{}]

	mu          sync.Mutex
	free        int
	queues      map[string]*peerQueue // by peer, with waiters
	unknown     []*peerQueue          // peers without trust, in the order of service
	trusted     []*peerQueue
	trustedNext bool // which list is served next while both have waiters
}

// peerQueue is a peer's queue of waiters. Each peerQueue with waiters is once in unknown or
// trusted.
type peerQueue struct {
	peer    string
	trusted bool // in which list it is
	waiters []*waiter
}

type waiter struct {
	served chan struct{} // closed when the waiter has its slot
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
		queues:  make(map[string]*peerQueue),
		good:    newRecent[string, struct{}](goodFor, goodPeers, now),
	}
}

// Acquire waits for a slot, at most 2 s. It fails with ErrBusy or the error of ctx. peer is a
// client's address, of which the Network counts. The caller must call release, which releases the
// slot; its argument says whether the peer was right. Calls after the first do nothing.
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

// enter takes a free slot and returns nil, or adds a waiter to the peer's queue.
func (s *Slots) enter(peer string) *waiter {
	good := s.good.has(peer)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.queues[peer] == nil && (good && s.free > 0 || s.free > s.reserve) {
		s.free-- // no waiter is entitled to it, because it is free
		return nil
	}
	w := &waiter{served: make(chan struct{})}
	l := s.queues[peer]
	if l == nil {
		l = &peerQueue{peer: peer}
		s.queues[peer] = l
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
	case <-w.served: // the slot came at the same moment
		return nil
	default:
		s.giveUp(peer, w)
		return err
	}
}

// giveUp removes a waiter from its peer's queue, and the queue with its last waiter.
func (s *Slots) giveUp(peer string, w *waiter) {
	l := s.queues[peer]
	l.waiters = slices.DeleteFunc(l.waiters, func(other *waiter) bool { return other == w })
	if len(l.waiters) > 0 {
		return
	}
	delete(s.queues, peer)
	row := &s.unknown
	if l.trusted {
		row = &s.trusted
	}
	*row = slices.DeleteFunc(*row, func(other *peerQueue) bool { return other == l })
}

func (s *Slots) leave(peer string, right bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free++
	if right {
		s.good.put(peer, struct{}{})
		if l := s.queues[peer]; l != nil && !l.trusted {
			s.unknown = slices.DeleteFunc(s.unknown, func(other *peerQueue) bool { return other == l })
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

// next removes the next queue from its list and returns it; nil when no waiter may have a slot.
func (s *Slots) next() *peerQueue {
	row := &s.trusted
	if s.free > s.reserve && len(s.unknown) > 0 && (len(s.trusted) == 0 || !s.trustedNext) {
		row = &s.unknown
	}
	if len(*row) == 0 {
		return nil
	}
	l := (*row)[0]
	*row = (*row)[1:]
	return l
}

// serve gives a slot to the first waiter of the queue and appends the queue to its list again.
func (s *Slots) serve(l *peerQueue) {
	w := l.waiters[0]
	l.waiters = l.waiters[1:]
	s.free--
	s.trustedNext = !s.trustedNext
	close(w.served)
	if len(l.waiters) == 0 {
		delete(s.queues, l.peer)
		return
	}
	s.queue(l, s.good.has(l.peer))
}

func (s *Slots) queue(l *peerQueue, good bool) {
	l.trusted = good
	if good {
		s.trusted = append(s.trusted, l)
	} else {
		s.unknown = append(s.unknown, l)
	}
}

// Network returns the network by which clients are counted: an IPv4 address itself, the /64 of an
// IPv6 address, because one subscriber has all of its addresses (RFC 6177). A text that is not an
// address is returned unchanged.
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
