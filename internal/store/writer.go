package store

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
)

// mostTogether bounds the closures of one commit, so that the first of them does not wait for ever.
const mostTogether = 256

// writer owns the one connection that writes, and its goroutine.
type writer struct {
	db       *sql.DB
	conn     *sql.Conn
	lock     *os.File
	bell     *bell
	prepared map[string]*sql.Stmt
	full     bool // synchronous=FULL is set
	calls    chan *call
	stopped  sync.RWMutex // guards calls against a send after close; senders do not wait for each other
	closed   bool
	done     chan struct{}
}

// call is one caller's closure on its way through the writer.
type call struct {
	f      func(tx *Tx) error
	full   bool
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
func newWriter(ctx context.Context, path string, b *bell) (*writer, error) {
	lock, err := openLock(path)
	if err != nil {
		return nil, err
	}
	db, err := sql.Open("sqlite", dsn(path, "synchronous(NORMAL)"))
	if err != nil {
		lock.Close() //nolint:errcheck // err is the one to tell
		return nil, err
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		lock.Close() //nolint:errcheck // err is the one to tell
		db.Close()   //nolint:errcheck // likewise
		return nil, fmt.Errorf("open the writing connection: %w", translate(err))
	}
	w := &writer{
		db: db, conn: conn, lock: lock, bell: b,
		prepared: make(map[string]*sql.Stmt),
		calls:    make(chan *call, mostTogether),
		done:     make(chan struct{}),
	}
	go w.run()
	return w, nil
}

// do hands f to the writer and waits for its commit.
func (w *writer) do(ctx context.Context, f func(tx *Tx) error, full bool) error {
	c := &call{f: f, full: full, answer: make(chan struct{})}
	if err := w.send(ctx, c); err != nil {
		return err
	}
	select {
	case <-c.answer:
	case <-ctx.Done():
		if c.state.CompareAndSwap(waiting, givenUp) {
			return fmt.Errorf("wait to write: %w", ctx.Err())
		}
		<-c.answer
	}
	if c.err != nil {
		return c.err
	}
	for _, f := range c.tx.afterCommit {
		f()
	}
	return nil
}

// send puts a call into the line, unless the writer is closed or ctx ends first.
func (w *writer) send(ctx context.Context, c *call) error {
	w.stopped.RLock()
	defer w.stopped.RUnlock()
	if w.closed {
		return ErrClosed
	}
	select {
	case w.calls <- c:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait to write: %w", ctx.Err())
	}
}

// close ends the goroutine after the calls that are in the line, and then closes everything.
func (w *writer) close() error {
	w.stopped.Lock()
	if !w.closed {
		w.closed = true
		close(w.calls)
	}
	w.stopped.Unlock()
	<-w.done
	for _, s := range w.prepared {
		s.Close() //nolint:errcheck // the connection goes with it
	}
	w.conn.Close() //nolint:errcheck // the database goes with it
	w.lock.Close() //nolint:errcheck // only a lock
	return w.db.Close()
}

func (w *writer) run() {
	defer close(w.done)
	for first := range w.calls {
		w.commit(first)
	}
}

// commit runs first and everything that waits behind it in one transaction and answers them. What waits is gathered once the
// lock is ours: until then a caller may still give up.
func (w *writer) commit(first *call) {
	err := lockFile(w.lock)
	calls := w.gather(first)
	if err == nil {
		if len(calls) > 0 {
			err = w.transact(calls)
		}
		unlockFile(w.lock)
	}
	if err == nil && slices.ContainsFunc(calls, func(c *call) bool { return c.err == nil && c.tx.signal }) {
		w.bell.ring()
	}
	for _, c := range calls {
		if c.err == nil {
			c.err = err
		}
		close(c.answer)
	}
}

// gather returns first and everything that waits behind it, but for calls whose caller has given up.
func (w *writer) gather(first *call) []*call {
	calls := make([]*call, 0, 8)
	take := func(c *call) {
		if c.state.CompareAndSwap(waiting, taken) {
			calls = append(calls, c)
		}
	}
	take(first)
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

// transact runs calls in one transaction, each in its savepoint, and commits. A call that fails is taken back alone; an error of
// transact itself is that of all.
func (w *writer) transact(calls []*call) (err error) {
	full := false
	for _, c := range calls {
		full = full || c.full
	}
	if err := w.begin(full); err != nil {
		return err
	}
	for _, c := range calls {
		if c.err = w.runOne(c); c.err == nil {
			continue
		}
		if err := w.exec("ROLLBACK TO one"); err != nil {
			// SQLite ends the whole transaction by itself when the disk is full.
			w.exec("ROLLBACK") //nolint:errcheck // there may be none left
			return fmt.Errorf("%w (%w)", err, c.err)
		}
	}
	if err := w.exec("COMMIT"); err != nil {
		w.exec("ROLLBACK") //nolint:errcheck // COMMIT's error is the one to tell
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// begin begins a transaction of the wanted durability, which SQLite takes only outside one.
func (w *writer) begin(full bool) error {
	err := w.synchronous(full)
	if err == nil {
		err = w.exec("BEGIN IMMEDIATE")
	}
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	return nil
}

// synchronous sets whether commits are flushed, where that changes.
func (w *writer) synchronous(full bool) error {
	if full == w.full {
		return nil
	}
	pragma := "PRAGMA synchronous=NORMAL"
	if full {
		pragma = "PRAGMA synchronous=FULL"
	}
	if err := w.exec(pragma); err != nil {
		return err
	}
	w.full = full
	return nil
}

// runOne runs a closure in its savepoint. A panic is the closure's error: the other callers have no part in it.
func (w *writer) runOne(c *call) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic in a transaction: %v\n%s", p, debug.Stack())
		}
	}()
	if err := w.exec("SAVEPOINT one"); err != nil {
		return err
	}
	c.tx.w = w
	if err := c.f(&c.tx); err != nil {
		return err
	}
	if c.tx.err != nil {
		return c.tx.err
	}
	return w.exec("RELEASE one")
}

func (w *writer) exec(query string) error {
	stmt, err := w.prepare(query)
	if err != nil {
		return translate(err)
	}
	_, err = stmt.ExecContext(context.Background())
	return translate(err)
}

// prepare returns the connection's statement of a text. The texts are constants of the program, so the map stays small.
func (w *writer) prepare(query string) (*sql.Stmt, error) {
	if stmt, ok := w.prepared[query]; ok {
		return stmt, nil
	}
	stmt, err := w.conn.PrepareContext(context.Background(), query)
	if err != nil {
		return nil, err
	}
	w.prepared[query] = stmt
	return stmt, nil
}
