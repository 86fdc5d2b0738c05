package sqliteq_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"

	"otpost/internal/queue"
	"otpost/internal/queue/sqliteq"
	"otpost/internal/store"
)

// holdForEver is what this test binary does as a worker process: it claims 8 jobs, prints its id and theirs, a line each, and
// then sits on them until it is killed.
func holdForEver(dir string) int {
	ctx := context.Background()
	db, err := store.Open(ctx, store.Options{Path: filepath.Join(dir, "otpost.db")})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	d, err := sqliteq.Open(db, sqliteq.Options{Queue: "test"})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	w := queue.Worker{ID: uuid.New(), Host: "child", PID: os.Getpid()}
	if err := d.Register(ctx, w); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	got, err := d.Claim(ctx, queue.ClaimRequest{Worker: w.ID, Most: 8, Kinds: []string{kind}})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println(w.ID)
	for _, c := range got {
		fmt.Println(c.ID)
	}
	fmt.Println("end")
	for {
		time.Sleep(queue.BeatEvery)
		if err := d.Beat(ctx, w.ID); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
}

// child starts a worker process and returns it with its worker id and the jobs that it holds.
func child(t *testing.T, dir string) (cmd *exec.Cmd, worker uuid.UUID, held []uuid.UUID) {
	t.Helper()
	cmd = exec.Command(os.Args[0]) //nolint:gosec // this very binary
	cmd.Env = append(os.Environ(), "SQLITEQ_TEST_WORKER="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill() //nolint:errcheck // it is dead already in most tests
		cmd.Wait()         //nolint:errcheck // killed
	})
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != "end" {
		id, err := uuid.Parse(lines.Text())
		if err != nil {
			t.Fatalf("worker process: %q", lines.Text())
		}
		held = append(held, id)
	}
	if len(held) == 0 {
		t.Fatal("the worker process said nothing")
	}
	return cmd, held[0], held[1:]
}

func TestKilledProcessLosesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, d := opened(t, dir, nil)
	w := register(t, d)
	const rounds = 5
	var took []time.Duration
	for range rounds {
		enqueue(t, d, 20)
		cmd, worker, held := child(t, dir)
		if len(held) != 8 {
			t.Fatalf("the worker process holds %d jobs", len(held))
		}
		if n, err := d.Sweep(t.Context()); n != 0 || err != nil { // sees the peer, and waits for its lock from now on
			t.Fatalf("sweep of a living peer: %d, %v", n, err)
		}
		rest := claim(t, d, w, 100)
		if len(rest) != 12 {
			t.Fatalf("claimed %d jobs beside the worker process", len(rest))
		}
		killed := time.Now()
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		back := claimUntil(t, d, w, len(held))
		took = append(took, time.Since(killed).Round(time.Millisecond))
		for _, c := range back {
			if c.Crashes != 1 || c.SweptOwner != worker {
				t.Errorf("job of the killed process: %+v", c)
			}
		}
		report(t, d, append(rest, back...))
	}
	if got := claim(t, d, w, 100); len(got) != 0 {
		t.Errorf("%d jobs twice", len(got))
	}
	t.Logf("handed out again after %v", took)
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

// claimUntil waits and claims until it has n jobs, without sweeping and with the worker beating.
func claimUntil(t *testing.T, d queue.Driver, w uuid.UUID, n int) []queue.Claimed {
	t.Helper()
	var all []queue.Claimed
	for len(all) < n {
		if err := d.Wait(t.Context(), []string{kind}, time.Second); err != nil {
			t.Fatal(err)
		}
		if err := d.Beat(t.Context(), w); err != nil {
			t.Fatal(err)
		}
		all = append(all, claim(t, d, w, n)...)
	}
	return all
}

func report(t *testing.T, d queue.Driver, done []queue.Claimed) {
	t.Helper()
	for _, c := range done {
		if err := d.Report(t.Context(), c.Worker, queue.Result{ID: c.ID, Token: c.Token}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestKilledProcessIsFoundAtTheNextStart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, _, end := open(t, dir, nil)
	_, d, end2 := open(t, dir, nil)
	enqueue(t, d, 3)
	cmd, worker, held := child(t, dir)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait() //nolint:errcheck // killed
	end2()
	end()
	_, d = opened(t, dir, nil)
	w := register(t, d)
	if n, err := d.Sweep(t.Context()); n != len(held) || err != nil {
		t.Fatalf("swept %d, %v", n, err)
	}
	if c := claim(t, d, w, 9); len(c) != 3 || c[0].SweptOwner != worker {
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
	if err := peer.Beat(t.Context(), w); err != nil {
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
	if c := claimUntil(t, d, w, 1)[0]; c.Crashes != 1 {
		t.Fatalf("claimed %+v", c)
	}
}
