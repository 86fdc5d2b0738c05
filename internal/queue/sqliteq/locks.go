package sqliteq

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"otpost/internal/store"
)

// A worker's lock file bears its random id, so that the same path in another mount (a container with this host's boot id but
// other files) is no file at all and tells nothing. Who looks never creates it.

// lockFile is a file whose lock this process holds.
type lockFile struct{ file *os.File }

// remove removes the file and gives the lock up.
func (l *lockFile) remove() {
	os.Remove(l.file.Name()) //nolint:errcheck // a file that stays is removed when the next worker registers
	l.file.Close()           //nolint:errcheck // nothing is buffered
}

// bootID returns this host's identity, new with each boot: locks of another one say nothing.
func bootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("identify this host: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// lock makes and locks the file of a worker of this process.
func (d *Driver) lock(worker uuid.UUID) (*lockFile, error) {
	path := filepath.Join(d.lockDir, d.lockPrefix()+worker.String()+".lock")
	for {
		file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600) // Go sets O_CLOEXEC
		if err != nil {
			return nil, fmt.Errorf("make the worker's lock file: %w", err)
		}
		if err := flock(file, unix.LOCK_EX); err != nil {
			file.Close() //nolint:errcheck // err is the one to tell
			return nil, fmt.Errorf("lock the worker's file: %w", err)
		}
		if !same(file, path) { // a peer took it for a leftover before it was locked
			file.Close() //nolint:errcheck // nothing is buffered
			continue
		}
		l := &lockFile{file: file}
		d.mu.Lock()
		d.locks[worker] = l
		d.mu.Unlock()
		return l, nil
	}
}

// lockPrefix begins the names of this queue's lock files and of no other's: queue names have no dot.
func (d *Driver) lockPrefix() string { return "queue." + d.queue + "." }

// unlock gives up the lock of a worker of this process, if there is one.
func (d *Driver) unlock(worker uuid.UUID) {
	d.mu.Lock()
	l := d.locks[worker]
	delete(d.locks, worker)
	d.mu.Unlock()
	if l != nil {
		l.remove()
	}
}

// owns reports whether the worker registered through this driver.
func (d *Driver) owns(worker uuid.UUID) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.locks[worker] != nil
}

// tryLock returns the lock of a worker that has died, nil when it lives or its file cannot be seen from here.
func tryLock(path string) *lockFile {
	file, err := os.Open(path)
	if err != nil {
		return nil
	}
	if flock(file, unix.LOCK_EX|unix.LOCK_NB) != nil || !same(file, path) {
		file.Close() //nolint:errcheck // nothing is buffered
		return nil
	}
	return &lockFile{file: file}
}

// watch waits for the lock of another process's worker in a goroutine of its own, once for each, and sweeps it then. The wait
// is a blocking flock: looking each half second could not reach the tenth of a second that recovery may take.
func (d *Driver) watch(w deadWorker) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed || d.watched[w.id] {
		return
	}
	file, err := os.Open(w.file)
	if err != nil {
		return // not seen from here: its lease decides
	}
	d.watched[w.id] = true
	go func() {
		defer func() {
			d.mu.Lock()
			defer d.mu.Unlock()
			delete(d.watched, w.id)
		}()
		if flock(file, unix.LOCK_EX) != nil || d.isClosed() {
			file.Close() //nolint:errcheck // nothing is buffered
			return
		}
		w.lock = &lockFile{file: file}
		d.takeBack(context.Background(), w) //nolint:errcheck // the next sweep does it again
	}()
}

func (d *Driver) isClosed() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.closed
}

// removeLeftLocks removes lock files of this queue whose worker is not known any more: it died after it had unregistered, or
// before it registered.
func (d *Driver) removeLeftLocks(ctx context.Context) error {
	files, err := os.ReadDir(d.lockDir)
	if err != nil {
		return err
	}
	named := make(map[string]bool)
	err = d.db.Read(ctx, func(r store.Reader) error {
		return r.Query(func(scan store.Scan) error {
			var name string
			if err := scan(&name); err != nil {
				return err
			}
			named[name] = true
			return nil
		}, `SELECT lock_file FROM queue_worker WHERE queue = $1`, d.queue)
	})
	if err != nil {
		return err
	}
	for _, f := range files {
		name := filepath.Join(d.lockDir, f.Name())
		if named[name] || !strings.HasPrefix(f.Name(), d.lockPrefix()) {
			continue
		}
		if l := tryLock(name); l != nil {
			l.remove()
		}
	}
	return nil
}

func flock(f *os.File, how int) error {
	for {
		err := unix.Flock(int(f.Fd()), how)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// same reports whether path still names the open file.
func same(f *os.File, path string) bool {
	a, err := f.Stat()
	if err != nil {
		return false
	}
	b, err := os.Stat(path)
	return err == nil && os.SameFile(a, b)
}
