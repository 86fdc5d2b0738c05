package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// mostReaders is how many Reads run at once: SQLite reads on as many processors as there are,
	// and each connection costs memory.
	mostReaders = 8
	// readWaits is how long one Read may take, in units of longestWait: the WAL keeps everything
	// that is written after its begin.
	readWaits = 3
)

var (
	errSlowRead  = busy("the read took too long")
	errEndedRead = busy("a long read was ended, because the WAL could not be emptied beside it")
	errNoTurn    = busy("other costly reads had their turn first")
)

// readers are the connections of all Reads. They cannot write.
type readers struct {
	db       *sql.DB
	prepared func(query string)
	snapshot func() // Options.Snapshot
	damages  *damages
	wait     time.Duration // for a free connection
	free     chan *reader  // mostReaders of them, those that no Read has
	all      []*reader
	closed   chan struct{}
	once     sync.Once                     // closes closed
	held     atomic.Pointer[chan struct{}] // closed at the end of a hold; nil: there is none
}

// reader is the connection of one Read at a time.
type reader struct {
	*statements // nil: not connected yet

	mu  sync.Mutex
	end context.CancelCauseFunc // of the Read under way, else nil
}

func openReaders(o Options) (*readers, error) {
	db, err := sql.Open("sqlite", dsn(o.Path, "query_only(1)"))
	if err != nil {
		return nil, err
	}
	r := &readers{
		db:       db,
		prepared: o.Prepared,
		snapshot: o.Snapshot,
		damages:  o.damages,
		wait:     o.wait,
		free:     make(chan *reader, mostReaders),
		closed:   make(chan struct{}),
	}
	for range mostReaders {
		one := &reader{}
		r.all = append(r.all, one)
		r.free <- one
	}
	return r, nil
}

// read runs f on a snapshot.
func (rs *readers) read(ctx context.Context, f func(r Reader) error) error {
	r, err := rs.take(ctx)
	if err != nil {
		return fmt.Errorf("begin to read: %w", err)
	}
	defer func() { rs.free <- r }()
	limited, release := context.WithTimeoutCause(ctx, readWaits*rs.wait, errSlowRead)
	defer release()
	limited, end := context.WithCancelCause(limited)
	defer end(nil)
	if err := rs.begin(r, end); err != nil {
		return fmt.Errorf("begin to read: %w", err)
	}
	defer r.rollback()
	rs.snapshot()
	err = f(snapshot{ctx: limited, r: r})
	if cause := context.Cause(limited); err != nil && ctx.Err() == nil && errors.Is(cause, ErrBusy) {
		return cause // and not context.Canceled, which means that the caller has gone
	}
	return err
}

// take waits for a free connection and for the end of a hold, but not longer than longestWait.
func (rs *readers) take(ctx context.Context) (*reader, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	limit := time.NewTimer(rs.wait)
	defer limit.Stop()
	for {
		var released chan struct{} // nil: wait for a connection
		free := rs.free
		if held := rs.held.Load(); held != nil {
			released, free = *held, nil
		}
		select {
		case r := <-free:
			if rs.held.Load() == nil {
				return r, nil
			}
			rs.free <- r // a hold has begun meanwhile and goes first
		case <-released:
		case <-limit.C:
			return nil, busy("other reads hold all connections")
		case <-rs.closed:
			return nil, ErrClosed
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// begin begins a snapshot, on a connection that is made for it where there is none.
func (rs *readers) begin(r *reader, end context.CancelCauseFunc) error {
	if r.statements == nil {
		conn, err := rs.db.Conn(context.Background())
		if err != nil {
			return translate(err)
		}
		r.statements = newStatements(conn, rs.prepared, rs.damages)
	}
	if err := r.exec("BEGIN"); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.end = end
	return nil
}

// rollback ends the snapshot. A connection that refuses is closed; the next Read makes another.
func (r *reader) rollback() {
	r.mu.Lock()
	r.end = nil
	r.mu.Unlock()
	if err := r.exec("ROLLBACK"); err != nil {
		r.close()
		r.statements = nil
	}
}

// hold takes all connections, so that no Read of this process runs, and returns what gives them back. It
// ends the Reads that do not end within grace by themselves; ok is false when one runs on, and nothing is
// held then. For one goroutine at a time.
func (rs *readers) hold(grace time.Duration) (release func(), ok bool) {
	var held []*reader
	released := make(chan struct{})
	rs.held.Store(&released)
	release = func() {
		rs.held.Store(nil)
		close(released)
		for _, r := range held {
			rs.free <- r
		}
	}
	limit := time.NewTimer(grace)
	defer limit.Stop()
	for ended := false; len(held) < mostReaders; {
		select {
		case r := <-rs.free:
			held = append(held, r)
		case <-limit.C:
			if ended {
				release()
				return nil, false
			}
			ended = true
			rs.endAll()
			limit.Reset(grace)
		}
	}
	return release, true
}

// endAll ends the Reads under way.
func (rs *readers) endAll() {
	for _, r := range rs.all {
		r.mu.Lock()
		if r.end != nil {
			r.end(errEndedRead)
		}
		r.mu.Unlock()
	}
}

// close closes the connections after the Reads under way.
func (rs *readers) close() error {
	rs.once.Do(func() {
		for range mostReaders {
			if r := <-rs.free; r.statements != nil {
				r.statements.close()
			}
		}
		close(rs.closed)
	})
	return rs.db.Close()
}

// snapshot is the Reader of DB.Read.
type snapshot struct {
	ctx context.Context //nolint:containedctx // lives as long as the call of Read
	r   *reader
}

// Get implements Reader.
func (s snapshot) Get(dest []any, query string, args ...any) error {
	return s.r.get(s.ctx, dest, query, args)
}

// Query implements Reader.
func (s snapshot) Query(each func(scan Scan) error, query string, args ...any) error {
	return s.r.query(s.ctx, each, query, args)
}

func (s snapshot) damaged() *damages { return s.r.damages }

var _ Reader = snapshot{}
