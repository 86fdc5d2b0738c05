package store

import (
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"time"
)

// transact runs calls in one transaction and commits. A call that fails is rolled back alone: its error takes the whole
// transaction back, and the other calls run again, now each in a savepoint. Failures are rare, and a savepoint makes
// SQLite copy each page that two calls change. The error of transact counts for all calls that have no error of their
// own.
func (w *writer) transact(calls []*call) error {
	if w.twice {
		if err := w.rehearse(calls); err != nil {
			return err
		}
		calls = withoutFailed(calls)
	}
	for savepoints := false; len(calls) > 0; savepoints = true {
		committed, err := w.attempt(calls, savepoints)
		if committed || err != nil {
			return err
		}
		calls = withoutFailed(calls)
	}
	return nil
}

// withoutFailed returns the calls without an error, ready to run again.
func withoutFailed(calls []*call) []*call {
	calls = slices.DeleteFunc(slices.Clone(calls), func(c *call) bool { return c.err != nil })
	for _, c := range calls {
		c.tx = Tx{}
	}
	return calls
}

// rehearse runs calls, up to the first that fails, in a transaction that it rolls back.
func (w *writer) rehearse(calls []*call) error {
	if err := w.beginFor(calls); err != nil {
		return err
	}
	for _, c := range calls {
		if c.err = w.runOne(c); c.err != nil {
			break
		}
	}
	w.exec("ROLLBACK") //nolint:errcheck // after a full disk there is no transaction left
	return nil
}

// attempt is one transaction of transact. committed is false when a call has failed and nothing is committed: without
// savepoints after each failure, with savepoints when SQLite has ended the whole transaction by itself (a full disk).
func (w *writer) attempt(calls []*call, savepoints bool) (committed bool, err error) {
	if err := w.beginFor(calls); err != nil {
		return false, err
	}
	for _, c := range calls {
		if savepoints {
			if err := w.exec("SAVEPOINT one"); err != nil {
				w.exec("ROLLBACK") //nolint:errcheck // err is returned
				return false, err
			}
		}
		end := "RELEASE one"
		if c.err = w.runOne(c); c.err != nil {
			end = "ROLLBACK TO one"
		}
		switch {
		case savepoints:
			err = w.exec(end)
		case c.err != nil:
			err = c.err
		}
		if err != nil {
			w.exec("ROLLBACK") //nolint:errcheck // after a full disk there is no transaction left
			if c.err != nil {
				return false, nil
			}
			return false, err
		}
	}
	if err := w.exec("COMMIT"); err != nil {
		w.exec("ROLLBACK") //nolint:errcheck // COMMIT's error is returned
		return false, fmt.Errorf("commit: %w", err)
	}
	w.committed(w.full)
	return true, nil
}

// beginFor begins a transaction for calls: durable when one of them is, and no later than the first of them has to.
func (w *writer) beginFor(calls []*call) error {
	full, limit := false, calls[0].limit
	for _, c := range calls {
		full = full || c.full
		if c.limit.Before(limit) {
			limit = c.limit
		}
	}
	return w.begin(full, limit)
}

// begin begins a transaction of the wanted durability, which SQLite takes only outside one. It returns errLocked
// when another program holds SQLite's lock until limit.
func (w *writer) begin(full bool, limit time.Time) error {
	err := w.synchronous(full)
	if err == nil {
		err = w.exec("BEGIN IMMEDIATE")
	}
	for errors.Is(err, ErrBusy) {
		if !time.Now().Before(limit) {
			return errLocked
		}
		time.Sleep(retryBegin) //nolint:forbidigo // as in awaitSQLite
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

// runOne runs a closure. A panic becomes the closure's error and does not concern the other calls.
func (w *writer) runOne(c *call) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic in a transaction: %v\n%s", p, debug.Stack())
		}
	}()
	c.tx.w = w
	if err := c.f(&c.tx); err != nil {
		return err
	}
	return c.tx.err
}
