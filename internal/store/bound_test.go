package store_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"otpost/internal/fault"
	"otpost/internal/store"
)

// bounded opens a database with other bounds than the program's. The end of the test closes it.
func bounded(t *testing.T, wait, every time.Duration, mostWAL int64) *store.DB {
	t.Helper()
	o := store.Options{Path: filepath.Join(t.TempDir(), "otpost.db"), Migrate: true}
	db, err := store.Open(t.Context(), store.Within(o, wait, every, mostWAL))
	for errors.Is(err, store.ErrBusy) { // a busy machine does not open it within wait
		db, err = store.Open(t.Context(), store.Within(o, wait, every, mostWAL))
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func TestTextsWithoutEndKeepNoStatementsWithoutEnd(t *testing.T) {
	t.Parallel()
	db := opened(t, t.TempDir())
	const texts = 2 * store.MostStatements
	ask := func(r store.Reader, i int) error {
		var n int
		err := r.Get([]any{&n}, fmt.Sprintf(`SELECT %d WHERE $1 = $1`, i), "x")
		if err == nil && n != i {
			err = fmt.Errorf("text %d answered %d", i, n)
		}
		return err
	}
	var all sync.WaitGroup
	for range store.MostReaders {
		all.Go(func() {
			for i := range texts {
				if err := db.Read(t.Context(), func(r store.Reader) error { return ask(r, i) }); err != nil {
					t.Error(err)
				}
			}
		})
	}
	err := db.Write(t.Context(), func(tx *store.Tx) error {
		for i := range texts {
			if err := ask(tx, i); err != nil {
				return err
			}
		}
		return ask(tx, 0) // it was closed meanwhile
	})
	if err != nil {
		t.Error(err)
	}
	all.Wait()
	for i, n := range db.Statements() {
		if n > store.MostStatements {
			t.Errorf("connection %d keeps %d statements of %d texts", i, n, texts)
		}
	}
	if n := db.Statements()[0]; n != store.MostStatements {
		t.Errorf("the writer keeps %d statements: the test did not reach the bound", n)
	}
}

// playCommit begins a transaction, says so and waits for the end of its input before it commits.
func playCommit(path string) error {
	db, err := store.Open(context.Background(), store.Options{Path: path})
	if err != nil {
		return err
	}
	err = db.Write(context.Background(), func(tx *store.Tx) error {
		put(tx, "of the stopped process", "x")
		fmt.Println("in its transaction")
		_, err := io.ReadAll(os.Stdin)
		return err
	})
	return errors.Join(err, db.Close())
}

// begin starts a process and returns its input and the first line of its output.
func begin(t *testing.T, cmd *exec.Cmd) (in io.WriteCloser, line string) {
	t.Helper()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() }) //nolint:errcheck // it may have ended
	line, err = bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return in, line
}

// stopInCommit starts a process, stops it in the middle of its transaction, and returns it with what lets it go on.
func stopInCommit(t *testing.T, path string) (cmd *exec.Cmd, resume func()) {
	t.Helper()
	cmd = process(t, "commit", path)
	in, line := begin(t, cmd)
	if !strings.Contains(line, "in its transaction") {
		t.Fatalf("%q", line)
	}
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	return cmd, func() {
		if err := errors.Join(cmd.Process.Signal(syscall.SIGCONT), in.Close()); err != nil {
			t.Error(err)
		}
	}
}

func TestStoppedProcessInItsCommitMakesOthersBusy(t *testing.T) {
	t.Parallel()
	db := bounded(t, 200*time.Millisecond, 0, 0)
	cmd, resume := stopInCommit(t, db.Path())
	errs := make(chan error)
	const callers = 3000 // more than the line and the bound hold
	for i := range callers {
		go func() {
			errs <- db.WriteLight(context.Background(), func(tx *store.Tx) error {
				put(tx, fmt.Sprint("k", i), "x")
				return nil
			})
		}()
	}
	for range callers {
		if err := <-errs; !errors.Is(err, store.ErrBusy) || fault.CodeOf(err) != fault.Busy {
			t.Fatalf("error %v, want ErrBusy, which is answered with 503", err)
		}
	}
	if n := db.Callers(); n != 0 {
		t.Errorf("%d callers are kept", n)
	}
	if err := db.Read(t.Context(), func(store.Reader) error { return nil }); err != nil {
		t.Errorf("a read beside it: %v", err)
	}
	if err := db.Check(t.Context()); !errors.Is(err, store.ErrBusy) {
		t.Errorf("Check: %v, want ErrBusy", err)
	}
	resume()
	wait(t, cmd)
	eventually(t, "the lock is free", func() bool {
		err := db.Write(t.Context(), func(tx *store.Tx) error { put(tx, "after", "x"); return nil })
		if err != nil && !errors.Is(err, store.ErrBusy) {
			t.Fatal(err)
		}
		return err == nil
	})
	// a busy machine may need more than its time once
	eventually(t, "the database is ready", func() bool {
		err := db.Check(t.Context())
		if err != nil && !errors.Is(err, store.ErrBusy) {
			t.Fatalf("Check afterwards: %v", err)
		}
		return err == nil
	})
	if value(t, db, "of the stopped process") == "" || value(t, db, "k0") != "" {
		t.Error("the stopped transaction is lost, or a refused one was run")
	}
}

// A transaction of this very process that does not end, as on a disk that hangs.
func TestCallersBehindATransactionThatDoesNotEndAreRefused(t *testing.T) {
	t.Parallel()
	db := bounded(t, 100*time.Millisecond, 0, 0)
	begun, end := make(chan struct{}), make(chan struct{})
	first := make(chan error, 1)
	go func() {
		first <- db.Write(context.Background(), func(*store.Tx) error { close(begun); <-end; return nil })
	}()
	<-begun
	errs := make(chan error)
	const callers = store.MostCallers + 500
	for range callers {
		go func() {
			errs <- db.Write(context.Background(), func(*store.Tx) error { t.Error("a refused call was run"); return nil })
		}()
	}
	for range callers {
		if err := <-errs; !errors.Is(err, store.ErrBusy) {
			t.Fatalf("error %v, want ErrBusy", err)
		}
	}
	if err := db.Check(t.Context()); !errors.Is(err, store.ErrBusy) {
		t.Errorf("Check: %v, want ErrBusy", err)
	}
	close(end)
	if err := <-first; err != nil {
		t.Error(err)
	}
	eventually(t, "a write after the long transaction", func() bool {
		return db.Write(t.Context(), func(*store.Tx) error { return nil }) == nil
	})
}

func TestReadsThatHoldAllConnectionsMakeOthersBusy(t *testing.T) {
	t.Parallel()
	db := bounded(t, 100*time.Millisecond, 0, 0)
	end := make(chan struct{})
	var inside, all sync.WaitGroup
	inside.Add(store.MostReaders)
	for range store.MostReaders {
		all.Go(func() {
			if err := db.Read(context.Background(), func(store.Reader) error { inside.Done(); <-end; return nil }); err != nil {
				t.Error(err)
			}
		})
	}
	inside.Wait()
	if err := db.Read(t.Context(), func(store.Reader) error { return nil }); !errors.Is(err, store.ErrBusy) {
		t.Errorf("error %v, want ErrBusy", err)
	}
	close(end)
	all.Wait()
}

// endless is a statement that runs for minutes before its first row, and rows one between its rows.
const (
	counting = `WITH RECURSIVE n (i) AS (SELECT count(*) FROM setting UNION ALL SELECT i + 1 FROM n WHERE i < 2000000000)`
	endless  = counting + ` SELECT max(i) FROM n`
	rows     = counting + ` SELECT i FROM n`
)

// grow writes until the WAL was cut at least so many times and returns the longest that it was seen.
func grow(t *testing.T, db *store.DB, cuts int) (longest int64) {
	t.Helper()
	last := int64(0)
	for i := 0; cuts > 0; i++ {
		err := db.WriteLight(t.Context(), func(tx *store.Tx) error {
			tx.Put(`INSERT INTO setting (key, value, type, description) VALUES ($1, $2, '', '')
				ON CONFLICT DO UPDATE SET value = $2`,
				fmt.Sprint("k", i%50), strings.Repeat(fmt.Sprint(i), 500))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(db.Path() + "-wal")
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() < last {
			cuts--
		}
		if info.Size() > 100*smallWAL {
			t.Fatalf("the WAL grows without end: %d KiB", info.Size()>>10)
		}
		last, longest = info.Size(), max(longest, info.Size())
	}
	return longest
}

// playRead reads until its input ends, so that two of its Reads always overlap; with the bounds of its test.
func playRead(path string) error {
	db, err := store.Open(context.Background(), store.Within(store.Options{Path: path}, 0, smallLook, smallWAL))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	overlap(ctx, &all, db)
	fmt.Println("reads")
	_, err = io.ReadAll(os.Stdin)
	cancel()
	all.Wait()
	return errors.Join(err, db.Close())
}

const (
	smallWAL  = 2 << 20
	smallLook = 100 * time.Millisecond
)

// overlap runs Reads of which two always overlap, until ctx ends.
func overlap(ctx context.Context, all *sync.WaitGroup, db *store.DB) {
	for range 3 {
		all.Go(func() {
			for ctx.Err() == nil {
				db.Read(ctx, func(r store.Reader) error { //nolint:errcheck // it is ended, or ctx has
					var n int
					return r.Get([]any{&n}, `WITH RECURSIVE n (i) AS (
							SELECT count(*) FROM setting UNION ALL SELECT i + 1 FROM n LIMIT 300000)
						SELECT max(i) FROM n`)
				})
			}
		})
	}
}

// The WAL is cut although Reads of this process and of another one overlap without a gap.
func TestWALStaysShortUnderOverlappingReads(t *testing.T) {
	t.Parallel()
	db := bounded(t, 0, smallLook, smallWAL)
	cmd := process(t, "read", db.Path())
	in, _ := begin(t, cmd)
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	overlap(ctx, &all, db)
	t.Logf("the longest WAL: %d KiB", grow(t, db, 2)>>10)
	cancel()
	all.Wait()
	in.Close() //nolint:errcheck // it ends the process
	wait(t, cmd)
}

// A Read that would pin the WAL for minutes is ended for it, before its first row and between rows.
func TestLongReadIsEndedWhenTheWALIsLong(t *testing.T) {
	t.Parallel()
	for _, query := range []string{endless, rows} {
		db := bounded(t, 0, smallLook, smallWAL)
		ended := make(chan error, 1)
		begun := make(chan struct{})
		go func() {
			ended <- db.Read(context.Background(), func(r store.Reader) error {
				close(begun)
				return r.Query(func(scan store.Scan) error { var n int; return scan(&n) }, query)
			})
		}()
		<-begun
		grow(t, db, 1)
		if err := <-ended; !errors.Is(err, store.ErrBusy) || errors.Is(err, context.Canceled) {
			t.Errorf("the read ended with %v, want ErrBusy", err)
		}
		if err := db.Read(t.Context(), func(r store.Reader) error {
			var n int
			return r.Get([]any{&n}, `SELECT 1`)
		}); err != nil {
			t.Errorf("the next read: %v", err)
		}
	}
}

func TestSlowReadIsEnded(t *testing.T) {
	t.Parallel()
	db := bounded(t, 200*time.Millisecond, 0, 0)
	for _, query := range []string{endless, rows} {
		err := db.Read(t.Context(), func(r store.Reader) error {
			return r.Query(func(scan store.Scan) error { var n int; return scan(&n) }, query)
		})
		if !errors.Is(err, store.ErrBusy) || errors.Is(err, context.DeadlineExceeded) || fault.CodeOf(err) != fault.Busy {
			t.Errorf("the read ended with %v, want ErrBusy", err)
		}
	}
}
