package store

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// longestWait is how long a transaction waits for the writers' lock and for the transactions before it, and a Read
	// for a connection: a client gives up soon after, and a disk that flushes slowly needs less.
	longestWait = 5 * time.Second
	// longestMigration is how long a start waits for the migration of another process.
	longestMigration = time.Minute
)

var errLocked = busy("another process holds the writers' lock and does not end its transaction")

// writersLock is a flock on a side file of the database. Who writes holds it from before the transaction's begin to
// after its end: SQLite's own busy handler sleeps and has no queue. For one goroutine at a time.
type writersLock struct {
	path  string
	file  *os.File   // nil: the last open failed, and take tries again
	asked chan error // gets the result of a blocking flock under way; nil: there is none
}

func openLock(database string) (*writersLock, error) {
	l := &writersLock{path: database + "-writer"}
	return l, l.open()
}

func (l *writersLock) open() error {
	file, err := os.OpenFile(l.path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("open the writers' lock: %w", translate(err))
	}
	l.file = file
	return nil
}

// take takes the lock, or returns ErrBusy after limit; a later call goes on to wait in the same place. A lock file
// that was deleted or replaced is made again, so that all processes lock the same file. After an error that is not
// ErrBusy, a later call opens the file again.
func (l *writersLock) take(limit time.Duration) error {
	for {
		if l.file == nil {
			if err := l.open(); err != nil {
				return err
			}
		}
		if err := l.acquire(limit); err != nil {
			return err
		}
		if isFile(l.file, l.path) {
			return nil
		}
		l.file.Close() //nolint:errcheck // only a lock
		l.file = nil
	}
}

func (l *writersLock) acquire(limit time.Duration) error {
	if l.asked == nil {
		if err := unix.Flock(int(l.file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == nil {
			return nil
		}
		l.asked = make(chan error, 1)
		go func(answer chan<- error, file *os.File) { answer <- lockFile(file) }(l.asked, l.file)
	}
	end := time.NewTimer(limit)
	defer end.Stop()
	select {
	case err := <-l.asked:
		l.asked = nil
		if err != nil {
			l.file.Close() //nolint:errcheck // only a lock
			l.file = nil
		}
		return err
	case <-end.C:
		return errLocked
	}
}

func (l *writersLock) release() {
	unix.Flock(int(l.file.Fd()), unix.LOCK_UN) //nolint:errcheck // a lock that is held can be released
}

// close gives the lock up. A flock under way ends when its turn comes.
func (l *writersLock) close() {
	if l.asked == nil {
		l.file.Close() //nolint:errcheck // only a lock, or nil
		return
	}
	go func(asked <-chan error, file *os.File) {
		<-asked      //nolint:errcheck // the lock is given up either way
		file.Close() //nolint:errcheck // only a lock
	}(l.asked, l.file)
}

// lockFile waits for the lock of a file.
func lockFile(file *os.File) error {
	for {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("take the writers' lock: %w", err)
		}
		return nil
	}
}
