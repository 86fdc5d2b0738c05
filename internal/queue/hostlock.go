package queue

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"
)

// HostLocks is the recovery among the processes of one host that does not wait for a lease: each
// worker holds the lock of a file, and its peers wait for that lock. Drivers use it.
//
// A worker's lock file bears its random id, so that the same path in another mount (a container
// with this host's boot id but other files) is no file at all and tells nothing. Who looks never
// creates it. It is safe for concurrent use.
type HostLocks struct {
	dir, prefix, boot string

	mu      sync.Mutex
	closed  bool
	own     map[uuid.UUID]*deadLock // of this process's workers
	watched map[uuid.UUID]bool      // foreign workers whose lock a goroutine waits for
}

// deadLock is the lock of a worker: of a living one of this process, or of a dead one, whose lock
// this process has taken.
type deadLock struct {
	file   *os.File
	parted bool // the worker of this process has ended, and its jobs may still be under its name
}

// remove removes the file, then gives the lock up: the worker is forgotten. In this order a peer
// that waits for the lock sees that the worker has not died.
func (l *deadLock) remove() {
	os.Remove(l.file.Name()) //nolint:errcheck // a file that stays is removed when the next worker registers
	l.file.Close()           //nolint:errcheck // nothing is buffered
}

// release gives the lock up and leaves the file for the next sweep to find.
func (l *deadLock) release() error { return l.file.Close() }

// NewHostLocks returns the locks of one queue in a folder, which all its processes on the host must
// name. The prefix begins the names of its files and of no other queue's. It does no more than read
// the identity of the host.
func NewHostLocks(dir, prefix string) (*HostLocks, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("folder of the lock files: %w", err)
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return nil, fmt.Errorf("identify this host: %w", err)
	}
	return &HostLocks{
		dir: dir, prefix: prefix, boot: strings.TrimSpace(string(boot)),
		own: make(map[uuid.UUID]*deadLock), watched: make(map[uuid.UUID]bool),
	}, nil
}

// Boot returns this host's identity, new with each boot: locks of another one say nothing.
func (h *HostLocks) Boot() string { return h.boot }

// Path returns the name of a worker's lock file.
func (h *HostLocks) Path(worker uuid.UUID) string {
	return filepath.Join(h.dir, h.prefix+worker.String()+".lock")
}

// Take makes and locks the file of a worker of this process.
func (h *HostLocks) Take(worker uuid.UUID) error {
	path := h.Path(worker)
	for {
		file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600) // Go sets O_CLOEXEC
		if err != nil {
			return fmt.Errorf("make the worker's lock file: %w", err)
		}
		if err := flock(file, unix.LOCK_EX); err != nil {
			file.Close() //nolint:errcheck // err is the one to tell
			return fmt.Errorf("lock the worker's file: %w", err)
		}
		if !same(file, path) { // a peer took it for a leftover before it was locked
			file.Close() //nolint:errcheck // nothing is buffered
			continue
		}
		h.mu.Lock()
		h.own[worker] = &deadLock{file: file}
		h.mu.Unlock()
		return nil
	}
}

// Drop gives up the lock of a living worker of this process, if there is one: its lease has lapsed,
// or it has unregistered. Peers do not take that for a death; what is left under the worker's name
// comes back by its lease.
func (h *HostLocks) Drop(worker uuid.UUID) {
	h.mu.Lock()
	l := h.own[worker]
	delete(h.own, worker)
	h.mu.Unlock()
	if l != nil {
		l.remove()
	}
}

// Parted says that a worker of this process has ended while the queue was out of reach. The lock is
// kept, so that the end of the process gives the worker's jobs back at once; until then they come
// back by the lease.
func (h *HostLocks) Parted(worker uuid.UUID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if l := h.own[worker]; l != nil {
		l.parted = true
	}
}

// ownWorker returns whether the worker is one of this process, and whether it still works.
func (h *HostLocks) ownWorker(worker uuid.UUID) (own, works bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	l := h.own[worker]
	return l != nil, l != nil && !l.parted
}

// Suspect is a worker as a sweep finds it.
type Suspect struct {
	ID     uuid.UUID
	Boot   string // the identity of its host, as it said it
	Lapsed bool   // its lease has
	// TakeBack makes the jobs of the worker ready again and forgets it, and returns how many they
	// were. It changes nothing when the worker has beaten since it was found, unless dead: its lock
	// is ours then.
	TakeBack func(ctx context.Context, dead bool) (int, error)
}

// Sweep ends those whose lease has lapsed or whose lock on this host is free, and returns how many
// jobs that gave back. It waits for the locks of the others on this host, in a goroutine for each,
// and ends them as soon as they die. What fails, the next sweep does again. A worker of this
// process is left alone while this process holds its lock: it lives, whatever its lease says.
func (h *HostLocks) Sweep(ctx context.Context, suspects []Suspect) (int, error) {
	swept := 0
	var errs []error
	for _, s := range suspects {
		var lock *deadLock
		own, works := h.ownWorker(s.ID)
		if works {
			continue
		}
		peer := s.Boot == h.boot && !own
		if peer {
			lock = tryLock(h.Path(s.ID))
		}
		switch {
		case s.Lapsed || lock != nil:
			n, err := s.end(ctx, lock)
			swept += n
			errs = append(errs, err)
			if err == nil && own {
				h.Drop(s.ID)
			}
		case peer:
			h.watch(s.ID, func(l *deadLock) { s.end(context.Background(), l) }) //nolint:errcheck // as said
		}
	}
	return swept, errors.Join(errs...)
}

// end takes a worker's jobs back. Its lock, if it is ours, goes with it, or stays for the next
// sweep to find.
func (s *Suspect) end(ctx context.Context, lock *deadLock) (int, error) {
	n, err := s.TakeBack(ctx, lock != nil)
	switch {
	case lock == nil:
	case err == nil:
		lock.remove()
	default:
		lock.release() //nolint:errcheck // nothing is buffered
	}
	return n, err
}

func tryLock(path string) *deadLock {
	file, err := os.Open(path)
	if err != nil {
		return nil
	}
	if flock(file, unix.LOCK_EX|unix.LOCK_NB) != nil || !same(file, path) {
		file.Close() //nolint:errcheck // nothing is buffered
		return nil
	}
	return &deadLock{file: file}
}

// watch waits for the lock of another process's worker in a goroutine of its own, once for each,
// and hands it to died then. The wait is a blocking flock: looking each half second could not reach
// the tenth of a second that recovery may take. A lock whose file is gone was given up by a living
// worker, and died is not called; nor is it after Close. The goroutine ends with the worker, for
// the wait cannot be broken off.
func (h *HostLocks) watch(worker uuid.UUID, died func(*deadLock)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || h.watched[worker] {
		return
	}
	file, err := os.Open(h.Path(worker))
	if err != nil {
		return // not seen from here: its lease decides
	}
	h.watched[worker] = true
	go func() {
		defer func() {
			h.mu.Lock()
			defer h.mu.Unlock()
			delete(h.watched, worker)
		}()
		if flock(file, unix.LOCK_EX) != nil || h.isClosed() || !same(file, h.Path(worker)) {
			file.Close() //nolint:errcheck // nothing is buffered
			return
		}
		died(&deadLock{file: file})
	}()
}

func (h *HostLocks) isClosed() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.closed
}

// RemoveLeft removes lock files of this queue whose worker is not among the known ones and holds no
// lock: it died after it had unregistered, or before it registered.
func (h *HostLocks) RemoveLeft(known map[uuid.UUID]bool) error {
	files, err := os.ReadDir(h.dir)
	if err != nil {
		return fmt.Errorf("look for lock files of dead workers: %w", err)
	}
	for _, f := range files {
		name, ours := strings.CutPrefix(f.Name(), h.prefix)
		name, isLock := strings.CutSuffix(name, ".lock")
		id, err := uuid.Parse(name)
		if !ours || !isLock || err != nil || known[id] {
			continue
		}
		if l := tryLock(filepath.Join(h.dir, f.Name())); l != nil {
			l.remove()
		}
	}
	return nil
}

// Close gives up the locks of this process's workers as if it had died: their files stay.
func (h *HostLocks) Close() error {
	h.mu.Lock()
	h.closed = true
	own := h.own
	h.own = make(map[uuid.UUID]*deadLock)
	h.mu.Unlock()
	var errs []error
	for _, l := range own {
		errs = append(errs, l.release())
	}
	return errors.Join(errs...)
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
