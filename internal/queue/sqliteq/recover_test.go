package sqliteq_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/uuid"

	"otpost/internal/queue"
	"otpost/internal/queue/queuetest"
	"otpost/internal/queue/sqliteq"
	"otpost/internal/store"
)

// holdForEver is what this test binary does as a worker process.
func holdForEver(dir string) int {
	fail := func(err error) int {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	db, err := store.Open(context.Background(), store.Options{Path: filepath.Join(dir, "otpost.db")})
	if err != nil {
		return fail(err)
	}
	d, err := sqliteq.Open(db, sqliteq.Options{Queue: "test", LockDir: dir})
	if err != nil {
		return fail(err)
	}
	return queuetest.HoldForEver(d)
}

func child(t *testing.T, dir string) queuetest.Child {
	t.Helper()
	return queuetest.StartChild(t, "SQLITEQ_TEST_WORKER="+dir)
}

func TestKilledProcessLosesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, d := opened(t, dir, nil)
	queuetest.KilledProcessLosesNothing(t, d, func() queuetest.Child { return child(t, dir) })
}

func enqueue(t *testing.T, d queue.Driver, n int) {
	t.Helper()
	var jobs []queue.Job
	for range n {
		jobs = append(jobs, job())
	}
	if err := d.Enqueue(t.Context(), jobs...); err != nil {
		t.Fatal(err)
	}
}

func TestKilledProcessIsFoundAtTheNextStart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, _, end := open(t, dir, nil)
	_, d, end2 := open(t, dir, nil)
	enqueue(t, d, 3)
	peer := child(t, dir)
	if err := peer.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	peer.Wait() //nolint:errcheck // killed
	end2()
	end()
	_, d = opened(t, dir, nil)
	w := register(t, d)
	if n, err := d.Sweep(t.Context()); n != len(peer.Held) || err != nil {
		t.Fatalf("swept %d, %v", n, err)
	}
	if c := claim(t, d, w, 9); len(c) != 3 || c[0].SweptOwner != peer.Worker {
		t.Fatalf("claimed %+v", c)
	}
	seen, err := d.Workers(t.Context())
	if err != nil || len(seen) != 1 || seen[0].ID != w {
		t.Fatalf("workers %+v, %v", seen, err)
	}
	if files := locks(t, dir); len(files) != 1 {
		t.Fatalf("lock files %v", files)
	}
}

func locks(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "queue.test.*.lock"))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// A peer that has a lease is not taken for dead because its lock file cannot be seen.
func TestPeerWithoutAVisibleLockLivesByItsLease(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, d := opened(t, dir, nil)
	_, peer := opened(t, dir, nil)
	enqueue(t, d, 1)
	w := register(t, peer)
	one(t, peer, w)
	for _, f := range locks(t, dir) {
		if err := os.Remove(f); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := d.Sweep(t.Context()); n != 0 || err != nil {
		t.Fatalf("swept %d, %v", n, err)
	}
	if err := peer.Heartbeat(t.Context(), w); err != nil {
		t.Fatal(err)
	}
}

func TestNoLockFileOutlivesItsWorker(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, d := opened(t, dir, nil)
	left := filepath.Join(dir, "queue.test."+uuid.NewString()+".lock")
	if err := os.WriteFile(left, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	w := register(t, d)
	if files := locks(t, dir); len(files) != 1 || files[0] == left {
		t.Fatalf("lock files after the start: %v", files)
	}
	if err := d.Unregister(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	if files := locks(t, dir); len(files) != 0 {
		t.Fatalf("lock files after the end: %v", files)
	}
}

func TestClosedDriverLooksDeadToItsPeer(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, d := opened(t, dir, nil)
	_, peer, end := open(t, dir, nil)
	enqueue(t, d, 1)
	w := register(t, d)
	one(t, peer, register(t, peer))
	if n, err := d.Sweep(t.Context()); n != 0 || err != nil {
		t.Fatalf("swept %d, %v", n, err)
	}
	end()
	if c := queuetest.ClaimUntil(t, d, w, 1)[0]; c.Crashes != 1 {
		t.Fatalf("claimed %+v", c)
	}
}
