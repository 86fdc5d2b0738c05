package httpapi

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

const (
	// sharedFor is how old an answer may be that callers share.
	sharedFor = time.Second
	// longestShared is how long a call may take. It goes on when its callers have gone, for others may have joined it.
	longestShared = 10 * time.Second
)

// shared coalesces concurrent calls per key and caches the result until sharedFor after the begin of the call. It
// does not cache an error. It is safe for concurrent use; the result belongs to all callers, which only read it.
type shared[T any] struct {
	now     func() time.Time
	calls   singleflight.Group
	mu      sync.Mutex
	results map[string]result[T] // by key
}

type result[T any] struct {
	value T
	begun time.Time
}

func newShared[T any](now func() time.Time) *shared[T] {
	return &shared[T]{now: now, results: make(map[string]result[T])}
}

// get returns the result of ask, from the cache, from a call under way with the same key, or from a call of its
// own. It returns the error of ctx when ctx ends first.
func (s *shared[T]) get(ctx context.Context, key string, ask func(ctx context.Context) (T, error)) (T, error) {
	called := s.calls.DoChan(key, func() (any, error) {
		if value, ok := s.cached(key); ok {
			return value, nil
		}
		return s.call(context.WithoutCancel(ctx), key, ask)
	})
	select {
	case r := <-called:
		if p := (panicked)(""); errors.As(r.Err, &p) {
			panic(string(p))
		}
		value, _ := r.Val.(T)
		return value, r.Err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

// panicked is a panic on its way to the callers: in the goroutine of singleflight it would end the program.
type panicked string

func (p panicked) Error() string { return string(p) }

// call caches the result of ask.
func (s *shared[T]) call(ctx context.Context, key string, ask func(ctx context.Context) (T, error)) (value T, err error) {
	ctx, cancel := context.WithTimeout(ctx, longestShared)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			err = panicked(fmt.Sprintf("%v\n%s", p, debug.Stack()))
		}
	}()
	begun := s.now()
	if value, err = ask(ctx); err != nil {
		return value, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.results[key] = result[T]{value, begun}
	return value, nil
}

// cached returns the result of a key, and forgets all results that are too old.
func (s *shared[T]) cached(key string) (value T, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	for key, r := range s.results {
		if age := now.Sub(r.begun); age < 0 || age >= sharedFor {
			delete(s.results, key)
		}
	}
	r, ok := s.results[key]
	return r.value, ok
}
