package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// Reader is what reads need: it is satisfied by *Tx and by the snapshot of DB.Read. It must not leave the closure
// that got it. Parameters are $1..$n.
type Reader interface {
	// Get reads one row into dest and returns ErrNotFound when there is none.
	Get(dest []any, query string, args ...any) error
	// Query calls each for every row; scan reads the row's columns. An error of each ends the query and is returned.
	Query(each func(scan Scan) error, query string, args ...any) error
}

// Scan reads the columns of the current row into dest, as sql.Rows.Scan does.
type Scan func(dest ...any) error

// Tx is a running write transaction, for the goroutine that runs the closure alone.
type Tx struct {
	w           *writer
	err         error // the first failure of a Put
	signal      bool
	afterCommit []func()
}

// Put runs a statement whose result is not needed. Its error shows at the next read or at the end of the closure.
func (tx *Tx) Put(query string, args ...any) {
	if tx.err != nil {
		return
	}
	stmt, err := tx.w.prepare(query)
	if err == nil {
		_, err = stmt.ExecContext(context.Background(), args...)
	}
	if err != nil {
		tx.err = fmt.Errorf("write: %w", translate(err))
	}
}

// Get implements Reader; a statement with RETURNING tells here which row it changed (ErrNotFound: none).
func (tx *Tx) Get(dest []any, query string, args ...any) error {
	if tx.err != nil {
		return tx.err
	}
	return tx.w.get(context.Background(), dest, query, args)
}

// Query implements Reader, for statements with RETURNING too.
func (tx *Tx) Query(each func(scan Scan) error, query string, args ...any) error {
	if tx.err != nil {
		return tx.err
	}
	return tx.w.query(context.Background(), each, query, args)
}

func (tx *Tx) damaged() *damages { return tx.w.damages }

// Changed reports whether a statement with RETURNING changed a row. The statement returns one column.
func (tx *Tx) Changed(query string, args ...any) (bool, error) {
	var ignored any
	err := tx.Get([]any{&ignored}, query, args...)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// Next returns the next number of a series, from 1. The table sequence keeps the last one, so that two transactions
// never get the same number and a number does not come again after its row is deleted.
func (tx *Tx) Next(series string) (number int64, err error) {
	err = tx.Get([]any{&number}, `INSERT INTO sequence (name, value) VALUES ($1, 1)
		ON CONFLICT (name) DO UPDATE SET value = sequence.value + 1 RETURNING value`, series)
	if err != nil {
		return 0, fmt.Errorf("next number of %s: %w", series, err)
	}
	return number, nil
}

// RaiseGeneration tells all processes that settings have changed. A transaction that decides by a setting which it
// changes calls it before it reads that setting: it locks the one row of the table instance, so that such transactions
// run one after the other.
func (tx *Tx) RaiseGeneration() { tx.Put(`UPDATE instance SET generation = generation + 1`) }

// AfterCommit runs f once the transaction is on disk, in the goroutine that called Write. It is for wake-ups that
// may be lost.
func (tx *Tx) AfterCommit(f func()) { tx.afterCommit = append(tx.afterCommit, f) }

// Signal wakes the subscribers of all processes after the commit.
func (tx *Tx) Signal() { tx.signal = true }

func eachRow(rows *sql.Rows, each func(Scan) error) error {
	defer rows.Close()
	for rows.Next() {
		if err := each(rows.Scan); err != nil {
			return err
		}
	}
	return translate(rows.Err())
}

// errCannotOpen is SQLITE_CANTOPEN, of the database, its WAL or its -shm.
var errCannotOpen = errors.New("a file of the database cannot be opened: " +
	"the process has too many files open, or its folder is out of reach")

// translate turns the driver's errors into the package's own.
func translate(err error) error {
	if err == nil {
		return nil
	}
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return ErrNotFound
	case errors.Is(err, fs.ErrPermission), errors.Is(err, unix.EROFS): // of a side file
		return fmt.Errorf("%w: %w", ErrReadOnly, err)
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return err
	}
	switch e.Code() {
	case sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_UNIQUE:
		return fmt.Errorf("%w: %w", ErrUnique, err)
	}
	switch e.Code() & 0xff {
	case sqlite3.SQLITE_BUSY:
		return fmt.Errorf("%w: %w", ErrBusy, err)
	case sqlite3.SQLITE_FULL:
		return fmt.Errorf("%w: %w", ErrFull, err)
	case sqlite3.SQLITE_IOERR:
		if e.Code() == sqlite3.SQLITE_IOERR_SHMSIZE { // -shm could not grow
			return fmt.Errorf("%w: %w", ErrFull, err)
		}
		return fmt.Errorf("%w: %w", ErrIO, err)
	case sqlite3.SQLITE_CORRUPT:
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	case sqlite3.SQLITE_READONLY:
		return fmt.Errorf("%w: %w", ErrReadOnly, err)
	case sqlite3.SQLITE_CANTOPEN: // SQLite does not tell the cause
		return fmt.Errorf("%w: %w", errCannotOpen, err)
	case sqlite3.SQLITE_NOTADB:
		return fmt.Errorf("%w: %w", ErrForeign, err)
	}
	return err
}

var _ Reader = (*Tx)(nil)
