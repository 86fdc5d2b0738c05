package queuetest

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/google/uuid"

	"otpost/internal/queue"
)

// HoldForEver is what a test binary does as a worker process of a driver: it claims 8 jobs, prints
// its id and theirs, a line each, and then sits on them until it is killed. It returns the exit
// code when that fails.
func HoldForEver(d queue.Driver) int {
	ctx := context.Background()
	fail := func(err error) int {
		fmt.Fprintln(os.Stderr, err)
		return 1
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
	for range time.Tick(queue.HeartbeatEvery) {
		if err := d.Heartbeat(ctx, w.ID); err != nil {
			return fail(err)
		}
	}
	return 0
}

// Child is a worker process that sits on its jobs.
type Child struct {
	*exec.Cmd
	Worker uuid.UUID
	Held   []uuid.UUID
}

// StartChild starts this test binary once more, with environment variables by which its TestMain
// calls HoldForEver. The test's end kills it.
func StartChild(t *testing.T, environment ...string) Child {
	t.Helper()
	cmd := exec.Command(os.Args[0]) //nolint:gosec // this very binary
	cmd.Env = append(os.Environ(), environment...)
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
	var said []uuid.UUID
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != "end" {
		id, err := uuid.Parse(lines.Text())
		if err != nil {
			t.Fatalf("worker process: %q", lines.Text())
		}
		said = append(said, id)
	}
	if len(said) == 0 {
		t.Fatal("the worker process said nothing")
	}
	return Child{Cmd: cmd, Worker: said[0], Held: said[1:]}
}

// KilledProcessLosesNothing kills worker processes of a driver that lie beside it on this host, and
// wants their jobs back at once, each with a crash to its count and none twice. start starts one.
func KilledProcessLosesNothing(t *testing.T, d queue.Driver, start func() Child) {
	t.Helper()
	q := &subject{t: t, Driver: d, clock: &Clock{}}
	w := queue.Worker{ID: uuid.New(), Host: "host", PID: os.Getpid()}
	if err := d.Register(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	const rounds = 5
	var took []time.Duration
	for range rounds {
		jobs := make([]queue.Job, 20)
		for i := range jobs {
			jobs[i] = queue.Job{ID: newID(), Kind: kind}
		}
		q.put(jobs...)
		child := start()
		if len(child.Held) != 8 {
			t.Fatalf("the worker process holds %d jobs", len(child.Held))
		}
		q.sweep(0) // sees the peer, and waits for its lock from now on
		rest := q.claim(w.ID, 100)
		if len(rest) != 12 {
			t.Fatalf("claimed %d jobs beside the worker process", len(rest))
		}
		killed := time.Now()
		if err := child.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		back := ClaimUntil(t, d, w.ID, len(child.Held))
		took = append(took, time.Since(killed).Round(time.Millisecond))
		for _, c := range back {
			if c.Crashes != 1 || c.SweptOwner != child.Worker {
				t.Errorf("job of the killed process: %+v", c)
			}
		}
		for _, c := range append(rest, back...) {
			q.report(w.ID, queue.Result{ID: c.ID, Token: c.Token})
		}
	}
	if got := q.claim(w.ID, 100); len(got) != 0 {
		t.Errorf("%d jobs twice", len(got))
	}
	t.Logf("handed out again after %v", took)
}

// ClaimUntil waits and claims until it has n jobs, for a minute at most, without sweeping and with the worker's
// heartbeats.
func ClaimUntil(t *testing.T, d queue.Driver, worker uuid.UUID, n int) []queue.Claimed {
	t.Helper()
	q := &subject{t: t, Driver: d, clock: &Clock{}}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var all []queue.Claimed
	for len(all) < n {
		if err := d.Wait(ctx, []string{kind}, nil, time.Second); err != nil {
			t.Fatal(err)
		}
		if err := d.Heartbeat(t.Context(), worker); err != nil {
			t.Fatal(err)
		}
		all = append(all, q.claim(worker, n)...)
	}
	return all
}
