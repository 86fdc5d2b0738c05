package redisq_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"otpost/internal/queue"
	"otpost/internal/queue/redisq"
)

// address is one that moves: new connections go to its target, old ones stay where they are.
type address struct {
	listener net.Listener
	mu       sync.Mutex
	target   int
}

func newAddress(t *testing.T, target int) *address {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a := &address{listener: l, target: target}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { a.carry(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		all.Wait() // the driver has ended its connections
	})
	return a
}

func (a *address) carry(c net.Conn) {
	defer c.Close()
	a.mu.Lock()
	to := a.target
	a.mu.Unlock()
	s, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", to))
	if err != nil {
		return
	}
	defer s.Close()
	go func() {
		io.Copy(s, c)
		s.Close()
		c.Close()
	}()
	io.Copy(c, s)
}

func (a *address) move(to int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.target = to
}

func (a *address) url() string { return fmt.Sprintf("redis://%s/0", a.listener.Addr()) }

// replica starts a replica of a server and waits until it has its data.
func replica(t *testing.T, of *server) *server {
	t.Helper()
	r := serve(t, "--replicaof", "127.0.0.1", fmt.Sprint(of.port))
	eventually(t, "the replica has its data", func() bool {
		return strings.Contains(r.cli("INFO replication")[0], "master_link_status:up")
	})
	return r
}

// The old master keeps its connections when it becomes a replica, behind an address that leads to
// the new one: the driver leaves them, the one that blocks too. It does so whether the replica
// refuses writes or, by its setting, takes them.
func TestDemotedMasterBehindTheAddressIsLeft(t *testing.T) {
	t.Parallel()
	for _, readOnly := range []string{"yes", "no"} {
		t.Run("replica-read-only "+readOnly, func(t *testing.T) {
			t.Parallel()
			first := serve(t)
			first.cli("CONFIG SET replica-read-only " + readOnly)
			second := replica(t, first)
			a := newAddress(t, first.port)
			d := openAs(t, redisq.Options{URL: a.url(), Queue: "test", LockDir: t.TempDir()})
			w := register(t, d)
			enqueue(t, d, 1)
			report(t, d, w, claim(t, d, w, 1)...)
			waited := make(chan error, 1)
			go func() { waited <- d.Wait(t.Context(), []string{kind}, nil, time.Minute) }()
			first.blocked()
			second.cli("REPLICAOF NO ONE")
			a.move(second.port)
			first.cli(fmt.Sprintf("REPLICAOF 127.0.0.1 %d", second.port))
			d.Recheck()
			begun := time.Now()
			j := job()
			for {
				if err := d.Enqueue(t.Context(), j); err != nil && !errors.Is(err, redisq.ErrAway) {
					t.Fatal(err)
				}
				if n, err := second.do("HEXISTS", bucket(j.ID.String()), j.ID.String()).AsInt64(); err == nil && n == 1 {
					break
				}
				if time.Since(begun) > 5*time.Second {
					t.Fatal("the new master has no job after 5 s")
				}
			}
			if err := <-waited; err != nil {
				t.Fatal(err)
			}
			if err := d.Heartbeat(t.Context(), w); err != nil && !errors.Is(err, queue.ErrLost) {
				t.Fatal(err)
			}
			if got := claim(t, d, register(t, d), 1); len(got) != 1 || got[0].ID != j.ID {
				t.Fatalf("claimed %+v", got)
			}
		})
	}
}

// A replica is promoted where it is: the driver that was refused by it finds a master.
func TestPromotedReplicaIsFound(t *testing.T) {
	t.Parallel()
	r := replica(t, serve(t))
	d := open(t, r)
	if err := d.Enqueue(t.Context(), job()); !errors.Is(err, redisq.ErrAway) {
		t.Fatalf("enqueue to a replica: %v, want ErrAway", err)
	}
	r.cli("REPLICAOF NO ONE")
	for begun := time.Now(); ; {
		err := d.Enqueue(t.Context(), job())
		if err == nil {
			return
		}
		if !errors.Is(err, redisq.ErrAway) || time.Since(begun) > 5*time.Second {
			t.Fatal(err)
		}
	}
}

// Settings are read again while the connection stands.
func TestEvictingPolicySetAtRunTimeIsRefusedUntilItIsSetBack(t *testing.T) {
	t.Parallel()
	s := serve(t)
	d := open(t, s)
	w := register(t, d)
	s.cli("CONFIG SET maxmemory-policy allkeys-lru")
	d.Recheck()
	var err error
	for begun := time.Now(); err == nil && time.Since(begun) < 5*time.Second; {
		err = d.Heartbeat(t.Context(), w)
	}
	refuses(t, err, "allkeys-lru")
	s.cli("CONFIG SET maxmemory-policy noeviction")
	if err := d.Heartbeat(t.Context(), w); err != nil {
		t.Fatal(err)
	}
}

// What a check warns about is said once, and once more when it was mended in between.
func TestWarningsOfTheChecksAreNotRepeated(t *testing.T) {
	t.Parallel()
	s := serve(t)
	var log bytes.Buffer
	d, err := redisq.OpenAt(redisq.Options{
		URL: s.url(), Queue: "test", LockDir: t.TempDir(), Log: slog.New(slog.NewTextHandler(&log, nil)),
	}, func() time.Time { return time.Now().Add(-time.Minute) }) // the host of this process is a minute behind
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := d.CheckNow(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"redis keeps no append-only file", "clocks of redis and of this host differ"} {
		if n := strings.Count(log.String(), text); n != 1 {
			t.Errorf("%q is said %d times:\n%s", text, n, log.String())
		}
	}
	if !strings.Contains(log.String(), "redis_ahead=1m0") {
		t.Errorf("the difference is not said:\n%s", log.String())
	}
}

// A paused Redis (CLIENT PAUSE, as before a planned failover) is one that hangs for a while; what
// was sent meanwhile is not done twice.
func TestPausedRedisIsAwayAndGoesOn(t *testing.T) {
	t.Parallel()
	for _, what := range []string{"WRITE", "ALL"} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			s := serve(t)
			d := openAs(t, redisq.Options{URL: s.url() + "?socket_timeout=0.5", Queue: "test", LockDir: t.TempDir()})
			w := register(t, d)
			enqueue(t, d, 3)
			s.cli("CLIENT PAUSE 2000 " + what)
			if err := d.Enqueue(t.Context(), job()); !errors.Is(err, redisq.ErrAway) {
				t.Fatalf("enqueue: %v, want ErrAway", err)
			}
			_, err := d.Claim(t.Context(), queue.ClaimRequest{Worker: w, Most: 1, Kinds: []string{kind}})
			if err != nil && !errors.Is(err, redisq.ErrAway) { // the pause may be over
				t.Fatalf("claim: %v", err)
			}
			eventually(t, "the pause is over", func() bool {
				err := d.Reconcile(t.Context(), w, nil)
				if err != nil && !errors.Is(err, redisq.ErrAway) {
					t.Fatal(err)
				}
				return err == nil
			})
			got := map[uuid.UUID]int{}
			for _, c := range claim(t, d, w, 10) {
				got[c.ID]++
				if c.Crashes > 0 {
					t.Errorf("a crash is counted: %+v", c)
				}
			}
			if len(got) < 3 || len(got) > 4 {
				t.Errorf("claimed %d jobs, want the 3, and the one that was sent in the pause at most", len(got))
			}
		})
	}
}

// Whatever is asked of a Redis that hangs ends with the caller's context.
func TestEveryCallEndsWithItsContext(t *testing.T) {
	t.Parallel()
	s := serve(t)
	d := open(t, s)
	w := register(t, d)
	enqueue(t, d, 1)
	pause(t, s)
	calls := map[string]func(ctx context.Context) error{
		"enqueue":    func(ctx context.Context) error { return d.Enqueue(ctx, job()) },
		"run now":    func(ctx context.Context) error { return d.RunNow(ctx, uuid.New()) },
		"register":   func(ctx context.Context) error { return d.Register(ctx, queue.Worker{ID: uuid.New()}) },
		"unregister": func(ctx context.Context) error { return d.Unregister(ctx, uuid.New()) },
		"report":     func(ctx context.Context) error { return d.Report(ctx, w) },
		"hold":       func(ctx context.Context) error { return d.Reconcile(ctx, w, nil) },
		"heartbeat":  func(ctx context.Context) error { return d.Heartbeat(ctx, w) },
		"sweep":      func(ctx context.Context) error { _, err := d.Sweep(ctx); return err },
		"workers":    func(ctx context.Context) error { _, err := d.Workers(ctx); return err },
		"wait":       func(ctx context.Context) error { return d.Wait(ctx, []string{kind}, nil, time.Minute) },
		"status":     func(ctx context.Context) error { _, err := d.Status(ctx); return err },
		"list":       func(ctx context.Context) error { _, err := d.List(ctx, queue.Filter{}); return err },
		"bind":       func(ctx context.Context) error { return d.Bind(ctx, "00112233aabbccdd", "host-a") },
	}
	for name, call := range calls {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		begun := time.Now()
		if err := call(ctx); err == nil {
			t.Errorf("%s of a Redis that hangs succeeds", name)
		}
		if took := time.Since(begun); took > 2*time.Second { // a call without a context takes 3 s
			t.Errorf("%s ends after %s", name, took)
		}
		cancel()
	}
}

// The memory that waits for a Redis which hangs does not grow with the logins: 1,000 a second,
// whose callers wait for half a second each. With OTPOST_SOAK for a minute.
func TestHungRedisTakesABoundedMemory(t *testing.T) { //nolint:paralleltest // it measures the memory of the process
	s := serve(t)
	d := open(t, s)
	enqueue(t, d, 1)
	goOn := pause(t, s)
	seconds := 2
	if os.Getenv("OTPOST_SOAK") != "" {
		seconds = 60
	}
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before, most := heap(), uint64(0)
	var all sync.WaitGroup
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for range seconds {
		for range 100 {
			<-tick.C
			for range 10 {
				all.Go(func() {
					ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
					defer cancel()
					d.Enqueue(ctx, job()) //nolint:errcheck // it fails
				})
			}
		}
		most = max(most, heap())
	}
	all.Wait()
	goOn()
	t.Logf("Redis hung for %d s at 1,000 logins a second: heap %.1f MiB, and %.1f MiB more at most", seconds,
		float64(before)/(1<<20), (float64(most)-float64(before))/(1<<20))
	if most > before+20<<20 {
		t.Errorf("the heap grew from %d to %d bytes", before, most)
	}
}

// Times in the URL that are longer than the lease can wait for are cut, with a warning.
func TestLongTimesOfTheURLAreCut(t *testing.T) {
	t.Parallel()
	l, err := redisq.ParseURL("redis://h?socket_timeout=30&socket_connect_timeout=30")
	if err != nil || l.CallTime != 3*time.Second || l.DialTime != 3*time.Second || len(l.Warnings) != 2 {
		t.Errorf("%+v, %v", l, err)
	}
	l, err = redisq.ParseURL("redis://h?socket_timeout=0.2&socket_connect_timeout=0.1")
	if err != nil || l.CallTime != 200*time.Millisecond || l.DialTime != 100*time.Millisecond || len(l.Warnings) != 0 {
		t.Errorf("%+v, %v", l, err)
	}
}
