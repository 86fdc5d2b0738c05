package redisq_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"otpost/internal/queue"
	"otpost/internal/queue/redisq"
)

// fill adds n ready jobs of a line by a script of the server's own, each with a record; they became
// due at dueAt and ended at endAt.
func (s *server) fill(line string, n int, dueAt, endAt time.Time) {
	s.t.Helper()
	const script = `redis.call('SADD', 'otpost:{test}:kinds', ARGV[1])
		for i = tonumber(ARGV[5]), tonumber(ARGV[2]) do
			local id = string.format('%08x-%04x-7000-8000-%012x', i, #ARGV[1], i)
			local bucket = 'otpost:{test}:job:' .. tonumber(string.sub(id, -2), 16) % 64
			redis.call('HSET', bucket, id, '1 r 0 ' .. ARGV[3] .. ' ' .. ARGV[4] .. ' 1000 0 0 - - ' .. ARGV[1] .. '\n')
			redis.call('ZADD', 'otpost:{test}:ready:' .. ARGV[1] .. ':0', ARGV[3], id)
		end`
	end := int64(0)
	if !endAt.IsZero() {
		end = endAt.UnixMilli()
	}
	const part = 20_000 // so many do not exceed the time of a call
	for first := 1; first <= n; first += part {
		last := min(first+part-1, n)
		s.do("EVAL", script, "0", line, strconv.Itoa(last), strconv.FormatInt(dueAt.UnixMilli(), 10),
			strconv.FormatInt(end, 10), strconv.Itoa(first))
	}
}

// commands returns how many commands the server has run, those of scripts included: what a call
// costs, whatever else the machine does.
func (s *server) commands() (n int) {
	s.t.Helper()
	for line := range strings.Lines(s.do("INFO", "commandstats").String()) {
		if _, rest, found := strings.Cut(line, ":calls="); found {
			calls, _, _ := strings.Cut(rest, ",")
			c, err := strconv.Atoi(calls)
			if err != nil {
				s.t.Fatal(err)
			}
			n += c
		}
	}
	return n
}

// scale is how many jobs a backlog has: a tenth of what is promised, or all with OTPOST_SOAK.
func scale(n int) int {
	if os.Getenv("OTPOST_SOAK") == "" {
		return n / 10
	}
	return n
}

// A claim past the jobs of a full lane costs what it costs without them.
func TestClaimPastAFullLaneCostsNoMore(t *testing.T) {
	t.Parallel()
	s := serve(t)
	d := open(t, s)
	w := register(t, d)
	cost := func() int {
		j := job()
		j.Lane = "healthy"
		if err := d.Enqueue(t.Context(), j); err != nil {
			t.Fatal(err)
		}
		before := s.commands()
		if err := d.Wait(t.Context(), []string{kind}, []string{"dead server"}, time.Minute); err != nil {
			t.Fatal(err)
		}
		got, err := d.Claim(t.Context(), queue.ClaimRequest{Worker: w, Most: 8, Kinds: []string{kind},
			Full: []string{"dead server"}})
		if err != nil || len(got) != 1 || got[0].ID != j.ID || got[0].Lane != "healthy" {
			t.Fatalf("claimed %+v, %v", got, err)
		}
		after := s.commands()
		report(t, d, w, got...)
		return after - before
	}
	cost()
	alone := cost()
	s.fill(kind+"/dead%20server", scale(100_000), time.Now().Add(-time.Minute), time.Now().Add(time.Hour))
	w = register(t, d) // the first lease may have lapsed
	if beside := cost(); beside > alone+20 {
		t.Errorf("a claim takes %d commands beside a full lane, and %d without", beside, alone)
	}
}

// A full lane's jobs set the mark for other processes, and the process in which it is full does not
// spin on it.
func TestMarkOfAFullLaneReachesTheOthersAndDoesNotSpin(t *testing.T) {
	t.Parallel()
	s := serve(t)
	full, idle := open(t, s), open(t, s)
	w := register(t, idle)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	waited := make(chan error, 1)
	go func() { waited <- full.Wait(ctx, []string{kind}, []string{"slow"}, time.Minute) }()
	s.blocked()
	j := job()
	j.Lane = "slow"
	if err := full.Enqueue(t.Context(), j); err != nil {
		t.Fatal(err)
	}
	before := s.commands()
	<-time.After(time.Second)
	if n := s.commands() - before; n > 400 { // a pop, a look and the mark again are about 30
		t.Errorf("%d commands in a second of waiting beside a full lane", n)
	}
	if err := idle.Wait(t.Context(), []string{kind}, nil, time.Minute); err != nil {
		t.Fatal(err)
	}
	if got := claim(t, idle, w, 5); len(got) != 1 || got[0].ID != j.ID {
		t.Fatalf("claimed %+v", got)
	}
	select {
	case err := <-waited:
		t.Errorf("waiting ended for a full lane: %v", err)
	default:
	}
}

// blocked waits until a client blocks on a mark.
func (s *server) blocked() { s.blockedClients(1) }

// blockedClients waits until n clients block on a mark.
func (s *server) blockedClients(n int) {
	eventually(s.t, "clients block on a mark", func() bool {
		return strings.Count(s.do("CLIENT", "LIST").String(), "cmd=bzpopmin") >= n
	})
}

// A process pops the mark and then has no free handler: another one that waits must not sleep on.
func TestMarkThatNoClaimFollowsIsSetAgain(t *testing.T) {
	t.Parallel()
	s := serve(t)
	busy, idle := open(t, s), open(t, s)
	w := register(t, idle)
	var slowest time.Duration
	for range 5 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		popped := make(chan error, 1)
		go func() { popped <- busy.Wait(ctx, []string{kind}, nil, time.Minute) }()
		s.blocked() // mostly the first of the two in Redis' line
		taken := make(chan error, 1)
		var at time.Time
		go func() {
			taken <- func() error {
				for {
					if err := idle.Wait(ctx, []string{kind}, nil, time.Minute); err != nil {
						return err
					}
					got, err := idle.Claim(t.Context(), queue.ClaimRequest{Worker: w, Most: 1, Kinds: []string{kind}})
					if err != nil {
						return err
					}
					if len(got) == 1 {
						at = time.Now()
						return idle.Report(t.Context(), w, queue.Result{ID: got[0].ID, Token: got[0].Token})
					}
				}
			}()
		}()
		s.blockedClients(2)
		begun := time.Now()
		enqueue(t, busy, 1)
		err := <-taken
		cancel()
		if end := <-popped; err != nil || end != nil && !errors.Is(end, context.Canceled) {
			t.Fatal(err, end)
		}
		slowest = max(slowest, at.Sub(begun))
	}
	if slowest > 700*time.Millisecond { // a second is when it would have looked by itself
		t.Errorf("picked up after %s", slowest)
	}
}

// However many stale jobs lie there, the first claim brings the job that can be in time, and the
// claims after it get on with the old ones.
func TestFreshJobGoesBeforeABacklogOfStaleOnes(t *testing.T) {
	t.Parallel()
	s := serve(t)
	d := open(t, s)
	n := scale(300_000)
	s.fill(kind, n, time.Now().Add(-time.Hour), time.Now().Add(-time.Hour))
	w := register(t, d)
	fresh := enqueue(t, d, 1)[0]
	begun := time.Now()
	got := claim(t, d, w, 32)
	if len(got) != 32 || got[0].ID != fresh.ID || got[1].NotAfter.IsZero() || got[1].NotAfter.After(time.Now()) {
		t.Fatalf("claimed %d, first %+v", len(got), got[0])
	}
	t.Logf("%d stale jobs: the fresh one after %s", n, time.Since(begun))
	report(t, d, w, got...)
	// One that is due for long and not stale lies behind all of them.
	old := job()
	old.NotAfter = time.Now().Add(time.Hour)
	if err := d.Enqueue(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	s.do("ZADD", "otpost:{test}:ready:test.kind:0", strconv.FormatInt(time.Now().Add(-10*time.Minute).UnixMilli(), 10),
		old.ID.String())
	for claims := 1; ; claims++ {
		if err := d.Heartbeat(t.Context(), w); err != nil {
			t.Fatal(err)
		}
		if got = claim(t, d, w, 1); got[0].ID == old.ID {
			break
		}
		report(t, d, w, got...)
		if claims > n/queue.MostPassed*9/8+20 { // one of 16 claims treats stale jobs like any other
			t.Fatalf("not claimed in %d claims", claims)
		}
	}
	st, err := d.Status(t.Context())
	if err != nil || st.Ready[0].Jobs < n-n/10 || time.Since(st.Ready[0].Oldest) < 50*time.Minute {
		t.Errorf("status %+v, %v", st, err)
	}
}

// Lanes beyond the bound are one: each job is handed out all the same.
func TestLinesAreBounded(t *testing.T) {
	t.Parallel()
	s := serve(t)
	d := open(t, s)
	w := register(t, d)
	const n = redisq.MostLines + 50
	var jobs []queue.Job
	for i := range n {
		j := job()
		j.Lane = fmt.Sprintf("server %d", i)
		jobs = append(jobs, j)
	}
	if err := d.Enqueue(t.Context(), jobs...); err != nil {
		t.Fatal(err)
	}
	if is, err := s.do("SCARD", "otpost:{test}:kinds").AsInt64(); err != nil || is > redisq.MostLines {
		t.Errorf("%d lines, %v; %d at most", is, err, redisq.MostLines)
	}
	got := claim(t, d, w, 2*n)
	if len(got) != n {
		t.Fatalf("claimed %d of %d", len(got), n)
	}
	report(t, d, w, got...)
	claim(t, d, w, 1)
	if is, err := s.do("SCARD", "otpost:{test}:kinds").AsInt64(); err != nil || is != 1 {
		t.Errorf("%d lines are left, %v; want the kind", is, err)
	}
}

// A queue in Redis outlives an update of otpost: records and lists of the version without lanes are
// read.
func TestRecordsOfTheVersionWithoutLanesAreRead(t *testing.T) {
	t.Parallel()
	s := serve(t)
	d := open(t, s)
	w := register(t, d)
	due, later, leased := uuid.NewString(), uuid.NewString(), uuid.NewString()
	end := time.Now().Add(time.Hour).UnixMilli()
	record := func(id, state, worker string, runAt int64) {
		s.do("HSET", bucket(id), id, fmt.Sprintf("1 %s 0 %d %d 1000 7 1 %s - %s\nsealed", state, runAt, end, worker, kind))
	}
	record(due, "r", "-", 1000)
	s.do("ZADD", "otpost:{test}:ready:test.kind:0", "1000", due)
	record(later, "s", "-", end)
	s.do("ZADD", "otpost:{test}:sched:test.kind", strconv.FormatInt(end, 10), later)
	record(leased, "l", w.String(), 1000)
	s.do("HSET", "otpost:{test}:held:"+w.String(), leased, "7")
	if err := d.Report(t.Context(), w, queue.Result{ID: uuid.MustParse(leased), Token: 7,
		Action: queue.Release}); err != nil {
		t.Fatal(err)
	}
	if err := d.RunNow(t.Context(), uuid.MustParse(later)); err != nil {
		t.Fatal(err)
	}
	got := claim(t, d, w, 9)
	for _, c := range got {
		if c.Lane != "" || c.Kind != kind || c.Crashes != 1 || string(c.Payload) != "sealed" {
			t.Errorf("claimed %+v", c)
		}
	}
	if len(got) != 3 {
		t.Errorf("claimed %d of 3", len(got))
	}
}

// Each key of the queue's may be deleted by an administrator. What workers and the relay do all the
// time heals it: each job is handed out again or can be reported, and workers are seen by their
// names.
func TestAnyDeletedKeyHeals(t *testing.T) {
	t.Parallel()
	s := serve(t)
	keys := []string{
		"job:7", "ready:LINE:0", "ready:test.kind:0", "sched:LINE", "mark:test.kind", "kinds", "workers", "info",
		"held:WORKER", "dead", "why",
		"seq", "swept", "bound",
	}
	for i, key := range keys {
		t.Run(key, func(t *testing.T) {
			t.Parallel()
			name := fmt.Sprintf("heal-%d", i)
			d := openAs(t, redisq.Options{URL: s.url(), Queue: name, LockDir: t.TempDir()})
			h := &healing{t: t, server: s, Driver: d, worker: register(t, d)}
			h.prepare()
			key := strings.NewReplacer("LINE", kind+"/a%20b", "WORKER", h.worker.String()).Replace(key)
			if n, err := s.do("DEL", "otpost:{"+name+"}:"+key).AsInt64(); err != nil || n != 1 {
				t.Fatalf("deleted %d of %s, %v", n, key, err)
			}
			h.heal()
			seen, err := d.Workers(t.Context())
			if err != nil || len(seen) != 1 || seen[0].Host != "host" || !seen[0].Local {
				t.Errorf("workers %+v, %v", seen, err)
			}
		})
	}
}

// healing is a worker and a relay at a queue of which a key was deleted.
type healing struct {
	*redisq.Driver
	t      *testing.T
	server *server
	worker uuid.UUID
	jobs   []queue.Job
	held   queue.Claimed
}

// prepare makes jobs in every state; the first is leased, the last is dead.
func (h *healing) prepare() {
	h.t.Helper()
	if err := h.Bind(h.t.Context(), "00112233aabbccdd", "host-a"); err != nil {
		h.t.Fatal(err)
	}
	for i := range 5 {
		j := job()
		j.Lane, j.ID[15] = "a b", 7
		if i == 2 {
			j.Lane = ""
		}
		h.jobs = append(h.jobs, j)
	}
	h.jobs[3].RunAt = time.Now().Add(300 * time.Millisecond)
	for _, i := range []int{0, 4} {
		if err := h.Enqueue(h.t.Context(), h.jobs[i]); err != nil {
			h.t.Fatal(err)
		}
	}
	got := claim(h.t, h, h.worker, 2)
	if err := h.Report(h.t.Context(), h.worker, queue.Result{ID: got[1].ID, Token: got[1].Token, Action: queue.DeadLetter,
		Reason: "no such row"}); err != nil {
		h.t.Fatal(err)
	}
	h.held = got[0]
	if err := h.Enqueue(h.t.Context(), h.jobs[1:4]...); err != nil {
		h.t.Fatal(err)
	}
	if _, err := h.Sweep(h.t.Context()); err != nil {
		h.t.Fatal(err)
	}
}

// heal does what worker and relay do, until each job but the leased and the dead one was handed out
// once and the leased one was reported, or handed out again.
func (h *healing) heal() {
	h.t.Helper()
	ctx := h.t.Context()
	want := map[uuid.UUID]int{h.jobs[1].ID: 1, h.jobs[2].ID: 1, h.jobs[3].ID: 1}
	begun := time.Now()
	for got := map[uuid.UUID]int{}; len(got) < len(want); {
		if err := h.Heartbeat(ctx, h.worker); errors.Is(err, queue.ErrLost) {
			h.worker = register(h.t, h)
		} else if err != nil {
			h.t.Fatal(err)
		}
		for _, j := range h.jobs[:4] {
			if got[j.ID] > 0 {
				continue
			}
			if err := h.Enqueue(ctx, j); err != nil { // as the relay does with each row that waits
				h.t.Fatal(err)
			}
		}
		if err := h.Wait(ctx, []string{kind}, nil, 100*time.Millisecond); err != nil {
			h.t.Fatal(err)
		}
		for _, c := range claim(h.t, h, h.worker, 10) {
			if got[c.ID]++; got[c.ID] > 1 {
				h.t.Errorf("%s is handed out %d times", c.ID, got[c.ID])
			}
			report(h.t, h, h.worker, c)
			if c.ID == h.held.ID {
				want[c.ID] = 1
			}
		}
		if time.Since(begun) > 10*time.Second {
			h.t.Fatalf("handed out %v of %v", got, want)
		}
	}
	if want[h.held.ID] == 1 {
		return
	}
	if err := h.Report(ctx, h.held.Worker, queue.Result{ID: h.held.ID, Token: h.held.Token}); err != nil &&
		!errors.Is(err, queue.ErrLost) {
		h.t.Fatal(err)
	}
	if err := h.Enqueue(ctx, h.jobs[0]); err != nil { // its row still waits
		h.t.Fatal(err)
	}
	if got := claim(h.t, h, h.worker, 10); len(got) != 1 || got[0].ID != h.held.ID {
		h.t.Errorf("claimed %+v, want the job that was leased", got)
	}
}
