// Package store is the state database with its one writer.
//
// It promises: when Write returns no error, its transaction is on disk; a closure that fails leaves nothing behind and
// does not disturb the closures that are committed together with it; a reader sees one snapshot. It knows no record:
// SQL lives with the package of its record, and every function that writes takes a *Tx.
//
// Several processes may open one file. Each takes a lock on a side file around its transactions, because SQLite's busy
// handler starves them. A commit wakes the other processes by a byte in a second side file (Tx.Signal, DB.Subscribe).
//
// Everything that waits or grows has an end: docs/limits.md.
package store

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"otpost/internal/fault"
)

// Program is this program's place in the order of programs; a schema names the lowest one that may run on it.
const Program = 2

// Errors that callers tell apart. ErrUnique and ErrNotFound stand for the driver's own.
var (
	ErrNotFound = errors.New("no such row")
	ErrUnique   = errors.New("a row with this key exists")
	ErrCorrupt  = errors.New("the file of the database is damaged")
	ErrForeign  = errors.New("not a database of otpost")
	ErrSchema   = errors.New("the schema of the database does not fit this program")
	ErrClosed   = errors.New("the database is closed")
	ErrReplaced = errors.New("the database was replaced under the running program (stop every process of otpost " +
		"before restoring a backup)")
	// ErrFull, ErrReadOnly and ErrIO say that the database takes no write of any caller until an administrator mends
	// its disk. Clients may read the sentence, and try again or ask another server.
	ErrFull     error = unwritable("the database cannot grow: disk full or quota reached")
	ErrReadOnly error = unwritable("the database is read-only")
	ErrIO       error = unwritable("the disk of the database answers with an error")
	// ErrBusy says that the database could not be used in time, and that nothing was done: another process holds the
	// writers' lock, or too much waits. Clients may read its sentence, and try again.
	ErrBusy error = fault.New(fault.Busy, "busy_database", "The database is busy. Please try again.")
)

// unwritable is the error of a database that takes no write. It reads as its cause, for the log and the command line.
type unwritable string

func (u unwritable) Error() string { return string(u) }

// As gives the error that a client may read.
func (u unwritable) As(target any) bool {
	f, ok := target.(**fault.Error)
	if ok {
		*f = fault.Wrap(u, fault.Busy, "no_store", "The server cannot store anything at present. Please try again later.")
	}
	return ok
}

// busy returns ErrBusy with its reason, for the log.
func busy(why string) error { return fmt.Errorf("%w: %s", ErrBusy, why) }

// Options say which database to open. Path is the file; the other fields may stay zero.
type Options struct {
	Path     string
	Migrate  bool               // bring the schema up to date, create the file when it is missing
	Now      func() time.Time   // time.Now
	Log      *slog.Logger       // discards
	Prepared func(query string) // for tests: is called with each text that is prepared, by several goroutines at once

	// Twice is for tests: the closures of each transaction run, are rolled back and run again, as after a serialization
	// failure of PostgreSQL. The error of a first run is the error of its call.
	Twice bool

	// Held is for tests: it is called after each transaction with how long it had the writers'
	// lock. It must not use the database.
	Held func(time.Duration)

	// Snapshot and Committed are for tests: the first is called at the begin of each Read, the second after each
	// commit, durable where it was flushed. Several goroutines call them at once. They must not use the database.
	Snapshot  func()
	Committed func(durable bool)

	wait    time.Duration // longestWait
	every   time.Duration // watchEvery
	mostWAL int64         // mostWAL
	damages *damages      // of all connections
}

// DB is an open database. It is safe for concurrent use.
type DB struct {
	options  Options
	writer   *writer
	readers  *readers
	turns    *turns
	notifier *notifier
	health   *health
	instance Instance
	files    atomic.Pointer[files]   // nil until the database is open
	life     context.Context         //nolint:containedctx // an end, not a call's context
	lost     context.CancelCauseFunc // ends life
	closing  chan struct{}           // ends watch
	trials   sync.WaitGroup          // tryWrite
	watched  chan struct{}           // watch has ended; nil: it has not begun
	once     sync.Once               // closes closing
}

// Instance says whose database this is.
type Instance struct {
	ID   string // 16 hex digits, drawn at setup
	Host string // where setup ran
}

// Open opens the database. It checks owner, file system, kind, schema and that the database can be written
// (ErrReadOnly). It never writes to a database of another program (ErrForeign), or to one whose schema is outside the
// range of this program (ErrSchema).
func Open(ctx context.Context, o Options) (*DB, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Held == nil {
		o.Held = func(time.Duration) {}
	}
	if o.Snapshot == nil {
		o.Snapshot = func() {}
	}
	if o.Committed == nil {
		o.Committed = func(bool) {}
	}
	o.damages = newDamages(o.Log.With("component", "store"))
	o.wait, o.every, o.mostWAL = cmp.Or(o.wait, longestWait), cmp.Or(o.every, watchEvery), cmp.Or(o.mostWAL, mostWAL)
	if err := checkFile(o.Path, o.Migrate); err != nil {
		return nil, err
	}
	db := &DB{options: o, turns: newTurns(o.wait), closing: make(chan struct{})}
	db.life, db.lost = context.WithCancelCause(context.Background())
	db.health = newHealth(o.Path, o.Log, func() { db.lost(errDamaged(o.Path)) })
	if err := db.open(ctx); err != nil {
		db.Close()
		if errors.Is(err, ErrCorrupt) {
			return nil, fmt.Errorf("%w (%w)", errDamaged(o.Path), err)
		}
		return nil, fmt.Errorf("open database %s: %w", o.Path, err)
	}
	return db, nil
}

func (db *DB) open(ctx context.Context) (err error) {
	if err := migrate(ctx, db.options); err != nil {
		return err
	}
	if db.readers, err = openReaders(db.options); err != nil {
		return err
	}
	err = db.Read(ctx, func(r Reader) error {
		return r.Get([]any{&db.instance.ID, &db.instance.Host}, `SELECT id, host FROM instance`)
	})
	if err != nil {
		return fmt.Errorf("read instance: %w", err)
	}
	if db.notifier, err = newNotifier(db.options.Path + "-wake"); err != nil {
		return err
	}
	if db.writer, err = newWriter(ctx, db.options, db.notifier, db.health, db.usable); err != nil {
		return err
	}
	if err := db.probe(ctx); err != nil {
		return err
	}
	f, err := identifyFiles(db.options.Path)
	if err != nil {
		return err
	}
	db.files.Store(f)
	db.watched = make(chan struct{})
	go db.watch()
	return nil
}

// probe writes what is there already, so that a database that cannot be written stops the start. A full disk does
// not: it may have room again.
func (db *DB) probe(ctx context.Context) error {
	err := db.WriteLight(ctx, func(tx *Tx) error {
		tx.Put(`UPDATE instance SET generation = generation`)
		return nil
	})
	if errors.Is(err, ErrFull) {
		return nil
	}
	return err
}

// Close ends the writer after the transactions that it has begun and closes the file.
func (db *DB) Close() error {
	var errs []error
	db.once.Do(func() { close(db.closing) })
	if db.watched != nil {
		<-db.watched
	}
	db.trials.Wait()
	if db.writer != nil {
		errs = append(errs, db.writer.close())
	}
	if db.notifier != nil {
		errs = append(errs, db.notifier.close())
	}
	if db.readers != nil {
		errs = append(errs, db.readers.close())
	}
	if f := db.files.Load(); f != nil { // after SQLite: to close a file gives up all locks of the process on it
		errs = append(errs, f.close())
	}
	db.lost(ErrClosed)
	return errors.Join(errs...)
}

// Instance returns the identity of the database.
func (db *DB) Instance() Instance { return db.instance }

// SameKeys reports whether a fingerprint of the keys equals that of this database. A database without a fingerprint
// stores it.
func (db *DB) SameKeys(ctx context.Context, fingerprint []byte) (bool, error) {
	var known []byte
	get := func(r Reader) error { return r.Get([]any{&known}, `SELECT key_check FROM instance`) }
	err := db.Read(ctx, get)
	if err == nil && known == nil {
		err = db.Write(ctx, func(tx *Tx) error {
			tx.Put(`UPDATE instance SET key_check = $1 WHERE key_check IS NULL`, fingerprint)
			return get(tx)
		})
	}
	if err != nil {
		return false, fmt.Errorf("fingerprint of the keys: %w", err)
	}
	return bytes.Equal(known, fingerprint), nil
}

// Now returns the time of the store's clock, in UTC and whole milliseconds, as it is stored.
func (db *DB) Now() time.Time { return Time(Millis(db.options.Now())) }

// Write runs f in a transaction and returns after its commit, which is on disk by then (synchronous=FULL). Several
// callers share one commit; one that fails is taken back alone.
//
// The transaction is SERIALIZABLE: the result is as if all closures had run one after the other. f keeps these rules,
// which Options.Twice tests:
//
//   - f may run again, after a run that was rolled back (another closure of the same commit failed; later a
//     serialization failure of PostgreSQL). It has no effect outside tx. It assigns its results to the variables of its caller, all
//     of them in every run, and adds to none of them.
//   - What a failed run passed to AfterCommit and Signal is dropped.
//   - f draws no random values, hashes, seals and asks no network: its caller does so before. f may read Now.
//   - f calls functions that take tx, never Write or Read: they would wait for f.
//
// f relies on a constraint (ErrUnique) or on a compare-and-set (Tx.Changed) where it decides by what it has read. The
// decision then holds in a database with several writers, too.
//
// When ctx ends before f has begun, f is not run; afterwards the call waits for the end. When f could not begin within
// 5 s, Write returns ErrBusy.
func (db *DB) Write(ctx context.Context, f func(tx *Tx) error) error {
	return db.write(ctx, f, true)
}

// WriteLight is Write for what a power cut may take back (synchronous=NORMAL): claims, leases, heartbeats, the payment
// of guesses. A crash of the process alone takes nothing back.
func (db *DB) WriteLight(ctx context.Context, f func(tx *Tx) error) error {
	return db.write(ctx, f, false)
}

func (db *DB) write(ctx context.Context, f func(tx *Tx) error, full bool) error {
	if err := db.Err(); err != nil {
		return err
	}
	err := db.writer.do(ctx, f, full)
	db.health.check(err)
	return err
}

// Read runs f on a snapshot of the database. A few may run at once, the others wait, 5 s at most; f must not call
// Read. A Read that takes more than 15 s, or more than 1 s while the WAL is too long, is ended with ErrBusy between
// two rows or before the first one: what it pins of the WAL would grow.
func (db *DB) Read(ctx context.Context, f func(r Reader) error) error {
	if err := db.Err(); err != nil {
		return err
	}
	err := db.readers.read(ctx, f)
	db.health.check(err)
	return err
}

// ReadInTurn is Read for lists and statistics, whose cost grows with the tables. f is run again when it takes more
// than 20 ms: then such Reads run one at a time, for a quarter of the time, so that any number of callers leaves
// the processors to logins. A call whose turn does not come within 5 s returns ErrBusy.
func (db *DB) ReadInTurn(ctx context.Context, f func(r Reader) error) error {
	if err := db.Err(); err != nil {
		return err
	}
	return db.turns.do(ctx, func(ctx context.Context) (took time.Duration, err error) {
		err = db.readers.read(ctx, func(r Reader) error {
			begun := time.Now()
			defer func() { took = time.Since(begun) }()
			return f(r)
		})
		return took, err
	})
}

// checkTime is how long Check takes at most.
const checkTime = 400 * time.Millisecond

// Check reports whether reads and transactions are possible now: it returns ErrBusy after 0.4 s at most where they
// hang, and the error that they would have. It writes nothing: after a write that failed because of the whole
// database (a full disk), it returns that error until a write has succeeded, which is tried each second.
func (db *DB) Check(ctx context.Context) error {
	limited, cancel := context.WithTimeoutCause(ctx, checkTime, busy("no answer in time"))
	defer cancel()
	err := db.Read(limited, func(r Reader) error {
		var n int
		return r.Get([]any{&n}, `SELECT count(*) FROM instance`)
	})
	if err == nil {
		_, err = db.health.trouble()
	}
	if err == nil {
		err = db.WriteLight(limited, func(*Tx) error { return nil })
	}
	if err != nil && ctx.Err() == nil && limited.Err() != nil {
		return context.Cause(limited)
	}
	return err
}

// Subscribe returns a channel that gets a value after every commit with a Signal, of this process or another one
// (at most 25 ms late), and a function that ends it. The channel holds one value: look for everything that is new
// after each.
func (db *DB) Subscribe() (<-chan struct{}, func()) { return db.notifier.subscribe() }
