package redisq_test

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
	"otpost/internal/queue/redisq"
)

// holdForEver is what this test binary does as a worker process: it claims 8 jobs, prints its id and theirs, a line each, and
// then sits on them until it is killed.
func holdForEver(url, locks string) int {
	ctx := context.Background()
	fail := func(err error) int {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	d, err := redisq.Open(redisq.Options{URL: url, Queue: "test", LockDir: locks})
	if err != nil {
		return fail(err)
	}
	w := queue.Worker{ID: uuid.New(), Host: "child", PID: os.Getpid()}
	if err := d.Register(ctx, w); err != nil {
		return fail(err)
	}
	got, err := d.Claim(ctx, queue.ClaimRequest{Worker: w.ID, Most: 8, Kinds: []string{kind}})
	if err != nil {
		return fail(err)
	}
	fmt.Println(w.ID)
	for _, c := range got {
		fmt.Println(c.ID)
	}
	fmt.Println("end")
	for range time.Tick(queue.BeatEvery) {
		if err := d.Beat(ctx, w.ID); err != nil {
			return fail(err)
		}
	}
	return 0
}

// child starts a worker process and returns it with its worker id and the jobs that it holds.
func child(t *testing.T, s *server, locks string) (cmd *exec.Cmd, worker uuid.UUID, held []uuid.UUID) {
	t.Helper()
	cmd = exec.Command(os.Args[0]) //nolint:gosec // this very binary
	cmd.Env = append(os.Environ(), "REDISQ_TEST_WORKER="+s.url(), "REDISQ_TEST_LOCKS="+locks)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
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
	s, locks := serve(t), t.TempDir()
	d := openAs(t, redisq.Options{URL: s.url(), Queue: "test", LockDir: locks})
	w := register(t, d)
	const rounds = 5
	var took []time.Duration
	for range rounds {
		enqueue(t, d, 20)
		cmd, worker, held := child(t, s, locks)
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
		report(t, d, w, append(rest, back...)...)
	}
	if got := claim(t, d, w, 100); len(got) != 0 {
		t.Errorf("%d jobs twice", len(got))
	}
	if files, err := filepath.Glob(filepath.Join(locks, "*")); err != nil || len(files) != 1 {
		t.Errorf("lock files %v, %v", files, err)
	}
	t.Logf("handed out again after %v", took)
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

// lapse moves the end of a worker's lease into the past, as if it had not beaten.
func (s *server) lapse(w uuid.UUID) { s.cli("ZADD otpost:{test}:workers XX 1000 " + w.String()) }

// Nobody could beat while Redis was away: whoever comes back first must not take the others for dead.
func TestNobodyIsSweptAfterRedisWasAway(t *testing.T) {
	t.Parallel()
	s := serve(t)
	d, peer := open(t, s), open(t, s)
	w := register(t, peer)
	enqueue(t, d, 1)
	claim(t, peer, w, 1)
	if _, err := d.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.lapse(w)
	long := time.Now().Add(-time.Minute).UnixMilli()
	s.cli(fmt.Sprintf("EVAL return(redis.call('SET',KEYS[1],'%d'..string.char(32)..'0')) 1 otpost:{test}:swept", long)) // the last look was a minute ago
	for range 3 {
		if n, err := d.Sweep(t.Context()); n != 0 || err != nil {
			t.Fatalf("swept %d, %v", n, err)
		}
	}
	now := time.Now().UnixMilli()
	s.cli(fmt.Sprintf("EVAL return(redis.call('SET',KEYS[1],'%d'..string.char(32)..'%d')) 1 otpost:{test}:swept", now, now-1)) // that lease has passed
	if n, err := d.Sweep(t.Context()); n != 1 || err != nil {
		t.Fatalf("swept %d, %v; want 1", n, err)
	}
}

// A lock says that its worker is dead, whatever Redis was.
func TestKilledPeerIsSweptThoughRedisWasAway(t *testing.T) {
	t.Parallel()
	s, locks := serve(t), t.TempDir()
	d := openAs(t, redisq.Options{URL: s.url(), Queue: "test", LockDir: locks})
	enqueue(t, d, 3)
	cmd, worker, held := child(t, s, locks)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	long := time.Now().Add(-time.Minute).UnixMilli()
	s.cli(fmt.Sprintf("EVAL return(redis.call('SET',KEYS[1],'%d'..string.char(32)..'0')) 1 otpost:{test}:swept", long))
	w := register(t, d)
	if n, err := d.Sweep(t.Context()); n != len(held) || err != nil {
		t.Fatalf("swept %d, %v", n, err)
	}
	if c := claim(t, d, w, 9); len(c) != 3 || c[0].SweptOwner != worker {
		t.Fatalf("claimed %+v", c)
	}
}

// The answer of a claim is lost: the living worker states what it holds.
func TestLostAnswerOfAClaimComesBack(t *testing.T) {
	t.Parallel()
	d := open(t, serve(t))
	w := register(t, d)
	enqueue(t, d, 2)
	kept := claim(t, d, w, 1)[0]
	claim(t, d, w, 1) // nobody gets this
	if err := d.Hold(t.Context(), w, []uuid.UUID{kept.ID}); err != nil {
		t.Fatal(err)
	}
	if c := claim(t, d, w, 5); len(c) != 1 || c[0].Crashes != 0 || c[0].ID == kept.ID {
		t.Fatalf("claimed %+v", c)
	}
}
