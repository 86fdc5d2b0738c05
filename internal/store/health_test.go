package store_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"otpost/internal/store"
)

// lines keeps what is logged. It is safe for concurrent use.
type lines struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.String()
}

func (l *lines) count(part string) int { return strings.Count(l.String(), part) }

// logged opens a database with small bounds and what it logs.
func logged(t *testing.T, wait time.Duration) (*store.DB, *lines) {
	t.Helper()
	log := &lines{}
	o := store.Options{Path: filepath.Join(t.TempDir(), "otpost.db"), Migrate: true,
		Log: slog.New(slog.NewTextHandler(log, nil))}
	db, err := store.Open(t.Context(), store.Within(o, wait, 20*time.Millisecond, 0))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() }) //nolint:errcheck // it may be damaged
	return db, log
}

// eventually waits for something that a goroutine of the store does soon.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

// A database that is full is not ready, although small writes into free pages may still
// succeed, and is ready again by itself.
func TestFullDatabaseIsNotReadyUntilItTakesWrites(t *testing.T) {
	t.Parallel()
	db, log := logged(t, 0)
	limit := func(pages int) {
		var got int
		err := db.WriteLight(t.Context(), func(tx *store.Tx) error {
			return tx.Get([]any{&got}, fmt.Sprintf(`PRAGMA max_page_count = %d`, pages))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	limit(1) // SQLite makes it the present size
	const writes = 20
	for i := range writes {
		err := db.Write(t.Context(), func(tx *store.Tx) error {
			put(tx, fmt.Sprint("k", i), strings.Repeat("x", 50_000))
			return nil
		})
		if !errors.Is(err, store.ErrFull) || !store.Unusable(err) {
			t.Fatalf("write %d: %v, want ErrFull", i, err)
		}
		if err := db.WriteLight(t.Context(), func(*store.Tx) error { return nil }); err != nil {
			t.Fatalf("a write of nothing: %v", err)
		}
		if err := db.Check(t.Context()); !errors.Is(err, store.ErrFull) {
			t.Fatalf("Check: %v, want ErrFull", err)
		}
	}
	if got := db.Trouble(); got != "full" {
		t.Errorf("trouble %q, want full", got)
	}
	limit(1 << 30)
	eventually(t, "the full database to be writable again", func() bool { return db.Check(t.Context()) == nil })
	begun := "the disk of " + filepath.Dir(db.Path()) +
		" is full: the database cannot be written, so logins fail; free space, no restart is needed"
	if n := log.count(begun); n != 1 {
		t.Errorf("%d lines of the begin, want 1:\n%s", n, log.String())
	}
	if n := log.count("the database can be written again"); n != 1 {
		t.Errorf("%d lines of the end, want 1", n)
	}
}

// SQLite ends the whole transaction when one of its calls finds the disk full. The calls beside it are committed.
func TestCallBesideOneThatFillsTheDiskIsCommitted(t *testing.T) {
	t.Parallel()
	db, _ := logged(t, 0)
	err := db.WriteLight(t.Context(), func(tx *store.Tx) error {
		var pages int
		return tx.Get([]any{&pages}, `PRAGMA max_page_count = 1`) // SQLite makes it the present size
	})
	if err != nil {
		t.Fatal(err)
	}
	started, goOn := make(chan struct{}), make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		if err := db.Write(t.Context(), func(*store.Tx) error { close(started); <-goOn; return nil }); err != nil {
			t.Errorf("the call that goes first: %v", err)
		}
	})
	<-started
	var runs atomic.Int64
	for i := range 9 { // of which each third needs room that is not there
		all.Go(func() {
			err := db.Write(t.Context(), func(tx *store.Tx) error {
				runs.Add(1)
				size := 1
				if i%3 == 0 {
					size = 500_000
				}
				put(tx, fmt.Sprint("k", i), strings.Repeat("x", size))
				return nil
			})
			if filling := i%3 == 0; filling != errors.Is(err, store.ErrFull) || !filling && err != nil {
				t.Errorf("call %d: %v", i, err)
			}
		})
	}
	eventually(t, "nine calls wait", func() bool { return db.WaitingCalls() >= 9 })
	close(goOn)
	all.Wait()
	if runs.Load() <= 9 {
		t.Errorf("the closures ran %d times: no transaction was ended by SQLite", runs.Load())
	}
}

// hold takes SQLite's own lock as a program does that is not otpost, until release is called.
func hold(t *testing.T, path string) (release func()) {
	t.Helper()
	other, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	other.SetMaxOpenConns(1)
	if _, err := other.ExecContext(t.Context(), "BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	return func() {
		if _, err := other.ExecContext(context.Background(), "ROLLBACK"); err != nil {
			t.Error(err)
		}
		other.Close() //nolint:errcheck // nothing was written
	}
}

// Another program holds SQLite's lock: the first call is refused after its time, all later ones at once, and one
// line says so.
func TestLockOfAnotherProgramMakesAllBusyWithinOneWait(t *testing.T) {
	t.Parallel()
	const wait = 500 * time.Millisecond
	db, log := logged(t, wait)
	release := hold(t, db.Path())
	begun := time.Now()
	const calls = 40 // one after the other; with a wait each, 20 s
	for range calls {
		err := db.Write(t.Context(), func(*store.Tx) error { return errors.New("a refused call was run") })
		if !errors.Is(err, store.ErrBusy) {
			t.Fatalf("error %v, want ErrBusy", err)
		}
	}
	if took := time.Since(begun); took > calls/4*wait {
		t.Errorf("%d calls took %s, want one wait of %s together", calls, took, wait)
	}
	if got := db.Trouble(); got != "locked" {
		t.Errorf("trouble %q, want locked", got)
	}
	release()
	eventually(t, "the database to be free", func() bool {
		return db.Write(t.Context(), func(tx *store.Tx) error { put(tx, "after", "x"); return nil }) == nil
	})
	if n := log.count("another program holds the lock of the database"); n != 1 {
		t.Errorf("%d lines of the begin, want 1:\n%s", n, log.String())
	}
	eventually(t, "the line of the end", func() bool { return log.count("the database can be written again") == 1 })
}

// wantDamaged waits until the database is lost as damaged, with the way out in one sentence.
func wantDamaged(t *testing.T, db *store.DB) {
	t.Helper()
	select {
	case <-db.Lost():
	case <-time.After(30 * time.Second):
		t.Fatal("the database is not lost")
	}
	err := db.Err()
	if !errors.Is(err, store.ErrCorrupt) || strings.Contains(err.Error(), "\n") ||
		!strings.Contains(err.Error(), db.Path()) ||
		!strings.Contains(err.Error(), "stop all programs, remove otpost.db, -wal and -shm, copy the backup there, start") {
		t.Errorf("error %q, want the steps of a restore", err)
	}
	if err := db.Write(t.Context(), func(*store.Tx) error { return nil }); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("a write: %v", err)
	}
}

// checkpoint brings what was written into the file of the database.
func checkpoint(t *testing.T, path string) {
	t.Helper()
	raw(t, path, "PRAGMA wal_checkpoint(TRUNCATE)")
}

func TestDatabaseThatIsOverwrittenIsLost(t *testing.T) {
	t.Parallel()
	for name, backup := range map[string]func(t *testing.T, db *store.DB, backup string){
		"by an older copy": func(t *testing.T, db *store.DB, backup string) {
			checkpoint(t, db.Path())
			copyFile(t, db.Path(), backup)
		},
		"by a backup of SQLite": func(t *testing.T, db *store.DB, backup string) {
			raw(t, db.Path(), "VACUUM INTO '"+backup+"'")
		},
		"by a text":  func(t *testing.T, _ *store.DB, backup string) { copyFile(t, os.Args[0], backup) },
		"by nothing": func(t *testing.T, _ *store.DB, backup string) { copyFile(t, os.DevNull, backup) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db, _ := logged(t, 0)
			grow := func(name string) {
				for i := range 10 {
					err := db.Write(t.Context(), func(tx *store.Tx) error {
						put(tx, fmt.Sprint(name, i), strings.Repeat("x", 20_000))
						return nil
					})
					if err != nil {
						t.Fatal(err)
					}
				}
			}
			grow("before")
			copied := filepath.Join(t.TempDir(), "backup.db")
			backup(t, db, copied)
			grow("after")
			checkpoint(t, db.Path())
			time.Sleep(50 * time.Millisecond) // a look, as each second in the program
			copyFile(t, copied, db.Path())
			wantDamaged(t, db)
		})
	}
}

// SQLite finds pages damaged whose header is as it was.
func TestDamagedPagesEndTheDatabaseAndADamagedRowDoesNot(t *testing.T) {
	t.Parallel()
	db, _ := logged(t, 0)
	read := func() error {
		return db.Read(t.Context(), func(r store.Reader) error {
			var n int
			return r.Get([]any{&n}, `SELECT sum(length(value)) FROM setting`)
		})
	}
	for i := range 20 {
		if err := db.Write(t.Context(), func(tx *store.Tx) error {
			put(tx, fmt.Sprint("k", i), strings.Repeat("x", 3_000))
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	checkpoint(t, db.Path())
	for range 10 {
		err := db.Read(t.Context(), func(r store.Reader) error { // a value of a wrong type
			return store.List(r, func(scan store.Scan) error { var n int; return scan(&n) }, `SELECT value FROM setting`)
		})
		if err != nil || db.Err() != nil {
			t.Fatal(err, db.Err())
		}
	}
	f, err := os.OpenFile(db.Path(), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(bytes.Repeat([]byte{0x99}, int(info.Size())-4096), 4096); err != nil {
		t.Fatal(err)
	}
	fresh, err := store.Open(t.Context(), store.Options{Path: db.Path()}) // has no page in its memory
	if err == nil {
		fresh.Close() //nolint:errcheck // it is damaged
	}
	if !errors.Is(err, store.ErrCorrupt) || !strings.Contains(err.Error(), "copy the backup there") {
		t.Errorf("a start on it: %v, want the steps of a restore", err)
	}
	for range 100 {
		if err = read(); err != nil && db.Err() != nil {
			break
		}
		write := db.Write(t.Context(), func(tx *store.Tx) error { tx.Put(`DELETE FROM setting`); return nil })
		t.Log(err, write)
	}
	wantDamaged(t, db)
}

func TestKeysOfAnotherFileAreToldApart(t *testing.T) {
	t.Parallel()
	db, _ := logged(t, 0)
	for _, c := range []struct {
		fingerprint string
		want        bool
	}{{"first", true}, {"first", true}, {"other", false}, {"first", true}} {
		same, err := db.SameKeys(t.Context(), []byte(c.fingerprint))
		if err != nil || same != c.want {
			t.Errorf("%s: %v, %v, want %v", c.fingerprint, same, err, c.want)
		}
	}
}
