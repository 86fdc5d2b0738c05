package redisq_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"

	"otpost/internal/queue"
	"otpost/internal/queue/queuetest"
	"otpost/internal/queue/redisq"
)

// holdForEver is what this test binary does as a worker process.
func holdForEver(url, locks string) int {
	d, err := redisq.Open(redisq.Options{URL: url, Queue: "test", LockDir: locks})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return queuetest.HoldForEver(d)
}

func child(t *testing.T, s *server, locks string) queuetest.Child {
	t.Helper()
	return queuetest.StartChild(t, "REDISQ_TEST_WORKER="+s.url(), "REDISQ_TEST_LOCKS="+locks)
}

func TestKilledProcessLosesNothing(t *testing.T) {
	t.Parallel()
	s, locks := serve(t), t.TempDir()
	d := openAs(t, redisq.Options{URL: s.url(), Queue: "test", LockDir: locks})
	queuetest.KilledProcessLosesNothing(t, d, func() queuetest.Child { return child(t, s, locks) })
	if files, err := filepath.Glob(filepath.Join(locks, "*")); err != nil || len(files) != 1 {
		t.Errorf("lock files %v, %v", files, err)
	}
}

// lapse moves the end of a worker's lease into the past, as if it had not beaten.
func (s *server) lapse(w uuid.UUID) { s.cli("ZADD otpost:{test}:workers XX 1000 " + w.String()) }

// away makes the last look for dead workers one of a minute ago, as if Redis had been away since.
func (s *server) away() {
	s.do("SET", "otpost:{test}:swept", fmt.Sprintf("%d 0", time.Now().Add(-time.Minute).UnixMilli()))
}

// No worker could send a heartbeat while Redis was away. The first worker that comes back must not take the others for
// dead.
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
	s.away()
	for range 3 {
		if n, err := d.Sweep(t.Context()); n != 0 || err != nil {
			t.Fatalf("swept %d, %v", n, err)
		}
	}
	now := time.Now().UnixMilli()
	s.do("SET", "otpost:{test}:swept", fmt.Sprintf("%d %d", now, now-1)) // that lease has passed
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
	peer := child(t, s, locks)
	if err := peer.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	peer.Wait()
	s.away()
	w := register(t, d)
	if n, err := d.Sweep(t.Context()); n != len(peer.Held) || err != nil {
		t.Fatalf("swept %d, %v", n, err)
	}
	if c := claim(t, d, w, 9); len(c) != 3 || c[0].SweptOwner != peer.Worker {
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
	if err := d.Reconcile(t.Context(), w, []uuid.UUID{kept.ID}); err != nil {
		t.Fatal(err)
	}
	if c := claim(t, d, w, 5); len(c) != 1 || c[0].Crashes != 0 || c[0].ID == kept.ID {
		t.Fatalf("claimed %+v", c)
	}
}

// A worker of another host dies and Redis' clock is set back, so that its lease ends an hour
// ahead: one lease later it is swept.
func TestLeaseFromBeforeTheClockWasSetBackEndsSoon(t *testing.T) {
	t.Parallel()
	clock := queuetest.NewClock()
	s := serve(t)
	var drivers []*redisq.Driver
	for range 2 {
		d, err := redisq.OpenAt(redisq.Options{URL: s.url(), Queue: "test", LockDir: t.TempDir()}, clock.Now)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { d.Close() })
		drivers = append(drivers, d)
	}
	d, other := drivers[0], drivers[1]
	w := register(t, other)
	enqueue(t, d, 1)
	claim(t, other, w, 1)
	clock.Advance(-time.Hour)
	for _, want := range []int{0, 1} {
		if n, err := d.Sweep(t.Context()); n != want || err != nil {
			t.Fatalf("swept %d, %v; want %d", n, err, want)
		}
		clock.Advance(queue.Lease)
	}
	if got := claim(t, d, register(t, d), 1); len(got) != 1 || got[0].SweptOwner != w {
		t.Fatalf("claimed %+v", got)
	}
}

// A worker learns that its lease has lapsed and gives its lock up. Its peer on the host must not
// take that for a death.
func TestWorkerThatGivesItsLockUpIsNotTakenForDead(t *testing.T) {
	t.Parallel()
	s, locks := serve(t), t.TempDir()
	o := redisq.Options{URL: s.url(), Queue: "test", LockDir: locks}
	a, b := openAs(t, o), openAs(t, o)
	wa, wb := register(t, a), register(t, b)
	enqueue(t, a, 1)
	held := claim(t, a, wa, 1)[0]
	if n, err := b.Sweep(t.Context()); n != 0 || err != nil { // b waits for a's lock from now on
		t.Fatalf("swept %d, %v", n, err)
	}
	s.away()
	s.lapse(wa)
	if err := a.Heartbeat(t.Context(), wa); !errors.Is(err, queue.ErrLost) {
		t.Fatalf("heartbeat: %v, want ErrLost", err)
	}
	for range 20 { // a peer that takes it for a death needs some milliseconds
		<-time.After(10 * time.Millisecond)
		if got := claim(t, b, wb, 5); len(got) > 0 {
			t.Fatalf("the peer has the job of a living worker: %+v", got)
		}
	}
	if err := a.Report(t.Context(), wa, queue.Result{ID: held.ID, Token: held.Token}); !errors.Is(err, queue.ErrLost) {
		t.Fatalf("report: %v, want ErrLost", err)
	}
	if st, err := b.Status(t.Context()); err != nil || st.Leased+st.Ready[0].Jobs > 0 {
		t.Fatalf("the report of the living worker does not count: %+v, %v", st, err)
	}
}

// A process knows that its own workers live: it sweeps none of them before they have learnt that
// their lease has lapsed.
func TestProcessDoesNotSweepItsOwnWorker(t *testing.T) {
	t.Parallel()
	s := serve(t)
	d := open(t, s)
	w := register(t, d)
	enqueue(t, d, 1)
	claim(t, d, w, 1)
	s.lapse(w)
	if n, err := d.Sweep(t.Context()); n != 0 || err != nil {
		t.Fatalf("swept %d, %v", n, err)
	}
	if err := d.Heartbeat(t.Context(), w); !errors.Is(err, queue.ErrLost) {
		t.Fatalf("heartbeat: %v, want ErrLost", err)
	}
	if n, err := d.Sweep(t.Context()); n != 1 || err != nil {
		t.Fatalf("swept %d, %v; want 1", n, err)
	}
}

// A worker ends while Redis is away. The process goes on with other workers, and its jobs must come
// back all the same.
func TestWorkerThatEndsWhileRedisIsAwayIsSweptByItsProcess(t *testing.T) {
	t.Parallel()
	s, locks := serve(t, "--appendonly", "yes", "--appendfsync", "always"), t.TempDir()
	d := openAs(t, redisq.Options{URL: s.url(), Queue: "test", LockDir: locks})
	w := register(t, d)
	enqueue(t, d, 1)
	claim(t, d, w, 1)
	s.stop()
	if err := d.Unregister(t.Context(), w); !errors.Is(err, redisq.ErrAway) {
		t.Fatalf("unregister: %v, want ErrAway", err)
	}
	s.start()
	s.lapse(w)
	if n, err := d.Sweep(t.Context()); n != 1 || err != nil {
		t.Fatalf("swept %d, %v; want 1", n, err)
	}
	if files, err := filepath.Glob(filepath.Join(locks, "*")); err != nil || len(files) != 0 {
		t.Errorf("lock files %v, %v", files, err)
	}
}

// The only worker process of a host is killed and started again after its lease has lapsed: its
// lock still says that it is dead.
func TestRestartAfterALeaseBringsTheJobsBackAtOnce(t *testing.T) {
	t.Parallel()
	s, locks := serve(t), t.TempDir()
	o := redisq.Options{URL: s.url(), Queue: "test", LockDir: locks}
	first := openAs(t, o)
	enqueue(t, first, 3)
	dead := child(t, s, locks)
	if err := dead.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	dead.Wait()
	s.lapse(dead.Worker)
	s.away()
	d := openAs(t, o)
	w := register(t, d)
	if n, err := d.Sweep(t.Context()); n != 3 || err != nil {
		t.Fatalf("swept %d, %v; want 3", n, err)
	}
	if got := claim(t, d, w, 9); len(got) != 3 || got[0].SweptOwner != dead.Worker {
		t.Fatalf("claimed %+v", got)
	}
	if files, err := filepath.Glob(filepath.Join(locks, "*")); err != nil || len(files) != 1 {
		t.Errorf("lock files %v, %v", files, err)
	}
}
