package redisq_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/redis/rueidis"
	"go.uber.org/goleak"

	"otpost/internal/queue"
	"otpost/internal/queue/redisq"
)

const kind = "test.kind"

func TestMain(m *testing.M) {
	if url := os.Getenv("REDISQ_TEST_WORKER"); url != "" {
		os.Exit(holdForEver(url, os.Getenv("REDISQ_TEST_LOCKS")))
	}
	goleak.VerifyTestMain(m)
}

// server is a redis-server, or another that speaks its protocol, of a test's own.
type server struct {
	t       testing.TB
	program string
	dir     string
	port    int
	args    []string
	cmd     *exec.Cmd
}

// serve starts a redis-server; args are added to its own.
func serve(t testing.TB, args ...string) *server {
	t.Helper()
	return serveBy(t, lookServer(t, redisServer), args...)
}

// serveBy is serve with the file of a server program.
func serveBy(t testing.TB, program string, args ...string) *server {
	t.Helper()
	dir, err := os.MkdirTemp("", "redisq") // t.TempDir is too long for a socket's path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := &server{t: t, program: program, dir: dir, port: freePort(t), args: args}
	s.start()
	t.Cleanup(s.kill)
	return s
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func (s *server) start() {
	s.t.Helper()
	args := []string{
		"--port", strconv.Itoa(s.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", s.dir,
		"--unixsocket", filepath.Join(s.dir, "socket"), "--maxmemory-policy", "noeviction",
	}
	s.cmd = exec.Command(s.program, append(args, s.args...)...)
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	late := time.AfterFunc(time.Minute, func() { s.cmd.Process.Kill() }) // ends the reads below
	defer late.Stop()
	var said strings.Builder
	buffer := make([]byte, 4096)
	for !strings.Contains(said.String(), "The server is now ready to accept connections at") && !strings.Contains(said.String(), "Ready to accept connections") {
		n, err := out.Read(buffer)
		said.Write(buffer[:n])
		if err != nil {
			s.t.Fatalf("%s does not start:\n%s", s.program, said.String())
		}
	}
	go io.Copy(io.Discard, out)
}

// eventually waits until ok returns true, and fails the test after a minute.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); <-time.After(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

// kill kills the server with -9 and waits for its end.
func (s *server) kill() { s.end(syscall.SIGKILL) }

// stop ends the server in order.
func (s *server) stop() { s.end(syscall.SIGTERM) }

func (s *server) end(how syscall.Signal) {
	if s.cmd == nil {
		return
	}
	s.cmd.Process.Signal(how)
	s.cmd.Wait()
	s.cmd = nil
}

func (s *server) url() string { return fmt.Sprintf("redis://127.0.0.1:%d/0", s.port) }

// cli runs commands as redis-cli would, each of words with spaces between them.
func (s *server) cli(commands ...string) []string {
	s.t.Helper()
	c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{fmt.Sprintf("127.0.0.1:%d", s.port)}, ForceSingleClient: true, DisableCache: true})
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close()
	var all []string
	for _, text := range commands {
		m, err := c.Do(context.Background(), c.B().Arbitrary(strings.Fields(text)...).Build()).ToMessage()
		if err != nil && !rueidis.IsRedisNil(err) {
			s.t.Fatalf("%s: %v", text, err)
		}
		all = append(all, m.String())
	}
	return all
}

// open opens the queue "test" of a server, closed with the test.
func open(t *testing.T, s *server) *redisq.Driver {
	t.Helper()
	return openAs(t, redisq.Options{URL: s.url(), Queue: "test", LockDir: t.TempDir()})
}

func openAs(t *testing.T, o redisq.Options) *redisq.Driver {
	t.Helper()
	d, err := redisq.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func job() queue.Job { return queue.Job{ID: uuid.Must(uuid.NewV7()), Kind: kind} }

func enqueue(t *testing.T, d queue.Driver, n int) []queue.Job {
	t.Helper()
	var jobs []queue.Job
	for range n {
		jobs = append(jobs, job())
	}
	if err := d.Enqueue(t.Context(), jobs...); err != nil {
		t.Fatal(err)
	}
	return jobs
}

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

func report(t *testing.T, d queue.Driver, w uuid.UUID, done ...queue.Claimed) {
	t.Helper()
	var results []queue.Result
	for _, c := range done {
		results = append(results, queue.Result{ID: c.ID, Token: c.Token})
	}
	if err := d.Report(t.Context(), w, results...); err != nil {
		t.Fatal(err)
	}
}

func TestOpenRefusesABadName(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", "A", "a.b", "a/b", "a b", "a{b}", strings.Repeat("a", 65), "a\n"} {
		if _, err := redisq.Open(redisq.Options{Queue: name, LockDir: t.TempDir()}); err == nil {
			t.Errorf("%q was taken", name)
		}
	}
}

func TestConcurrentEnqueuesLoseNothing(t *testing.T) {
	t.Parallel()
	d := open(t, serve(t))
	const callers, each = 64, 20
	var all sync.WaitGroup
	var failed atomic.Value
	for range callers {
		all.Go(func() {
			for range each {
				if err := d.Enqueue(context.Background(), job()); err != nil {
					failed.Store(err)
				}
			}
		})
	}
	all.Wait()
	if err := failed.Load(); err != nil {
		t.Fatal(err)
	}
	w, n := register(t, d), 0
	for got := claim(t, d, w, 100); len(got) > 0; got = claim(t, d, w, 100) {
		n += len(got)
		report(t, d, w, got...)
	}
	if n != callers*each {
		t.Fatalf("%d of %d jobs", n, callers*each)
	}
}

func TestBulkEnqueueIsClaimedInItsOrder(t *testing.T) {
	t.Parallel()
	d := open(t, serve(t))
	jobs := enqueue(t, d, 2_345)
	w := register(t, d)
	var got []queue.Claimed
	for more := claim(t, d, w, 1_000); len(more) > 0; more = claim(t, d, w, 1_000) {
		got = append(got, more...)
	}
	if len(got) != len(jobs) {
		t.Fatalf("%d of %d jobs", len(got), len(jobs))
	}
	report(t, d, w, got...)
	if again := claim(t, d, w, 10); len(again) > 0 {
		t.Fatal("done jobs came again")
	}
}

func TestNothingStaysOfADoneJob(t *testing.T) {
	t.Parallel()
	s := serve(t)
	d := open(t, s)
	enqueue(t, d, 3)
	w := register(t, d)
	report(t, d, w, claim(t, d, w, 3)...)
	if err := d.Unregister(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	for _, left := range s.cli("EVAL " + strings.ReplaceAll("return#redis.call('KEYS','*job*')+#redis.call('KEYS','*ready*')+#redis.call('KEYS','*held*')", " ", "") + " 0") {
		if !strings.Contains(left, "0") {
			t.Errorf("keys left: %s", left)
		}
	}
}

func TestScriptFlushIsNotSeen(t *testing.T) {
	t.Parallel()
	s := serve(t)
	d := open(t, s)
	w := register(t, d)
	for range 3 {
		s.cli("SCRIPT FLUSH")
		enqueue(t, d, 2)
		s.cli("SCRIPT FLUSH")
		got := claim(t, d, w, 5)
		if len(got) != 2 {
			t.Fatalf("claimed %d", len(got))
		}
		s.cli("SCRIPT FLUSH")
		report(t, d, w, got...)
		s.cli("SCRIPT FLUSH")
		if err := d.Heartbeat(t.Context(), w); err != nil {
			t.Fatal(err)
		}
		s.cli("SCRIPT FLUSH")
		if _, err := d.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// With an append-only file all is there after a restart, and the first call by a connection that
// has died must not show it.
func TestRestartOfRedisKeepsTheJobs(t *testing.T) {
	t.Parallel()
	s := serve(t, "--appendonly", "yes", "--appendfsync", "always")
	d := open(t, s)
	w := register(t, d)
	enqueue(t, d, 5)
	held := claim(t, d, w, 2)
	s.stop()
	if err := d.Enqueue(t.Context(), job()); !errors.Is(err, redisq.ErrAway) {
		t.Fatalf("with redis stopped: %v, want ErrAway", err)
	}
	if err := d.Heartbeat(t.Context(), w); !errors.Is(err, redisq.ErrAway) || errors.Is(err, queue.ErrLost) {
		t.Fatalf("heartbeat with redis stopped: %v, want ErrAway", err)
	}
	s.start()
	enqueue(t, d, 1)
	if err := d.Reconcile(t.Context(), w, []uuid.UUID{held[0].ID}); err != nil {
		t.Fatal(err)
	}
	got := claim(t, d, w, 10)
	if len(got) != 5 {
		t.Fatalf("claimed %d, want 3 that waited, 1 that was given back and 1 new", len(got))
	}
	report(t, d, w, append(got, held[0])...)
}

// The connection that blocks is another one, and is made again, too.
func TestWaitGoesOnAfterARestart(t *testing.T) {
	t.Parallel()
	s := serve(t)
	d, peer := open(t, s), open(t, s)
	wait := func(most time.Duration) error { return d.Wait(t.Context(), []string{kind}, nil, most) }
	if err := wait(10 * time.Millisecond); err != nil {
		t.Fatal(err)
	}
	s.kill()
	s.start()
	woken := make(chan error, 1)
	go func() { woken <- wait(time.Minute) }()
	enqueue(t, peer, 1)
	if err := <-woken; err != nil {
		t.Fatal(err)
	}
}

func TestRedisThatForgotAllStartsAnew(t *testing.T) {
	t.Parallel()
	s := serve(t)
	d := open(t, s)
	if err := d.Bind(t.Context(), "00112233aabbccdd", "host-a"); err != nil {
		t.Fatal(err)
	}
	w := register(t, d)
	enqueue(t, d, 2)
	old := claim(t, d, w, 1)
	s.cli("FLUSHALL")
	if err := d.Heartbeat(t.Context(), w); !errors.Is(err, queue.ErrLost) {
		t.Fatalf("heartbeat: %v, want ErrLost", err)
	}
	again := queue.Job{ID: old[0].ID, Kind: kind}
	if err := d.Enqueue(t.Context(), again); err != nil {
		t.Fatal(err)
	}
	w = register(t, d)
	got := claim(t, d, w, 10)
	if len(got) != 1 || got[0].Token <= old[0].Token {
		t.Fatalf("claimed %+v after token %d", got, old[0].Token)
	}
	if is := s.cli("GET otpost:{test}:bound"); !strings.Contains(is[0], "00112233aabbccdd") {
		t.Errorf("not bound again: %s", is[0])
	}
}

func TestDriverOpensWithoutRedisAndFindsItLater(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.stop()
	d := open(t, s)
	if err := d.Bind(t.Context(), "00112233aabbccdd", "host-a"); !errors.Is(err, redisq.ErrAway) {
		t.Fatalf("bind: %v, want ErrAway", err)
	}
	if err := d.Wait(t.Context(), []string{kind}, nil, time.Hour); err != nil { // it returns, and the claim tells
		t.Fatalf("wait: %v", err)
	}
	if _, err := d.Claim(t.Context(), queue.ClaimRequest{Worker: uuid.New(), Most: 1, Kinds: []string{kind}}); !errors.Is(err, redisq.ErrAway) {
		t.Fatalf("claim: %v, want ErrAway", err)
	}
	s.start()
	for deadline := time.Now().Add(10 * time.Second); ; {
		err := d.Enqueue(t.Context(), job())
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	if is := s.cli("GET otpost:{test}:bound"); !strings.Contains(is[0], "host-a") {
		t.Errorf("not bound: %s", is[0])
	}
}

// A full Redis refuses new jobs; what is there is done, and there is room again.
func TestFullRedisGoesOn(t *testing.T) {
	t.Parallel()
	s := serve(t)
	d := open(t, s)
	w := register(t, d)
	enqueue(t, d, 50)
	s.cli("CONFIG SET maxmemory 1")
	refused := job()
	if err := d.Enqueue(t.Context(), refused, job()); !errors.Is(err, redisq.ErrAway) || !strings.Contains(err.Error(), "full") {
		t.Fatalf("enqueue: %v, want a full redis", err)
	}
	if err := d.Heartbeat(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := d.Wait(t.Context(), []string{kind}, nil, time.Minute); err != nil {
		t.Fatal(err)
	}
	second := register(t, d)
	got := claim(t, d, w, 20)
	if err := d.Reconcile(t.Context(), w, []uuid.UUID{got[0].ID}); err != nil {
		t.Fatal(err)
	}
	if err := d.Unregister(t.Context(), second); err != nil {
		t.Fatal(err)
	}
	report(t, d, w, got[0])
	rest := claim(t, d, w, 100)
	if len(rest) != 49 {
		t.Fatalf("claimed %d of a full redis", len(rest))
	}
	results := []queue.Result{
		{ID: rest[0].ID, Token: rest[0].Token, Action: queue.Retry, RunAt: time.Now().Add(time.Hour)},
		{ID: rest[1].ID, Token: rest[1].Token, Action: queue.DeadLetter, Reason: "no such row"},
	}
	if err := d.Report(t.Context(), w, results...); err != nil {
		t.Fatal(err)
	}
	report(t, d, w, rest[2:]...)
	s.cli("CONFIG SET maxmemory 0")
	if err := d.Enqueue(t.Context(), refused); err != nil {
		t.Fatal(err)
	}
	if got := claim(t, d, w, 10); len(got) != 1 || got[0].ID != refused.ID {
		t.Fatalf("claimed %+v", got)
	}
}

// A Redis that hangs costs a caller no more than its context. A bounded number of jobs waits for
// it, and what no caller waits for is dropped, so that fresh jobs go first when Redis answers
// again.
func TestHungRedisHoldsABoundedNumberOfJobs(t *testing.T) {
	t.Parallel()
	s := serve(t)
	d := open(t, s)
	enqueue(t, d, 1)
	goOn := pause(t, s)
	const calls = 6_000
	var all sync.WaitGroup
	var away atomic.Int64
	for range calls {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			switch err := d.Enqueue(ctx, job()); {
			case errors.Is(err, redisq.ErrAway):
				away.Add(1)
			case !errors.Is(err, context.DeadlineExceeded):
				t.Errorf("enqueue: %v", err)
			}
			if n := d.WaitingJobs(); n > redisq.MostWaiting {
				t.Errorf("%d jobs wait, %d may", n, redisq.MostWaiting)
			}
		})
	}
	all.Wait()
	if away.Load() == 0 {
		t.Errorf("none of %d calls was refused at once", calls)
	}
	if n := d.WaitingJobs(); n != 0 {
		t.Errorf("%d jobs wait, and no caller", n)
	}
	goOn()
	fresh := job()
	eventually(t, "Redis is back", func() bool {
		err := d.Enqueue(t.Context(), fresh)
		if err != nil && !errors.Is(err, redisq.ErrAway) {
			t.Fatal(err)
		}
		return err == nil
	})
	st, err := d.Status(t.Context())
	// A call that ends by its time-out lets the next batch go. That happens once at most before the callers give up.
	if most := 2 + redisq.MostInFlight + redisq.MostWaiting; err != nil || st.Ready[0].Jobs > most {
		t.Errorf("%d jobs in Redis, %v; want at most %d of %d", st.Ready[0].Jobs, err, most, calls)
	}
}

// A job that has come to its end before a call could take it is left out: its row has its end by
// the relay.
func TestJobThatEndsWhileRedisHangsIsLeftOut(t *testing.T) {
	t.Parallel()
	s := serve(t)
	d := open(t, s)
	enqueue(t, d, 1)
	goOn := pause(t, s)
	results := make(chan error, 10)
	for i := range cap(results) {
		short := job()
		short.NotAfter = time.Now().Add(500 * time.Millisecond)
		if i == cap(results)-1 {
			short.NotAfter = time.Now().Add(time.Hour)
		}
		go func() { results <- d.Enqueue(context.Background(), short) }()
		// Each of the first two has a call of its own, and the others wait in order.
		eventually(t, "the jobs are in order", func() bool {
			return d.CallsUnderWay() >= min(i+1, 2) && d.WaitingJobs() >= i-1
		})
	}
	<-time.After(time.Second)
	goOn()
	for range cap(results) {
		if err := <-results; err != nil && !errors.Is(err, redisq.ErrAway) {
			t.Error(err)
		}
	}
	if st, err := d.Status(t.Context()); err != nil || st.Ready[0].Jobs > 4 {
		t.Errorf("%d jobs in Redis, %v; want the first one, two that were under way, and the one that has not ended",
			st.Ready[0].Jobs, err)
	}
}

func TestWaitOfAnotherProcessIsWoken(t *testing.T) {
	t.Parallel()
	s := serve(t)
	d, peer := open(t, s), open(t, s)
	w := register(t, d)
	var took []time.Duration
	const rounds = 51
	for range rounds {
		woken := make(chan error, 1)
		go func() { woken <- d.Wait(t.Context(), []string{kind}, nil, time.Minute) }()
		begun := time.Now()
		enqueue(t, peer, 1)
		if err := <-woken; err != nil {
			t.Fatal(err)
		}
		got := claim(t, d, w, 1)
		took = append(took, time.Since(begun))
		if len(got) != 1 {
			t.Fatal("woken for nothing")
		}
		report(t, d, w, got...)
	}
	slices.Sort(took)
	t.Logf("from enqueue to claim %s (median)", took[rounds/2])
	if took[rounds/2] > 700*time.Millisecond { // a second is when Wait looks by itself
		t.Errorf("half of the jobs were picked up after %s", took[rounds/2])
	}
}

// Two processes wait, and one mark is popped: the claim that leaves jobs wakes the other. A second
// is when it would have looked by itself; on a busy machine a round may take as long, not each of
// them.
func TestClaimThatLeavesJobsWakesTheNext(t *testing.T) {
	t.Parallel()
	s := serve(t)
	var took []time.Duration
	for range 10 {
		if took = append(took, takeTwo(t, s)); took[len(took)-1] < 700*time.Millisecond {
			return
		}
	}
	t.Errorf("both jobs taken after %v", took)
}

// takeTwo returns how long two processes take for a job each.
func takeTwo(t *testing.T, s *server) time.Duration {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	taken := make(chan error, 2)
	for range 2 {
		d := open(t, s)
		w := register(t, d)
		go func() {
			taken <- func() error {
				for {
					if err := d.Wait(ctx, []string{kind}, nil, time.Minute); err != nil {
						return err
					}
					got, err := d.Claim(ctx, queue.ClaimRequest{Worker: w, Most: 1, Kinds: []string{kind}})
					if err != nil || len(got) == 1 { // it sits on the job: only the other can take the second
						return err
					}
				}
			}()
		}()
	}
	adding := open(t, s)
	begun := time.Now()
	enqueue(t, adding, 2)
	for range 2 {
		if err := <-taken; err != nil {
			t.Fatal(err)
		}
	}
	return time.Since(begun)
}
