package httpapi

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"
)

// probeWithin is how long a probe may take before it counts as hung: a load balancer waits about a second for
// readiness.
const probeWithin = 500 * time.Millisecond

// errHangs says that a probe has not answered within probeWithin.
var errHangs = errors.New("no answer within " + probeWithin.String())

// probe asks one thing at a time, however many callers want to know: they share the question that is under way, and
// one that hangs is not asked again while it does. It is safe for concurrent use.
type probe[T any] struct {
	ask func(ctx context.Context) (T, error)

	mu      sync.Mutex
	running *question[T] // nil: none
}

// question is one that is under way, or has its answer.
type question[T any] struct {
	late  context.Context //nolint:containedctx // ends when it counts as hung
	done  chan struct{}   // closed when value and err stand
	value T
	err   error
}

func newProbe[T any](ask func(ctx context.Context) (T, error)) *probe[T] { return &probe[T]{ask: ask} }

// get returns what ask returns, at most probeWithin after the question began; then errHangs.
func (p *probe[T]) get() (value T, err error) {
	q := p.join()
	select {
	case <-q.done:
		return q.value, q.err
	case <-q.late.Done():
	}
	select {
	case <-q.done: // it came in the same moment
		return q.value, q.err
	default:
		return value, errHangs
	}
}

// join returns the question that is under way, begun here if there is none.
func (p *probe[T]) join() *question[T] {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running != nil {
		return p.running
	}
	late, cancel := context.WithTimeout(context.Background(), probeWithin) // no caller's: they share it
	q := &question[T]{late: late, done: make(chan struct{})}
	p.running = q
	go func() {
		defer cancel()
		defer close(q.done)
		defer p.end()
		defer func() {
			if panicked := recover(); panicked != nil { // the edge cannot catch it here
				q.err = fmt.Errorf("panic: %v\n%s", panicked, debug.Stack())
			}
		}()
		q.value, q.err = p.ask(late)
	}()
	return q
}

func (p *probe[T]) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running = nil
}
