package store_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"otpost/internal/store"
)

func TestMain(m *testing.M) {
	if role := os.Getenv("STORE_TEST_ROLE"); role != "" {
		os.Exit(play(role, os.Getenv("STORE_TEST_PATH")))
	}
	goleak.VerifyTestMain(m)
}

// opened opens a database in dir that is closed with the test.
func opened(t *testing.T, dir string) *store.DB {
	t.Helper()
	db, err := store.Open(t.Context(), store.Options{Path: filepath.Join(dir, "otpost.db"), Migrate: true})
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

// put adds a row of the table that the tests write: a setting.
func put(tx *store.Tx, key, value string) {
	tx.Put(`INSERT INTO setting (key, value, type, description) VALUES ($1, $2, '', '')`, key, value)
}

// value reads a row that put made; "" when there is none.
func value(t *testing.T, db *store.DB, key string) (value string) {
	t.Helper()
	err := db.Read(context.Background(), func(r store.Reader) error {
		err := r.Get([]any{&value}, `SELECT value FROM setting WHERE key = $1`, key)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// block takes the writers' lock as another process would, and returns what gives it back.
func block(t *testing.T, db *store.DB) (release func()) {
	t.Helper()
	lock, err := os.OpenFile(db.Path()+"-writer", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := lock.Close(); err != nil {
			t.Error(err)
		}
	}
}

var errOwn = errors.New("the closure's own error")

func TestFailingClosuresDisturbNobodyInTheSameCommit(t *testing.T) {
	t.Parallel()
	db := opened(t, t.TempDir())
	release := block(t, db)
	const each = 20
	type answer struct {
		kind string
		err  error
	}
	answers := make(chan answer, 4*each)
	write := func(kind string, f func(tx *store.Tx) error) {
		go func() { answers <- answer{kind, db.Write(context.Background(), f)} }()
	}
	for i := range each {
		write("good", func(tx *store.Tx) error { put(tx, fmt.Sprint("good", i), "x"); return nil })
		write("error", func(tx *store.Tx) error { put(tx, fmt.Sprint("error", i), "x"); return errOwn })
		write("panic", func(tx *store.Tx) error { put(tx, fmt.Sprint("panic", i), "x"); panic("as the test wants it") })
		write("unique", func(tx *store.Tx) error {
			put(tx, fmt.Sprint("unique", i), "x")
			put(tx, fmt.Sprint("unique", i), "y")
			return nil
		})
	}
	release()
	for range 4 * each {
		a := <-answers
		switch {
		case a.kind == "good" && a.err != nil,
			a.kind == "error" && !errors.Is(a.err, errOwn),
			a.kind == "panic" && a.err == nil,
			a.kind == "unique" && !errors.Is(a.err, store.ErrUnique):
			t.Errorf("%s: %v", a.kind, a.err)
		}
	}
	for i := range each {
		if value(t, db, fmt.Sprint("good", i)) == "" {
			t.Errorf("good %d is lost", i)
		}
		for _, kind := range []string{"error", "panic", "unique"} {
			if value(t, db, fmt.Sprint(kind, i)) != "" {
				t.Errorf("%s %d is half-written", kind, i)
			}
		}
	}
}

// Whatever mix of closures fails, the database holds exactly what the others wrote.
func TestDatabaseHoldsWhatSucceeded(t *testing.T) {
	t.Parallel()
	db := opened(t, t.TempDir())
	rapid.Check(t, func(rt *rapid.T) {
		want := map[string]bool{}
		n := rapid.IntRange(1, 12).Draw(rt, "writes")
		errs := make(chan error, n)
		for range n {
			key := uuid.NewString()
			fails := rapid.Bool().Draw(rt, "fails")
			want[key] = !fails
			do := db.Write
			if rapid.Bool().Draw(rt, "light") {
				do = db.WriteLight
			}
			go func() {
				err := do(context.Background(), func(tx *store.Tx) error {
					put(tx, key, "x")
					if fails {
						return errOwn
					}
					return nil
				})
				if fails && errors.Is(err, errOwn) {
					err = nil
				}
				errs <- err
			}()
		}
		for range n {
			if err := <-errs; err != nil {
				rt.Fatal(err)
			}
		}
		for key, written := range want {
			if got := value(t, db, key) != ""; got != written {
				rt.Fatalf("written %v, want %v", got, written)
			}
		}
	})
}

func TestCallerWhoseContextEndsBeforeTheBeginIsNotRun(t *testing.T) {
	t.Parallel()
	db := opened(t, t.TempDir())
	release := block(t, db)
	for i := range 5 { // the first is in the writer's hands, the others wait behind it
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
		err := db.Write(ctx, func(tx *store.Tx) error { put(tx, fmt.Sprint("given up", i), "x"); return nil })
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("while another process holds the lock: %v", err)
		}
		cancel()
	}
	release()
	if err := db.Write(t.Context(), func(tx *store.Tx) error { put(tx, "after", "x"); return nil }); err != nil {
		t.Error(err)
	}
	for i := range 5 {
		if value(t, db, fmt.Sprint("given up", i)) != "" {
			t.Error("it was run")
		}
	}
}

// More callers than the writer's channel holds: those behind it must see the end of their context, too.
func TestContextEndsTheWaitInALongLine(t *testing.T) {
	t.Parallel()
	db := opened(t, t.TempDir())
	release := block(t, db)
	const callers = 600
	errs := make(chan error, callers)
	for range callers {
		go func() {
			errs <- db.WriteLight(context.Background(), func(tx *store.Tx) error { put(tx, uuid.NewString(), "x"); return nil })
		}()
	}
	for range 10 {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
		err := db.WriteLight(ctx, func(*store.Tx) error { t.Error("run after its end"); return nil })
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		cancel()
	}
	release()
	for range callers {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
}

func TestEndedContextWritesNothing(t *testing.T) {
	t.Parallel()
	db := opened(t, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	err := db.Write(ctx, func(tx *store.Tx) error {
		cancel() // after the begin: the call waits for the commit and tells it
		put(tx, "begun", "x")
		return nil
	})
	if err != nil || value(t, db, "begun") != "x" {
		t.Errorf("begun before the end: %v", err)
	}
}

func TestErrorOfAPutShowsAtTheNextRead(t *testing.T) {
	t.Parallel()
	db := opened(t, t.TempDir())
	err := db.Write(t.Context(), func(tx *store.Tx) error {
		put(tx, "twice", "x")
		put(tx, "twice", "y")
		var n int
		if err := tx.Get([]any{&n}, `SELECT 1`); !errors.Is(err, store.ErrUnique) {
			t.Errorf("at the next read: %v", err)
		}
		return nil
	})
	if !errors.Is(err, store.ErrUnique) {
		t.Errorf("at the end: %v", err)
	}
}

func TestDurabilityIsThatOfTheStrictestCaller(t *testing.T) {
	t.Parallel()
	db := opened(t, t.TempDir())
	const full, normal = 2, 1 // PRAGMA synchronous, as SQLite numbers them
	level := func(got *int) func(tx *store.Tx) error {
		return func(tx *store.Tx) error { return tx.Get([]any{got}, `PRAGMA synchronous`) }
	}
	for range 3 {
		var strict, light int
		if err := errors.Join(db.Write(t.Context(), level(&strict)), db.WriteLight(t.Context(), level(&light))); err != nil {
			t.Fatal(err)
		}
		if strict != full || light != normal {
			t.Errorf("Write %d, WriteLight %d", strict, light)
		}
	}
	release := block(t, db)
	levels := make([]int, 10)
	errs := make(chan error, len(levels))
	for i := range levels {
		do := db.WriteLight
		if i == 5 {
			do = db.Write
		}
		go func() { errs <- do(context.Background(), level(&levels[i])) }()
	}
	release()
	for range levels {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	if levels[5] != full {
		t.Errorf("Write among WriteLight: %v", levels)
	}
}

func TestAfterCommitRunsForWhatIsCommitted(t *testing.T) {
	t.Parallel()
	db := opened(t, t.TempDir())
	seen := ""
	write := func(key string, end error) error {
		return db.Write(t.Context(), func(tx *store.Tx) error {
			put(tx, key, "x")
			tx.AfterCommit(func() { seen += key + value(t, db, key) })
			return end
		})
	}
	if err := errors.Join(write("a", nil), write("c", nil)); err != nil {
		t.Fatal(err)
	}
	if err := write("b", errOwn); !errors.Is(err, errOwn) {
		t.Fatal(err)
	}
	if seen != "axcx" {
		t.Errorf("after commit: %q", seen)
	}
}

func TestReaderSeesOneMoment(t *testing.T) {
	t.Parallel()
	db := opened(t, t.TempDir())
	count := func(r store.Reader) (n int) {
		if err := r.Get([]any{&n}, `SELECT count(*) FROM setting`); err != nil {
			t.Error(err)
		}
		return n
	}
	err := db.Read(t.Context(), func(r store.Reader) error {
		before := count(r)
		if err := db.Write(t.Context(), func(tx *store.Tx) error { put(tx, "a", "x"); return nil }); err != nil {
			return err
		}
		if after := count(r); after != before {
			t.Errorf("%d rows, then %d", before, after)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Each of the Reads holds a connection when it comes to a statement that nobody has prepared yet.
func TestReadsThatBeginTogetherPrepareNewStatements(t *testing.T) {
	t.Parallel()
	db := opened(t, t.TempDir())
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var inside, all sync.WaitGroup
	inside.Add(store.MostReaders)
	for i := range store.MostReaders {
		all.Go(func() {
			err := db.Read(ctx, func(r store.Reader) error {
				inside.Done()
				inside.Wait()
				var n int
				return r.Get([]any{&n}, fmt.Sprintf(`SELECT %d`, i))
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	done := make(chan struct{})
	go func() { defer close(done); all.Wait() }()
	select {
	case <-done:
	case <-ctx.Done():
		t.Fatal("the reads wait for each other")
	}
}

func TestReaderCannotWrite(t *testing.T) {
	t.Parallel()
	db := opened(t, t.TempDir())
	err := db.Read(t.Context(), func(r store.Reader) error {
		var n int
		return r.Get([]any{&n}, `INSERT INTO setting (key, value, type, description) VALUES ('a', '', '', '') RETURNING 1`)
	})
	if !errors.Is(err, store.ErrReadOnly) {
		t.Fatal(err)
	}
}

func TestQueryStopsWithTheErrorOfItsClosure(t *testing.T) {
	t.Parallel()
	db := opened(t, t.TempDir())
	err := db.Write(t.Context(), func(tx *store.Tx) error {
		put(tx, "a", "x")
		put(tx, "b", "x")
		n := 0
		err := tx.Query(func(scan store.Scan) error { n++; return errOwn }, `SELECT key FROM setting`)
		if !errors.Is(err, errOwn) || n != 1 {
			t.Errorf("%d rows, %v", n, err)
		}
		put(tx, "c", "x") // the statement is over: the connection is free
		return nil
	})
	if err != nil || value(t, db, "c") != "x" {
		t.Fatal(err)
	}
}

func TestChangedTellsWhetherARowChanged(t *testing.T) {
	t.Parallel()
	db := opened(t, t.TempDir())
	err := db.Write(t.Context(), func(tx *store.Tx) error {
		put(tx, "a", "x")
		for key, want := range map[string]bool{"a": true, "b": false} {
			got, err := tx.Changed(`UPDATE setting SET value = 'y' WHERE key = $1 RETURNING 1`, key)
			if err != nil || got != want {
				t.Errorf("%s: %v, %v", key, got, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestClosedDatabaseRefuses(t *testing.T) {
	t.Parallel()
	db, err := store.Open(t.Context(), store.Options{Path: filepath.Join(t.TempDir(), "otpost.db"), Migrate: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := db.Write(t.Context(), func(*store.Tx) error { return nil }); !errors.Is(err, store.ErrClosed) {
		t.Errorf("write: %v", err)
	}
	if err := db.Close(); err != nil {
		t.Errorf("closed again: %v", err)
	}
}

func TestNowIsStoredExactly(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		at := time.UnixMilli(rapid.Int64Range(0, 4e12).Draw(t, "ms")).In(time.FixedZone("", 3600))
		if got := store.Time(store.Millis(at)); !got.Equal(at) || got.Location() != time.UTC {
			t.Fatalf("%s became %s", at, got)
		}
	})
}

func TestSignalWakesAnotherHandle(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	db, other := opened(t, dir), opened(t, dir)
	mine, endMine := db.Subscribe()
	theirs, endTheirs := other.Subscribe()
	defer endMine()
	defer endTheirs()
	for i := range 30 {
		key := fmt.Sprint("k", i)
		if err := db.Write(t.Context(), func(tx *store.Tx) error { put(tx, key, "x"); tx.Signal(); return nil }); err != nil {
			t.Fatal(err)
		}
		<-mine
		for value(t, other, key) == "" { // an earlier commit's wake-up may come late
			<-theirs
		}
	}
}

func TestNobodyIsWokenByAFailure(t *testing.T) {
	t.Parallel()
	db := opened(t, t.TempDir())
	commits, end := db.Subscribe()
	defer end()
	err := db.Write(t.Context(), func(tx *store.Tx) error { tx.Signal(); return errOwn })
	if !errors.Is(err, errOwn) {
		t.Fatal(err)
	}
	select {
	case <-commits:
		t.Error("woken")
	default:
	}
}
