package httpapi

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"time"
)

// sharedFor is how old an answer may be that callers share.
const sharedFor = time.Second

// shared lets many callers have one look at what is dear to look at: whoever asks while a look is under way, or within a second of
// its begin, gets its answer, so that the cost is the same however many ask. An error is told to those who waited for it and not
// kept. It is safe for concurrent use; the answer belongs to all callers, who only read it.
type shared[T any] struct {
	now   func() time.Time
	mu    sync.Mutex
	looks map[string]*look[T] // by key; none that has failed
}

// look is one look, under way or done.
type look[T any] struct {
	begun   time.Time
	waiting int                // callers; when the last one leaves, the look is given up
	cancel  context.CancelFunc // of the look
	done    chan struct{}      // closed when what follows stands
	value   T
	err     error
	panics  any // what the look panicked with, and where; nil: it did not
}

func newShared[T any](now func() time.Time) *shared[T] {
	return &shared[T]{now: now, looks: make(map[string]*look[T])}
}

// get returns what ask returns, now or to somebody else who asked with the same key. The context of ask ends when all who wait for
// it have gone, not with the first of them.
func (s *shared[T]) get(ctx context.Context, key string, ask func(ctx context.Context) (T, error)) (T, error) {
	l := s.join(ctx, key, ask)
	select {
	case <-l.done:
		if l.panics != nil {
			panic(l.panics)
		}
		return l.value, l.err
	case <-ctx.Done():
		s.leave(key, l)
		var none T
		return none, ctx.Err()
	}
}

// join returns the look to wait for, begun here if there is none that fits, and drops those that are too old.
func (s *shared[T]) join(ctx context.Context, key string, ask func(ctx context.Context) (T, error)) *look[T] {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	for key, l := range s.looks {
		if age := now.Sub(l.begun); l.isDone() && (age < 0 || age >= sharedFor) {
			delete(s.looks, key)
		}
	}
	l := s.looks[key]
	if l == nil {
		l = &look[T]{begun: now, done: make(chan struct{})}
		s.looks[key] = l
		var looking context.Context
		looking, l.cancel = context.WithCancel(context.WithoutCancel(ctx))
		go s.run(looking, key, l, ask)
	}
	l.waiting++
	return l
}

// run looks. A panic is handed to those who wait, for here nobody would catch it.
func (s *shared[T]) run(ctx context.Context, key string, l *look[T], ask func(ctx context.Context) (T, error)) {
	defer l.cancel()
	defer func() {
		if p := recover(); p != nil {
			l.panics = fmt.Sprintf("%v\n%s", p, debug.Stack())
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if l.err != nil || l.panics != nil {
			s.drop(key, l)
		}
		close(l.done)
	}()
	l.value, l.err = ask(ctx)
}

// leave is called by who does not wait any longer. Nobody joins a look that is given up.
func (s *shared[T]) leave(key string, l *look[T]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l.waiting--; l.waiting == 0 && !l.isDone() {
		s.drop(key, l)
		l.cancel()
	}
}

// drop forgets a look, unless another has taken its place.
func (s *shared[T]) drop(key string, l *look[T]) {
	if s.looks[key] == l {
		delete(s.looks, key)
	}
}

func (l *look[T]) isDone() bool {
	select {
	case <-l.done:
		return true
	default:
		return false
	}
}
