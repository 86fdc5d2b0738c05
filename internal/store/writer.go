package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// mostTogether bounds the closures of one commit, and with it the wait of the first one.
	mostTogether = 256
	// mostCallers bounds the calls that wait for the writer or are in its transaction: a slow disk commits about so
	// many within longestWait.
	mostCallers = 2048
)

// writer owns the one connection that writes, and its goroutine. It has a field for each thing that the
// goroutine and its callers share.
type writer struct {
	*statements // the goroutine's

	db          *sql.DB
	lock        *writersLock
	wait        time.Duration // of a call for its turn, and of the goroutine for the lock
	grace       time.Duration // of a checkpoint for the readers of other processes
	check       func() error  // what forbids a transaction; under the lock
	health      *health       // gets what became of transactions
	notifier    *notifier
	full        bool // synchronous=FULL is set
	twice       bool // Options.Twice
	calls       chan *call
	callers     atomic.Int64
	stuck       atomic.Bool // the lock was not acquired within wait
	checkpoints chan chan error
	stopped     sync.RWMutex        // guards calls against a send after close; senders do not wait for each other
	held        func(time.Duration) // Options.Held
	committed   func(durable bool)  // Options.Committed
	closed      bool
	closing     chan struct{} // closed with calls
	done        chan struct{}
}

// call is one caller's closure on its way through the writer.
type call struct {
	f      func(tx *Tx) error
	full   bool
	limit  time.Time    // when it is to begin at the latest
	state  atomic.Int32 // waiting, taken or given up
	tx     Tx
	err    error
	answer chan struct{}
}

const (
	waiting = iota
	taken
	givenUp
)

// newWriter opens the writing connection and the lock, and starts the one goroutine that uses them.
func newWriter(ctx context.Context, o Options, n *notifier, h *health, check func() error) (*writer, error) {
	lock, err := openLock(o.Path)
	if err != nil {
		return nil, err
	}
	db, err := sql.Open("sqlite", dsn(o.Path, "synchronous(NORMAL)"))
	if err != nil {
		lock.close()
		return nil, err
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		lock.close()
		db.Close() //nolint:errcheck // err is returned
		return nil, fmt.Errorf("open the writing connection: %w", translate(err))
	}
	w := &writer{
		statements:  newStatements(conn, o.Prepared, o.damages),
		db:          db,
		lock:        lock,
		wait:        o.wait,
		grace:       checkpointWaits * o.every,
		held:        o.Held,
		twice:       o.Twice,
		committed:   o.Committed,
		check:       check,
		health:      h,
		notifier:    n,
		calls:       make(chan *call, mostTogether),
		checkpoints: make(chan chan error),
		closing:     make(chan struct{}),
		done:        make(chan struct{}),
	}
	if err := w.exec(noBusyHandler); err != nil {
		w.statements.close()
		lock.close()
		db.Close() //nolint:errcheck // err is returned
		return nil, err
	}
	go w.run()
	return w, nil
}

// do hands f to the writer and waits for its commit. It returns ErrBusy when f was not begun within wait, at once
// when the lock is known to be stuck or too many wait.
func (w *writer) do(ctx context.Context, f func(tx *Tx) error, full bool) error {
	if w.stuck.Load() {
		return errLocked
	}
	defer w.callers.Add(-1)
	if w.callers.Add(1) > mostCallers {
		return busy("too many transactions wait")
	}
	limit := time.NewTimer(w.wait)
	defer limit.Stop()
	c := &call{f: f, full: full, limit: time.Now().Add(w.wait), answer: make(chan struct{})}
	if err := w.send(ctx, c, limit.C); err != nil {
		return err
	}
	select {
	case <-c.answer:
	case <-ctx.Done():
		return c.giveUp(fmt.Errorf("wait to write: %w", ctx.Err()))
	case <-limit.C:
		return c.giveUp(errTurn)
	}
	return c.result()
}

// errTurn says that the transactions before a call took too long.
var errTurn = busy("the transactions before this one do not end")

// giveUp ends the call with why, or with its result if the writer has taken it meanwhile.
func (c *call) giveUp(why error) error {
	if c.state.CompareAndSwap(waiting, givenUp) {
		c.f = nil // the call may stay in the queue; the closure's memory need not
		return why
	}
	<-c.answer
	return c.result()
}

// result returns the error of a call that was answered. Without an error it runs what follows the commit.
func (c *call) result() error {
	if c.err != nil {
		return c.err
	}
	for _, f := range c.tx.afterCommit {
		f()
	}
	return nil
}

// send enqueues a call, unless the writer is closed, or ctx or limit ends first.
func (w *writer) send(ctx context.Context, c *call, limit <-chan time.Time) error {
	w.stopped.RLock()
	defer w.stopped.RUnlock()
	if w.closed {
		return ErrClosed
	}
	select {
	case w.calls <- c:
		return nil
	case <-limit:
		return errTurn
	case <-ctx.Done():
		return fmt.Errorf("wait to write: %w", ctx.Err())
	}
}

// close ends the goroutine after the calls that are enqueued, and then closes everything.
func (w *writer) close() error {
	w.stopped.Lock()
	if !w.closed {
		w.closed = true
		close(w.calls)
		close(w.closing)
	}
	w.stopped.Unlock()
	<-w.done
	return w.db.Close()
}

func (w *writer) run() {
	defer close(w.done)
	defer w.lock.close()
	defer w.statements.close()
	for {
		select {
		case first, open := <-w.calls:
			if !open {
				return
			}
			w.commit(first)
		case answer := <-w.checkpoints:
			w.checkpoint(answer)
		}
	}
}

// commit runs first and all calls that wait behind it in one transaction, and answers them. It gathers them after
// it has acquired the lock: until then a caller may still give up.
func (w *writer) commit(first *call) {
	err := w.take()
	begun := time.Now()
	calls := w.gather(first)
	locked := false // by another program, in SQLite
	if err == nil {
		if err = w.check(); err == nil && len(calls) > 0 {
			err = w.transact(calls)
		}
		w.held(time.Since(begun))
		if locked = errors.Is(err, errLocked); !locked {
			w.lock.release()
		}
	}
	if err == nil && slices.ContainsFunc(calls, func(c *call) bool { return c.err == nil && c.tx.signal }) {
		w.notifier.notify()
	}
	for _, c := range calls {
		if c.err == nil {
			c.err = err
		}
		w.health.failed(c.err)
		close(c.answer)
	}
	if locked {
		w.awaitSQLite()
		w.lock.release()
	}
}

// gather takes first and the calls that wait behind it, at most mostTogether. It leaves out calls whose caller has
// given up.
func (w *writer) gather(first ...*call) []*call {
	calls := make([]*call, 0, 8)
	take := func(c *call) {
		if c.state.CompareAndSwap(waiting, taken) {
			calls = append(calls, c)
		}
	}
	for _, c := range first {
		take(c)
	}
	for len(calls) < mostTogether {
		select {
		case c, open := <-w.calls:
			if !open {
				return calls
			}
			take(c)
		default:
			return calls
		}
	}
	return calls
}
