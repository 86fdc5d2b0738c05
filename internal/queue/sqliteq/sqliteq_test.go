package sqliteq_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"otpost/internal/queue"
	"otpost/internal/queue/queuetest"
	"otpost/internal/queue/sqliteq"
	"otpost/internal/store"
	"otpost/internal/store/storetest"
)

const kind = "test.kind"

func TestMain(m *testing.M) {
	if dir := os.Getenv("SQLITEQ_TEST_WORKER"); dir != "" {
		os.Exit(holdForEver(dir))
	}
	goleak.VerifyTestMain(m)
}

// open opens the database of a folder and the queue "test" in it.
func open(t *testing.T, dir string, now func() time.Time) (*store.DB, *sqliteq.Driver, func()) {
	t.Helper()
	path := filepath.Join(dir, "otpost.db")
	storetest.Create(t, path)
	db, err := store.Open(t.Context(), store.Options{
		Path:     path,
		Migrate:  true,
		Now:      now,
		Prepared: storetest.Record(),
		Twice:    true,
	})
	if err != nil {
		t.Fatal(err)
	}
	d, err := sqliteq.Open(db, sqliteq.Options{Queue: "test", LockDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	return db, d, func() {
		if err := errors.Join(d.Close(), db.Close()); err != nil {
			t.Error(err)
		}
	}
}

// opened is open, closed with the test.
func opened(t *testing.T, dir string, now func() time.Time) (*store.DB, *sqliteq.Driver) {
	t.Helper()
	db, d, end := open(t, dir, now)
	t.Cleanup(end)
	return db, d
}

// bases gives each test of the suite one database, and each queue that it opens a name of its own: making a database is what
// would take the time.
type bases struct {
	mu  sync.Mutex
	all map[*testing.T]*base
}

type base struct {
	db    *store.DB
	clock func() time.Time // of the queue that was opened last; a test opens them one after the other
	n     int
}

func (s *bases) open(t *testing.T, now func() time.Time) (queue.Driver, func()) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.all[t]
	if b == nil {
		b = &base{clock: now}
		b.db, _ = opened(t, t.TempDir(), func() time.Time { return b.clock() })
		s.all[t] = b
	}
	b.clock = now
	b.n++
	d, err := sqliteq.Open(b.db, sqliteq.Options{Queue: fmt.Sprintf("suite-%d", b.n), LockDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	return d, func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestDriverKeepsTheContract(t *testing.T) {
	t.Parallel()
	s := &bases{all: make(map[*testing.T]*base)}
	queuetest.Run(t, s.open)
}

func job() queue.Job { return queue.Job{ID: uuid.Must(uuid.NewV7()), Kind: kind} }

func register(t *testing.T, d queue.Driver) uuid.UUID {
	t.Helper()
	w := queue.Worker{ID: uuid.New(), Host: "host", PID: os.Getpid()}
	if err := d.Register(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	return w.ID
}

func claim(t *testing.T, d queue.Driver, w uuid.UUID, most int) []queue.Claimed {
	t.Helper()
	got, err := d.Claim(t.Context(), queue.ClaimRequest{Worker: w, Most: most, Kinds: []string{kind}})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func one(t *testing.T, d queue.Driver, w uuid.UUID) queue.Claimed {
	t.Helper()
	got := claim(t, d, w, 5)
	if len(got) != 1 {
		t.Fatalf("claimed %d jobs, want 1", len(got))
	}
	return got[0]
}

var errUndo = errors.New("undo")

func TestJobCommitsWithTheTransaction(t *testing.T) {
	t.Parallel()
	db, d := opened(t, t.TempDir(), nil)
	w := register(t, d)
	err := db.Write(t.Context(), func(tx *store.Tx) error {
		d.EnqueueTx(tx, job())
		return errUndo
	})
	if !errors.Is(err, errUndo) {
		t.Fatal(err)
	}
	if got := claim(t, d, w, 5); len(got) != 0 {
		t.Fatal("a job of a transaction that was undone")
	}
	kept := job()
	woken := make(chan error, 1)
	go func() { woken <- d.Wait(t.Context(), []string{kind}, nil, time.Minute) }()
	if err := db.Write(t.Context(), func(tx *store.Tx) error { d.EnqueueTx(tx, kept); return nil }); err != nil {
		t.Fatal(err)
	}
	if err := <-woken; err != nil {
		t.Fatal(err)
	}
	if c := one(t, d, w); c.ID != kept.ID {
		t.Fatalf("claimed %s", c.ID)
	}
}

func TestOutcomeIsReportedInItsTransaction(t *testing.T) {
	t.Parallel()
	db, d := opened(t, t.TempDir(), nil)
	w := register(t, d)
	if err := d.Enqueue(t.Context(), job()); err != nil {
		t.Fatal(err)
	}
	c := one(t, d, w)
	done := queue.Result{ID: c.ID, Token: c.Token, Action: queue.Done}
	report := func(end error) error {
		return db.Write(t.Context(), func(tx *store.Tx) error { return errors.Join(d.ReportTx(tx, w, done), end) })
	}
	if err := report(errUndo); !errors.Is(err, errUndo) {
		t.Fatal(err)
	}
	if !held(t, db, d, c) {
		t.Fatal("the report of a transaction that was undone counts")
	}
	if err := report(nil); err != nil {
		t.Fatal(err)
	}
	if held(t, db, d, c) {
		t.Fatal("held after its end")
	}
	if err := report(nil); err != nil {
		t.Fatalf("a claim that is over: %v", err)
	}
}

func held(t *testing.T, db *store.DB, d *sqliteq.Driver, c queue.Claimed) (held bool) {
	t.Helper()
	err := db.WriteLight(t.Context(), func(tx *store.Tx) (err error) {
		held, err = d.HeldTx(tx, c)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return held
}

// The trace "without LeaseOwn" of the model: a worker that was paused over its lease must not write a dot.
func TestClaimIsNotHeldByAWorkerThatLapsedOrWasSwept(t *testing.T) {
	t.Parallel()
	clock := queuetest.NewClock()
	db, d := opened(t, t.TempDir(), clock.Now)
	w := register(t, d)
	if err := d.Enqueue(t.Context(), job()); err != nil {
		t.Fatal(err)
	}
	c := one(t, d, w)
	clock.Advance(queue.Lease - time.Millisecond)
	if !held(t, db, d, c) {
		t.Fatal("not held within the lease")
	}
	clock.Advance(time.Millisecond)
	if held(t, db, d, c) {
		t.Fatal("held after the lease")
	}
	if err := d.Heartbeat(t.Context(), w); !errors.Is(err, queue.ErrLost) {
		t.Fatal(err)
	}
	if n, err := d.Sweep(t.Context()); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	again := one(t, d, register(t, d))
	if held(t, db, d, c) || !held(t, db, d, again) {
		t.Fatal("held by the swept worker, or not by the new one")
	}
}

// The trace "without Reconcile" of the model: the answer of a claim is lost.
func TestLostAnswerOfAClaimComesBack(t *testing.T) {
	t.Parallel()
	db, d := opened(t, t.TempDir(), nil)
	w := register(t, d)
	if err := d.Enqueue(t.Context(), job(), job()); err != nil {
		t.Fatal(err)
	}
	kept := claim(t, d, w, 1)[0]
	claim(t, d, w, 1) // nobody gets this
	if err := d.Reconcile(t.Context(), w, []uuid.UUID{kept.ID}); err != nil {
		t.Fatal(err)
	}
	if c := one(t, d, w); c.Crashes != 0 || c.ID == kept.ID {
		t.Fatalf("claimed %+v", c)
	}
	if !held(t, db, d, kept) {
		t.Fatal("what was stated went back, too")
	}
}

func TestQueuesOfOneDatabaseAreApart(t *testing.T) {
	t.Parallel()
	db, d := opened(t, t.TempDir(), nil)
	other, err := sqliteq.Open(db, sqliteq.Options{Queue: "test-2", LockDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	w, w2 := register(t, d), register(t, other)
	j := job()
	if err := d.Enqueue(t.Context(), j); err != nil {
		t.Fatal(err)
	}
	if got := claim(t, other, w2, 5); len(got) != 0 {
		t.Fatal("claimed from the other queue")
	}
	if _, err := other.Claim(t.Context(), queue.ClaimRequest{Worker: w}); !errors.Is(err, queue.ErrLost) {
		t.Fatalf("a worker of the other queue: %v", err)
	}
	if one(t, d, w).ID != j.ID {
		t.Fatal("another job")
	}
}

func TestOpenRefusesABadName(t *testing.T) {
	t.Parallel()
	db, _ := opened(t, t.TempDir(), nil)
	for _, name := range []string{"", "A", "a.b", "a/b", "a b", strings.Repeat("a", 65), "a\n"} {
		if _, err := sqliteq.Open(db, sqliteq.Options{Queue: name, LockDir: t.TempDir()}); err == nil {
			t.Errorf("%q was taken", name)
		}
	}
}

func TestWaitSeesAnotherHandlesJob(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, d := opened(t, dir, nil)
	_, peer := opened(t, dir, nil)
	for range 20 {
		woken := make(chan error, 1)
		go func() { woken <- d.Wait(t.Context(), []string{kind}, nil, time.Minute) }()
		if err := peer.Enqueue(t.Context(), job()); err != nil {
			t.Fatal(err)
		}
		if err := <-woken; err != nil {
			t.Fatal(err)
		}
		w := register(t, d)
		c := one(t, d, w)
		if err := d.Report(t.Context(), w, queue.Result{ID: c.ID, Token: c.Token}); err != nil {
			t.Fatal(err)
		}
		if err := d.Unregister(t.Context(), w); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFailedClaimKeepsTheReportsForTheNext(t *testing.T) {
	t.Parallel()
	_, d := opened(t, t.TempDir(), nil)
	w := register(t, d)
	if err := d.Enqueue(t.Context(), job()); err != nil {
		t.Fatal(err)
	}
	c := one(t, d, w)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	req := queue.ClaimRequest{Worker: w, Most: 1, Kinds: []string{kind}, Done: []queue.Result{{ID: c.ID, Token: c.Token}}}
	if _, err := d.Claim(ended, req); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if got, err := d.Claim(t.Context(), req); err != nil || len(got) != 0 {
		t.Fatal(got, err)
	}
	if err := d.Reconcile(t.Context(), w, nil); err != nil {
		t.Fatal(err)
	}
	if got := claim(t, d, w, 1); len(got) != 0 {
		t.Fatal("the job is there still")
	}
}

func TestJobGoesWithTheTransactionThatEndsItsRow(t *testing.T) {
	t.Parallel()
	db, d := opened(t, t.TempDir(), nil)
	w := register(t, d)
	leased, ready, later, dead := job(), job(), job(), job()
	later.RunAt = time.Now().Add(time.Hour)
	all := []uuid.UUID{leased.ID, ready.ID, later.ID, dead.ID}
	if err := d.Enqueue(t.Context(), dead); err != nil {
		t.Fatal(err)
	}
	c := one(t, d, w)
	if err := d.Report(t.Context(), w, queue.Result{ID: c.ID, Token: c.Token, Action: queue.DeadLetter}); err != nil {
		t.Fatal(err)
	}
	if err := d.Enqueue(t.Context(), leased); err != nil {
		t.Fatal(err)
	}
	c = one(t, d, w)
	if err := d.Enqueue(t.Context(), ready, later); err != nil {
		t.Fatal(err)
	}
	remove := func(end error) error {
		return db.Write(t.Context(), func(tx *store.Tx) error { d.RemoveTx(tx, all...); return end })
	}
	count := func() int {
		jobs, err := d.List(t.Context(), queue.Filter{})
		if err != nil {
			t.Fatal(err)
		}
		return len(jobs)
	}
	if err := remove(errUndo); !errors.Is(err, errUndo) || count() != 4 {
		t.Fatalf("%v, %d jobs after a transaction that was undone", err, count())
	}
	if err := remove(nil); err != nil || count() != 1 || !held(t, db, d, c) {
		t.Fatalf("%v, %d jobs are left, want the leased one", err, count())
	}
}
