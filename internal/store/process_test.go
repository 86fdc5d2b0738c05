package store_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"otpost/internal/store"
)

const processWrites = 150

// play is what this test binary does as another process; it returns the exit code.
func play(role, path string) int {
	err := errors.New("no such role")
	switch role {
	case "migrate":
		err = playMigrate(path)
	case "count":
		err = playCount(path)
	case "signal":
		err = playSignal(path)
	case "readonly":
		err = playReadOnly(path)
	case "commit":
		err = playCommit(path)
	case "read":
		err = playRead(path)
	case "full":
		err = playFull(path)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// process starts this test binary in a role.
func process(t *testing.T, role, path string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0]) //nolint:gosec // this very binary
	cmd.Env = append(os.Environ(), "STORE_TEST_ROLE="+role, "STORE_TEST_PATH="+path)
	cmd.Stderr = &strings.Builder{}
	return cmd
}

// wait waits for a process that must succeed.
func wait(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Wait(); err != nil {
		t.Errorf("process: %v\n%s", err, cmd.Stderr)
	}
}

func playMigrate(path string) error {
	db, err := store.Open(context.Background(), store.Options{Path: path, Migrate: true})
	if err != nil {
		return err
	}
	return db.Close()
}

func TestProcessesMigrateOneAfterTheOther(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "otpost.db")
	var all []*exec.Cmd
	for range 4 {
		cmd := process(t, "migrate", path)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		all = append(all, cmd)
	}
	for _, cmd := range all {
		wait(t, cmd)
	}
	db := opened(t, filepath.Dir(path))
	var instances int
	err := db.Read(t.Context(), func(r store.Reader) error { return r.Get([]any{&instances}, `SELECT count(*) FROM instance`) })
	if err != nil || instances != 1 {
		t.Fatalf("%d instances, %v", instances, err)
	}
}

// count adds one to a row again and again, each in a transaction of its own, and returns the longest wait.
func count(db *store.DB) (longest time.Duration, err error) {
	for range processWrites {
		begun := time.Now()
		err := db.WriteLight(context.Background(), func(tx *store.Tx) error {
			var n int
			if err := tx.Get([]any{&n}, `SELECT CAST(value AS INTEGER) FROM setting WHERE key = 'n'`); err != nil {
				return err
			}
			tx.Put(`UPDATE setting SET value = $1 WHERE key = 'n'`, fmt.Sprint(n+1))
			return nil
		})
		if err != nil {
			return 0, err
		}
		longest = max(longest, time.Since(begun))
	}
	return longest, nil
}

func playCount(path string) error {
	db, err := store.Open(context.Background(), store.Options{Path: path})
	if err != nil {
		return err
	}
	_, err = count(db)
	return errors.Join(err, db.Close())
}

func TestProcessesWriteWithoutLosingUpdates(t *testing.T) {
	t.Parallel()
	db := opened(t, t.TempDir())
	if err := db.Write(t.Context(), func(tx *store.Tx) error { put(tx, "n", "0"); return nil }); err != nil {
		t.Fatal(err)
	}
	var all []*exec.Cmd
	for range 2 {
		cmd := process(t, "count", db.Path())
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		all = append(all, cmd)
	}
	longest, err := count(db)
	if err != nil {
		t.Error(err)
	}
	for _, cmd := range all {
		wait(t, cmd)
	}
	if n := value(t, db, "n"); n != fmt.Sprint(3*processWrites) {
		t.Errorf("counted %s, want %d", n, 3*processWrites)
	}
	t.Logf("longest wait beside two other processes: %s", longest)
}

func playSignal(path string) error {
	db, err := store.Open(context.Background(), store.Options{Path: path})
	if err != nil {
		return err
	}
	for i := range processWrites {
		err = errors.Join(err, db.Write(context.Background(), func(tx *store.Tx) error {
			put(tx, fmt.Sprint("k", i), "x")
			tx.Signal()
			return nil
		}))
	}
	return errors.Join(err, db.Close())
}

// No polling: whoever looks only when woken sees every row.
func TestSignalWakesAnotherProcess(t *testing.T) {
	t.Parallel()
	db := opened(t, t.TempDir())
	commits, end := db.Subscribe()
	defer end()
	cmd := process(t, "signal", db.Path())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	late := time.After(time.Minute)
	seen := 0
	for seen < processWrites {
		select {
		case <-commits:
		case <-late:
			t.Fatalf("%d of %d rows were seen within a minute", seen, processWrites)
		}
		for seen < processWrites && value(t, db, fmt.Sprint("k", seen)) != "" {
			seen++
		}
	}
	wait(t, cmd)
}

// playReadOnly opens a database that this user may not write, or beside which he may make no files; root becomes nobody first.
func playReadOnly(path string) error {
	if os.Geteuid() == 0 {
		if err := errors.Join(syscall.Setgid(65534), syscall.Setuid(65534)); err != nil {
			return err
		}
	}
	for _, migrate := range []bool{true, false} {
		db, err := store.Open(context.Background(), store.Options{Path: path, Migrate: migrate})
		if err == nil {
			db.Close() //nolint:errcheck // the test has failed
		}
		if !errors.Is(err, store.ErrReadOnly) || !strings.Contains(err.Error(), "chmod u+") || strings.Contains(err.Error(), "\n") {
			return fmt.Errorf("error %w, want one sentence of ErrReadOnly with what to do", err)
		}
	}
	return nil
}

func TestReadOnlyDatabaseSaysSo(t *testing.T) {
	t.Parallel()
	for _, mode := range []struct{ database, beside, folder os.FileMode }{
		{0o444, 0o444, 0o555}, {0o444, 0o444, 0o755}, {0o400, 0o600, 0o700}, {0o600, 0o600, 0o500},
	} {
		dir, err := os.MkdirTemp("", "store") // t.TempDir is closed to nobody
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) }) //nolint:errcheck // a temporary folder
		path := filepath.Join(dir, "otpost.db")
		open(t, path)
		before := contents(t, dir)
		for name := range before {
			file, allowed := filepath.Join(dir, name), mode.beside
			if name == "otpost.db" {
				allowed = mode.database
			}
			if err := errors.Join(os.Chmod(file, allowed), own(file)); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(own(dir), os.Chmod(dir, mode.folder)); err != nil {
			t.Fatal(err)
		}
		cmd := process(t, "readonly", path)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		wait(t, cmd)
		if string(contents(t, dir)["otpost.db"]) != string(before["otpost.db"]) {
			t.Error("the file was written")
		}
		os.Chmod(dir, 0o700) //nolint:errcheck // so that it can be removed
	}
}

// own gives a file to nobody, if we are root; else it is ours, as the process will be.
func own(path string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	return os.Chown(path, 65534, 65534)
}

// playFull fills a small disk of its own.
func playFull(path string) error {
	if err := unix.Mount("none", path, "tmpfs", 0, "size=2m"); err != nil {
		return err
	}
	ctx := context.Background()
	db, err := store.Open(ctx, store.Options{Path: filepath.Join(path, "otpost.db"), Migrate: true})
	if err != nil {
		return err
	}
	written := 0
	for ; err == nil && written < 10_000; written++ {
		err = db.Write(ctx, func(tx *store.Tx) error { put(tx, fmt.Sprint("k", written), strings.Repeat("x", 5000)); return nil })
	}
	if !errors.Is(err, store.ErrFull) {
		return fmt.Errorf("after %d rows: %w, want ErrFull", written, err)
	}
	if err := db.Close(); err != nil {
		return fmt.Errorf("close: %w", err)
	}
	db, err = store.Open(ctx, store.Options{Path: filepath.Join(path, "otpost.db")})
	if err != nil {
		return fmt.Errorf("open again: %w", err)
	}
	defer db.Close() //nolint:errcheck // the test is over
	var rows int
	if err := db.Read(ctx, func(r store.Reader) error { return r.Get([]any{&rows}, `SELECT count(*) FROM setting`) }); err != nil {
		return err
	}
	if rows != written-1 {
		return fmt.Errorf("%d rows of %d are there", rows, written-1)
	}
	return nil
}

// The same as TestFullDatabaseLosesNothing on a disk that is really full, where a mount of one's own is allowed.
func TestFullDiskLosesNothing(t *testing.T) {
	t.Parallel()
	cmd := process(t, "full", t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	if err := cmd.Start(); errors.Is(err, unix.EPERM) {
		t.Log("no mounts here: not tried")
		return
	} else if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil && !strings.Contains(fmt.Sprint(cmd.Stderr), "operation not permitted") {
		t.Errorf("process: %v\n%s", err, cmd.Stderr)
	}
}
