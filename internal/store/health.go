package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"
)

const (
	// logEvery is the interval at which the log repeats a trouble that lasts, and the minimum between two such lines.
	logEvery = time.Minute
	// probeSize is what a write must be able to store before the database counts as writable again: a login writes
	// less.
	probeSize = 64 << 10
	// mostCorrupt is how many answers of SQLite within corruptWithin say that the file is damaged
	// before the database is given up.
	mostCorrupt   = 3
	corruptWithin = time.Minute
)

// trouble is a state in which the whole database takes no write of any caller.
type trouble struct {
	err      error
	name     string // for programs
	sentence string // for the log; %s: the database's folder
}

// troubles are all of them. The first that fits counts.
var troubles = [...]trouble{ //nolint:gochecknoglobals // a constant table
	{errLocked, "locked", "another program holds the lock of the database in %s: the database cannot be written, so " +
		"logins fail; end its transaction, no restart is needed"},
	{ErrFull, "full", "the disk of %s is full: the database cannot be written, so logins fail; free space, no " +
		"restart is needed"},
	{ErrReadOnly, "read_only", "the database in %s is read-only: it cannot be written, so logins fail; " +
		"make its file system and its files writable, no restart is needed"},
	{ErrIO, "io", "the disk of %s answers with errors: the database cannot be written, so logins fail; " +
		"the kernel's log (dmesg) has the cause, no restart is needed once the disk works"},
	{ErrCorrupt, "damaged", "the database in %s is damaged, or was overwritten: it cannot be written, so logins fail"},
}

// troubleOf returns the trouble that an error stands for, nil when it concerns its own call only.
func troubleOf(err error) *trouble {
	for i := range troubles {
		if errors.Is(err, troubles[i].err) {
			return &troubles[i]
		}
	}
	return nil
}

// Unusable reports whether an error means that the whole database cannot be used. The store logs that once a minute for
// the process, so that the calls which meet it need not.
func Unusable(err error) bool { return troubleOf(err) != nil }

// health knows whether the database takes writes, by what became of the last ones, and logs when that
// changes. It is safe for concurrent use.
type health struct {
	folder string
	log    *slog.Logger
	lose   func() // gives the database up as damaged

	mu       sync.Mutex
	now      *trouble // nil: writes succeed, as far as is known
	cause    error    // of now
	begun    time.Time
	logged   time.Time // when a begin or a repetition was last logged
	inLog    bool      // now was logged
	probing  bool
	corrupt  int // answers since firstBad
	firstBad time.Time
}

func newHealth(path string, log *slog.Logger, lose func()) *health {
	return &health{folder: filepath.Dir(path), log: log.With("component", "store"), lose: lose}
}

// failed takes the error of a write. One that concerns its own call only changes nothing.
func (h *health) failed(err error) {
	t := troubleOf(err)
	if t == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.now != t {
		h.now, h.begun, h.inLog = t, time.Now(), false
	}
	h.cause = err
	h.report()
}

// ended says that writes succeed again: t is what they failed of, nil for anything.
func (h *health) ended(t error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.now == nil || t != nil && h.now.err != t { //nolint:errorlint // the table's errors, unwrapped
		return
	}
	if h.inLog {
		h.log.Info("the database can be written again", "after", time.Since(h.begun).Round(time.Second))
	}
	h.now, h.cause, h.inLog = nil, nil, false
}

// report logs the trouble unless a line of the last minute did. The caller holds mu.
func (h *health) report() {
	if !h.logged.IsZero() && time.Since(h.logged) < logEvery {
		return
	}
	h.logged, h.inLog = time.Now(), true
	h.log.Error(fmt.Sprintf(h.now.sentence, h.folder), "err", h.cause)
}

// check counts answers of SQLite that say that the file is damaged. Several of them are no accident
// of one page that is never read again: the database is given up, before more is written into what
// may be another database's pages.
func (h *health) check(err error) {
	if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrForeign) {
		return
	}
	h.mu.Lock()
	if time.Since(h.firstBad) > corruptWithin {
		h.corrupt, h.firstBad = 0, time.Now()
	}
	h.corrupt++
	lost := h.corrupt >= mostCorrupt
	h.mu.Unlock()
	if lost {
		h.lose()
	}
}

// trouble returns what is wrong now, the error that showed it, and nil when nothing is.
func (h *health) trouble() (*trouble, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.now, h.cause
}

// due repeats the log line of a trouble that lasts and reports whether a write is to be tried;
// the caller calls probed after it.
func (h *health) due() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.now == nil {
		return false
	}
	h.report()
	// errLocked stands in the table as it is. The writer sees by itself when the lock is free.
	if h.probing || h.now.err == errLocked { //nolint:errorlint // see above
		return false
	}
	h.probing = true
	return true
}

func (h *health) probed() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.probing = false
}

// Trouble says why the database takes no writes now: locked, full, read_only, io or damaged; empty
// when the last writes succeeded.
func (db *DB) Trouble() string {
	if t, _ := db.health.trouble(); t != nil {
		return t.name
	}
	return ""
}

// tryWrite ends the trouble when as much as a login needs can be written.
func (db *DB) tryWrite() {
	defer db.health.probed()
	err := db.WriteLight(context.Background(), func(tx *Tx) error {
		tx.Put(`INSERT INTO write_probe (id, content) VALUES (1, $1)
			ON CONFLICT (id) DO UPDATE SET content = excluded.content`,
			fmt.Appendf(nil, "%*d", probeSize, db.Now().UnixMilli()))
		return nil
	})
	if err == nil {
		db.health.ended(nil)
	}
}

// errDamaged is what the database is lost with when SQLite finds its file damaged.
func errDamaged(path string) error {
	return fmt.Errorf("%w: the database %s is damaged, or was overwritten while otpost ran: stop all programs, "+
		"remove %s, -wal and -shm, copy the backup there, start", ErrCorrupt, path, filepath.Base(path))
}
