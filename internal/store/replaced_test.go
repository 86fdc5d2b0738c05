package store_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"otpost/internal/store"
)

// rename moves the database and its side files away, as an administrator does before restoring a backup.
func rename(t *testing.T, path string) {
	t.Helper()
	for _, name := range []string{path, path + "-wal", path + "-shm"} {
		if err := os.Rename(name, name+".old"); err != nil {
			t.Fatal(err)
		}
	}
}

// copyFile copies a file to a path where there is none, or writes over the file that is there.
func copyFile(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, paths ...string) {
	t.Helper()
	for _, path := range paths {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

// Each way to put another database into the place of the open one, or to take it away.
func TestReplacedDatabaseIsWrittenNoMore(t *testing.T) {
	t.Parallel()
	for name, replace := range map[string]func(t *testing.T, path, backup string){
		"renamed, and a backup in its place": func(t *testing.T, path, backup string) {
			rename(t, path)
			copyFile(t, backup, path)
		},
		"a backup renamed over it": func(t *testing.T, path, backup string) {
			if err := os.Rename(backup, path); err != nil {
				t.Fatal(err)
			}
		},
		"removed":          func(t *testing.T, path, _ string) { remove(t, path) },
		"removed with all": func(t *testing.T, path, _ string) { remove(t, path, path+"-wal", path+"-shm") },
		"its WAL removed":  func(t *testing.T, path, _ string) { remove(t, path+"-wal") },
		"its WAL replaced": func(t *testing.T, path, _ string) {
			remove(t, path+"-wal")
			copyFile(t, path+"-writer", path+"-wal")
		},
		"its -shm removed":   func(t *testing.T, path, _ string) { remove(t, path+"-shm") },
		"its folder renamed": func(t *testing.T, path, _ string) { renameFolder(t, filepath.Dir(path)) },
		"a folder in its place": func(t *testing.T, path, _ string) {
			remove(t, path)
			if err := os.Mkdir(path, 0o700); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			folder := filepath.Join(t.TempDir(), "state")
			if err := os.Mkdir(folder, 0o700); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(folder, "otpost.db")
			db, err := store.Open(t.Context(), store.Within(store.Options{Path: path, Migrate: true}, 0, smallLook, 0))
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close() //nolint:errcheck // its files are gone
			backup := path + ".bak"
			if err := db.Write(t.Context(), func(tx *store.Tx) error { put(tx, "before", "x"); return nil }); err != nil {
				t.Fatal(err)
			}
			raw(t, path, "VACUUM INTO '"+backup+"'")
			replace(t, path, backup)
			<-db.Lost()
			err = db.Err()
			if !errors.Is(err, store.ErrReplaced) || strings.Contains(err.Error(), "\n") ||
				!strings.Contains(err.Error(), path) {
				t.Errorf("error %q, want one sentence of ErrReplaced with the path", err)
			}
			if err := db.Write(t.Context(), func(tx *store.Tx) error {
				put(tx, "after", "x")
				return nil
			}); !errors.Is(err, store.ErrReplaced) {
				t.Errorf("a write: %v", err)
			}
			if err := db.Read(t.Context(), func(store.Reader) error { return nil }); !errors.Is(err, store.ErrReplaced) {
				t.Errorf("a read: %v", err)
			}
		})
	}
}

func renameFolder(t *testing.T, folder string) {
	t.Helper()
	if err := os.Rename(folder, folder+".old"); err != nil {
		t.Fatal(err)
	}
}

// A transaction does not wait for the next look: nothing is committed to a file that has lost its name.
func TestNothingIsCommittedToAFileWithoutItsName(t *testing.T) {
	t.Parallel()
	db := bounded(t, 0, time.Hour, 0)
	rename(t, db.Path())
	err := db.Write(t.Context(), func(tx *store.Tx) error { put(tx, "after", "x"); return nil })
	if !errors.Is(err, store.ErrReplaced) {
		t.Fatalf("error %v, want ErrReplaced", err)
	}
	select {
	case <-db.Lost():
	default:
		t.Error("the database is not lost")
	}
}

// A backup, and a VACUUM by hand, leave the files what they are.
func TestBackupAndVacuumAreNoReplacement(t *testing.T) {
	t.Parallel()
	db := bounded(t, 0, smallLook, 0)
	raw(t, db.Path(), "VACUUM INTO '"+db.Path()+".bak'", "VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)")
	for range 20 { // more than two looks
		if err := db.Write(t.Context(), func(*store.Tx) error { return nil }); err != nil {
			t.Fatal(err)
		}
		time.Sleep(smallLook / 8)
	}
	if err := db.Err(); err != nil {
		t.Fatal(err)
	}
}

// With the writers' lock file deleted or replaced, processes go on by SQLite's own locks, and lock one file again
// at once.
func TestDeletedLockFileLosesNoUpdate(t *testing.T) {
	t.Parallel()
	db := opened(t, t.TempDir())
	if err := db.Write(t.Context(), func(tx *store.Tx) error { put(tx, "n", "0"); return nil }); err != nil {
		t.Fatal(err)
	}
	lock := db.Path() + "-writer"
	deleting, stop := context.WithCancel(t.Context())
	deleted := make(chan struct{})
	go func() {
		defer close(deleted)
		for i := 0; deleting.Err() == nil; i++ {
			if i%2 == 0 {
				os.Remove(lock) //nolint:errcheck // it may be missing
			} else if err := os.WriteFile(lock+".new", nil, 0o600); err == nil {
				os.Rename(lock+".new", lock) //nolint:errcheck // likewise
			}
			time.Sleep(time.Millisecond)
		}
	}()
	first, second := process(t, "count", db.Path()), process(t, "count", db.Path())
	if err := errors.Join(first.Start(), second.Start()); err != nil {
		t.Fatal(err)
	}
	longest, err := count(db)
	if err != nil {
		t.Error(err)
	}
	wait(t, first)
	wait(t, second)
	stop()
	<-deleted
	if n := value(t, db, "n"); n != fmt.Sprint(3*processWrites) {
		t.Errorf("counted %s, want %d", n, 3*processWrites)
	}
	if err := db.Write(t.Context(), func(*store.Tx) error { return nil }); err != nil {
		t.Fatal(err)
	}
	release := block(t, db) // the file of this name is what the writer locks
	defer release()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := db.Write(ctx, func(*store.Tx) error { return nil }); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a write beside the holder of the lock file: %v", err)
	}
	t.Logf("longest wait: %s", longest)
}

func TestDeletedWakeFileIsMadeAgain(t *testing.T) {
	t.Parallel()
	db := bounded(t, 0, smallLook, 0)
	wake, end := db.Subscribe()
	defer end()
	remove(t, db.Path()+"-wake")
	<-wake // it is made again, and what was missed is looked for
	cmd := process(t, "signal", db.Path())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	<-wake
	wait(t, cmd)
}
