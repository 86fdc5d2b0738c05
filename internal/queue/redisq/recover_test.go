package redisq_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"

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
	peer := child(t, s, locks)
	if err := peer.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	peer.Wait()
	long := time.Now().Add(-time.Minute).UnixMilli()
	s.cli(fmt.Sprintf("EVAL return(redis.call('SET',KEYS[1],'%d'..string.char(32)..'0')) 1 otpost:{test}:swept", long))
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
	if err := d.Hold(t.Context(), w, []uuid.UUID{kept.ID}); err != nil {
		t.Fatal(err)
	}
	if c := claim(t, d, w, 5); len(c) != 1 || c[0].Crashes != 0 || c[0].ID == kept.ID {
		t.Fatalf("claimed %+v", c)
	}
}
