package store

import (
	"errors"
	"time"
)

// take takes the writers' lock. While it is stuck, calls that wait and calls that come are refused with ErrBusy;
// the process that holds it may be stopped for hours. The error is ErrBusy when the writer is to end meanwhile.
func (w *writer) take() error {
	err := w.lock.take(w.wait)
	for errors.Is(err, ErrBusy) {
		if w.refuse(); w.ending() {
			return err
		}
		err = w.lock.take(stuckCheck)
	}
	w.free()
	return err
}

// refuse answers the calls that wait with errLocked, and those that come until free is called.
func (w *writer) refuse() {
	w.stuck.Store(true)
	w.health.failed(errLocked)
	for _, c := range w.gather() {
		c.err = errLocked
		close(c.answer)
	}
}

// free ends what refuse began.
func (w *writer) free() {
	if w.stuck.Swap(false) {
		w.health.ended(errLocked)
	}
}

func (w *writer) ending() bool {
	select {
	case <-w.closing:
		return true
	default:
		return false
	}
}

// noBusyHandler lets SQLite answer at once while another program holds its lock: begin waits by itself,
// and no longer than its callers.
const noBusyHandler = "PRAGMA busy_timeout(0)"

// retryBegin is how long begin waits between two attempts.
const retryBegin = 5 * time.Millisecond

// awaitSQLite is take for the lock of SQLite itself, after a begin that took too long: a
// program that is not otpost holds it.
func (w *writer) awaitSQLite() {
	for {
		if w.refuse(); w.ending() {
			return
		}
		time.Sleep(stuckCheck) //nolint:forbidigo // SQLite has no event for the end of a lock of another program
		err := w.exec("BEGIN IMMEDIATE")
		if err == nil {
			err = w.exec("ROLLBACK")
		}
		if !errors.Is(err, ErrBusy) {
			w.free()
			return
		}
	}
}

// stuckCheck is how often a writer whose lock is stuck looks whether it is to end.
const stuckCheck = 100 * time.Millisecond
