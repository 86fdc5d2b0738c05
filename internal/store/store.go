// Package store is the state database with its one writer.
//
// It promises: what Write returned without an error is on disk; a closure that fails leaves nothing behind and disturbs none
// of the closures that are committed together with it; a reader sees one moment. It knows no record: SQL lives with the
// package of its record, and every function that writes takes a *Tx.
//
// Several processes may open one file: each takes a lock on a side file around its transactions (SQLite's own busy handler
// starves them) and tells the others about a commit that they wait for by a byte in another one (Tx.Signal, DB.Subscribe).
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// Program is this program's place in the order of programs; a schema names the lowest one that may run on it.
const Program = 1

// Errors that callers tell apart. ErrUnique and ErrNotFound stand for the driver's own.
var (
	ErrNotFound = errors.New("no such row")
	ErrUnique   = errors.New("a row with this key exists")
	ErrFull     = errors.New("the database cannot grow: disk full or quota reached")
	ErrReadOnly = errors.New("the database is read-only")
	ErrForeign  = errors.New("not a database of otpost")
	ErrSchema   = errors.New("the schema of the database does not fit this program")
	ErrClosed   = errors.New("the database is closed")
)

// Options say which database to open. Path is the file; the other fields may stay zero.
type Options struct {
	Path    string
	Migrate bool             // bring the schema up to date, create the file when it is missing
	Now     func() time.Time // time.Now
	Log     *slog.Logger     // discards
}

// DB is an open database. It is safe for concurrent use.
type DB struct {
	options  Options
	writer   *writer
	readers  *sql.DB
	reading  chan struct{} // one value for each Read under way: a connection of readers stays free to prepare statements
	prepared sync.Map      // SQL text -> *sql.Stmt on readers
	bell     *bell
	instance Instance
}

// Instance says whose database this is.
type Instance struct {
	ID   string // 16 hex digits, drawn at setup
	Host string // where setup ran
}

// Open opens the database and checks owner, file system, kind and schema. It never writes to a database that is not ours
// (ErrForeign) or whose schema is outside the range of this program (ErrSchema).
func Open(ctx context.Context, o Options) (*DB, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if err := checkFile(o.Path, o.Migrate); err != nil {
		return nil, err
	}
	db := &DB{options: o, reading: make(chan struct{}, mostReaders)}
	if err := db.open(ctx); err != nil {
		db.Close()
		return nil, fmt.Errorf("open database %s: %w", o.Path, err)
	}
	return db, nil
}

func (db *DB) open(ctx context.Context) (err error) {
	if err := migrate(ctx, db.options); err != nil {
		return err
	}
	if db.readers, err = openReaders(db.options.Path); err != nil {
		return err
	}
	row := db.readers.QueryRowContext(ctx, `SELECT id, host FROM instance`)
	if err := row.Scan(&db.instance.ID, &db.instance.Host); err != nil {
		return fmt.Errorf("read instance: %w", translate(err))
	}
	if db.bell, err = newBell(db.options.Path + "-wake"); err != nil {
		return err
	}
	db.writer, err = newWriter(ctx, db.options.Path, db.bell)
	return err
}

// Close ends the writer after the transactions that it has begun and closes the file.
func (db *DB) Close() error {
	var errs []error
	if db.writer != nil {
		errs = append(errs, db.writer.close())
	}
	if db.bell != nil {
		errs = append(errs, db.bell.close())
	}
	if db.readers != nil {
		errs = append(errs, db.readers.Close())
	}
	return errors.Join(errs...)
}

// Instance returns the identity of the database.
func (db *DB) Instance() Instance { return db.instance }

// Path returns the database's file; locks and sockets of the processes that share it may lie beside it.
func (db *DB) Path() string { return db.options.Path }

// Now returns the time of the store's clock, in UTC and whole milliseconds, as it is stored.
func (db *DB) Now() time.Time { return Time(Millis(db.options.Now())) }

// Write runs f in a transaction that is on disk when Write returns (synchronous=FULL). Several callers share one commit, each
// in a savepoint of its own. f may be run more than once and must have no effect outside tx but for results that it assigns
// at its end; it must not call Write. When ctx ends before f has begun, f is not run; afterwards the call waits for the end.
func (db *DB) Write(ctx context.Context, f func(tx *Tx) error) error {
	return db.writer.do(ctx, f, true)
}

// WriteLight is Write for what a power cut may take back (synchronous=NORMAL): claims, leases, beats, the paying of guesses.
// A crash of the process alone takes nothing back.
func (db *DB) WriteLight(ctx context.Context, f func(tx *Tx) error) error {
	return db.writer.do(ctx, f, false)
}

// Read runs f on a snapshot of the database. A few may run at once, the others wait; f must not call Read.
func (db *DB) Read(ctx context.Context, f func(r Reader) error) error {
	select {
	case db.reading <- struct{}{}:
		defer func() { <-db.reading }()
	case <-ctx.Done():
		return fmt.Errorf("begin to read: %w", ctx.Err())
	}
	tx, err := db.readers.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return fmt.Errorf("begin to read: %w", translate(err))
	}
	defer tx.Rollback() //nolint:errcheck // nothing was written
	return f(snapshot{ctx: ctx, db: db, tx: tx})
}

// Subscribe returns a channel that gets a value after every commit with a Signal, of this process or another one (at most
// 25 ms late), and a function that ends it. The channel holds one value: look for everything that is new after each.
func (db *DB) Subscribe() (<-chan struct{}, func()) { return db.bell.subscribe() }
