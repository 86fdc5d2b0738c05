package store

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// The writers' lock is a flock on a side file of the database. Who writes holds it from before the transaction's begin to
// after its end: SQLite's own busy handler sleeps and has no queue.

func openLock(database string) (*os.File, error) {
	lock, err := os.OpenFile(database+"-writer", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the writers' lock: %w", translate(err))
	}
	return lock, nil
}

// lockFile waits for the lock.
func lockFile(lock *os.File) error {
	for {
		err := unix.Flock(int(lock.Fd()), unix.LOCK_EX)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("take the writers' lock: %w", err)
		}
		return nil
	}
}

func unlockFile(lock *os.File) {
	unix.Flock(int(lock.Fd()), unix.LOCK_UN) //nolint:errcheck // a lock that is held can be given back
}
