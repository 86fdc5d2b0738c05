package redisq_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/redis/rueidis"

	"otpost/internal/queue"
	"otpost/internal/queue/redisq"
)

// do runs one command whose words may hold spaces and line ends.
func (s *server) do(words ...string) *rueidis.RedisMessage {
	s.t.Helper()
	c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{fmt.Sprintf("127.0.0.1:%d", s.port)}, ForceSingleClient: true, DisableCache: true})
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close()
	m, err := c.Do(s.t.Context(), c.B().Arbitrary(words...).Build()).ToMessage()
	if err != nil && !rueidis.IsRedisNil(err) {
		s.t.Fatalf("%q: %v", words, err)
	}
	return &m
}

func bucket(id string) string {
	var n int
	fmt.Sscanf(id[max(len(id)-2, 0):], "%x", &n)
	return fmt.Sprintf("otpost:{test}:job:%d", n%64)
}

// A client with write access to Redis may store anything. A record that cannot be read is marked dead with its reason,
// and the other jobs go on.
func TestCorruptRecordsGoAside(t *testing.T) {
	t.Parallel()
	s := serve(t)
	d := open(t, s)
	w := register(t, d)
	good := enqueue(t, d, 1)[0]
	head := "1 r 0 1000 0 1000 0 0 - - test.kind"
	bad := map[string]string{
		uuid.NewString():                   "",
		uuid.NewString():                   "rubbish",
		uuid.NewString():                   head, // without the line's end
		uuid.NewString():                   "2" + head[1:] + "\n",
		uuid.NewString():                   "1 r 7 1000 0 1000 0 0 - - test.kind\n",
		uuid.NewString():                   "1 x 0 1000 0 1000 0 0 - - test.kind\n",
		uuid.NewString():                   "1 r 0 " + strings.Repeat("9", 400) + " 0 1000 0 0 - - test.kind\n",
		uuid.NewString():                   "1 r 0 -5 0 1000 0 0 - - test.kind\n",
		uuid.NewString():                   "1 r 0 1000 0 1000 0 99999999 - - test.kind\n",
		"no-id":                            head + "\n",
		strings.ToUpper(uuid.NewString()):  head + "\n",
		strings.Repeat("a", 36):            head + "\n",
		"":                                 head + "\n",
		"0190\n\x00\xff4444-aaaa-bbbb-cc0": head + "\n",
	}
	for id, record := range bad {
		s.do("HSET", bucket(id), id, record)
		s.do("ZADD", "otpost:{test}:ready:test.kind:0", "1", id)
	}
	got := claim(t, d, w, 100)
	if len(got) != 1 || got[0].ID != good.ID {
		t.Fatalf("claimed %+v", got)
	}
	dead, err := s.do("ZRANGE", "otpost:{test}:dead", "0", "-1").AsStrSlice()
	if err != nil || len(dead) != len(bad) {
		t.Fatalf("%d of %d are kept aside, %v", len(dead), len(bad), err)
	}
	why, err := s.do("HGETALL", "otpost:{test}:why").AsStrMap()
	if err != nil || len(why) != len(bad) || why["no-id"] == "" {
		t.Fatalf("reasons %v, %v", why, err)
	}
	for id := range bad {
		if u, err := uuid.Parse(id); err == nil && id == u.String() { // it lives again when it is enqueued
			if err := d.Enqueue(t.Context(), queue.Job{ID: u, Kind: kind}); err != nil {
				t.Fatal(err)
			}
			if got := claim(t, d, w, 5); len(got) != 1 || got[0].ID != u {
				t.Fatalf("claimed %+v", got)
			}
			break
		}
	}
}

// A job is cancelled by removing its record; what else names it is dropped when it is met.
func TestClaimSkipsIDsWithoutARecord(t *testing.T) {
	t.Parallel()
	s := serve(t)
	d := open(t, s)
	w := register(t, d)
	jobs := enqueue(t, d, 3)
	s.do("HDEL", bucket(jobs[0].ID.String()), jobs[0].ID.String())
	later := job()
	later.RunAt = time.Now().Add(time.Hour)
	if err := d.Enqueue(t.Context(), later); err != nil {
		t.Fatal(err)
	}
	s.do("ZADD", "otpost:{test}:ready:test.kind:0", "1", later.ID.String()) // it is not ready
	s.do("ZADD", "otpost:{test}:sched:test.kind", "1", jobs[1].ID.String()) // it is not scheduled
	got := claim(t, d, w, 10)
	if len(got) != 2 || got[0].ID != jobs[1].ID || got[1].ID != jobs[2].ID {
		t.Fatalf("claimed %+v", got)
	}
	s.do("ZADD", "otpost:{test}:ready:test.kind:0", "1", got[0].ID.String()) // it is leased
	if again := claim(t, d, w, 10); len(again) != 0 {
		t.Fatalf("claimed %+v", again)
	}
	s.do("HDEL", bucket(got[0].ID.String()), got[0].ID.String()) // cancelled while it is leased
	report(t, d, w, got...)
	if err := d.Reconcile(t.Context(), w, nil); err != nil {
		t.Fatal(err)
	}
	if again := claim(t, d, w, 10); len(again) != 0 {
		t.Fatalf("claimed %+v", again)
	}
}

func TestGhostsDoNotStopTheClaims(t *testing.T) {
	t.Parallel()
	s := serve(t)
	d := open(t, s)
	w := register(t, d)
	s.do("EVAL", "for i = 1, 5000 do redis.call('ZADD', KEYS[1], i, 'ghost' .. i) end", "1", "otpost:{test}:ready:test.kind:0")
	want := enqueue(t, d, 1)[0]
	for n := 1; ; n++ {
		if err := d.Wait(t.Context(), []string{kind}, nil, time.Minute); err != nil {
			t.Fatal(err)
		}
		if got := claim(t, d, w, 1_000); len(got) == 1 && got[0].ID == want.ID {
			return
		}
		if n == 5 {
			t.Fatal("not reached in 5 claims")
		}
	}
}

func TestWorkersOfStrangersAreShownAndSwept(t *testing.T) {
	t.Parallel()
	s := serve(t)
	d := open(t, s)
	w := register(t, d)
	s.do("ZADD", "otpost:{test}:workers", "1e300", uuid.NewString(), "9999999999999", "../../etc/passwd", "1", "lapsed/../x")
	s.do("HSET", "otpost:{test}:info", "../../etc/passwd", "{")
	if n, err := d.Sweep(t.Context()); n != 0 || err != nil {
		t.Fatalf("swept %d, %v", n, err)
	}
	seen, err := d.Workers(t.Context())
	if err != nil || len(seen) != 2 {
		t.Fatalf("workers %+v, %v", seen, err)
	}
	if err := d.Heartbeat(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	if left, err := s.do("ZSCORE", "otpost:{test}:workers", "lapsed/../x").ToString(); err == nil {
		t.Fatalf("a lapsed worker stays: %s", left)
	}
}

func TestDeadLettersAreBounded(t *testing.T) {
	t.Parallel()
	s := serve(t)
	d := open(t, s)
	w := register(t, d)
	s.do("EVAL", "for i = 1, ARGV[1] do redis.call('ZADD', KEYS[1], i, 'old' .. i) redis.call('HSET', KEYS[2], 'old' .. i, 'x') end",
		"2", "otpost:{test}:dead", "otpost:{test}:why", fmt.Sprint(redisq.MostDead))
	enqueue(t, d, 1)
	c := claim(t, d, w, 1)[0]
	if err := d.Report(t.Context(), w, queue.Result{ID: c.ID, Token: c.Token, Action: queue.DeadLetter, Reason: "no such row"}); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"dead", "why"} {
		count := map[string]string{"dead": "ZCARD", "why": "HLEN"}[key]
		if n, err := s.do(count, "otpost:{test}:"+key).AsInt64(); err != nil || n != redisq.MostDead {
			t.Errorf("%d in %s, %v", n, key, err)
		}
	}
	if reason, err := s.do("HGET", "otpost:{test}:why", c.ID.String()).ToString(); err != nil || reason != "no such row" {
		t.Errorf("reason %q, %v", reason, err)
	}
}

// A record that was edited out of every list would be "known" for ever. When its id is enqueued again, it is a job
// again.
func TestEditedRecordComesBackWhenItIsEnqueuedAgain(t *testing.T) {
	t.Parallel()
	for name, edited := range map[string]string{
		"leased by nobody": "1 l 0 1000 0 1000 0 0 - - test.kind\n",
		"of another kind":  "1 r 0 1000 0 1000 0 0 - - shell.exec\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t)
			d := open(t, s)
			w := register(t, d)
			j := enqueue(t, d, 1)[0]
			id := j.ID.String()
			s.do("HSET", bucket(id), id, edited)
			claim(t, d, w, 100) // finds nothing to do in what the record says now
			if err := d.Enqueue(t.Context(), j); err != nil {
				t.Fatal(err)
			}
			if got := claim(t, d, w, 100); len(got) != 1 || got[0].ID != j.ID || got[0].Kind != "test.kind" {
				t.Fatalf("claimed %+v", got)
			}
		})
	}
}

// A key of another type that is met while the queue runs refuses every call until it is gone: if
// some worked beside others that fail, the worker would say in turn that the queue works and that
// it does not.
func TestKeyOfAnotherTypeRefusesEveryCallUntilItIsGone(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"mark:test.kind", "ready:test.kind:0", "sched:test.kind", "job:7", "kinds"} {
		t.Run(key, func(t *testing.T) {
			t.Parallel()
			s := serve(t)
			d := open(t, s)
			w := register(t, d)
			key := "otpost:{test}:" + key
			s.do("DEL", key)
			s.do("SET", key, "somebody else's")
			later := job()
			later.RunAt = time.Now().Add(time.Hour)
			later.ID[15] = 7
			refuses(t, d.Enqueue(t.Context(), later, job()), key)
			_, err := d.Claim(t.Context(), queue.ClaimRequest{Worker: w, Most: 1, Kinds: []string{kind}})
			refuses(t, err, key)
			refuses(t, d.Reconcile(t.Context(), w, nil), key)
			refuses(t, d.Heartbeat(t.Context(), w), key)
			s.do("DEL", key)
			if err := d.Heartbeat(t.Context(), w); err != nil {
				t.Fatal(err)
			}
			enqueue(t, d, 1)
			if got := claim(t, d, w, 10); len(got) == 0 {
				t.Fatal("nothing claimed after the key was removed")
			}
		})
	}
}

// Only the blocking pop of a Wait reads the mark, outside any call. A mark of another type ends the Wait, and the next
// claim returns the error.
func TestKeyThatStopsWaitingStopsTheClaim(t *testing.T) {
	t.Parallel()
	s := serve(t)
	d := open(t, s)
	w := register(t, d)
	s.do("SET", "otpost:{test}:mark:test.kind", "somebody else's")
	if err := d.Wait(t.Context(), []string{kind}, nil, time.Hour); err != nil {
		t.Fatal(err)
	}
	_, err := d.Claim(t.Context(), queue.ClaimRequest{Worker: w, Most: 1, Kinds: []string{kind}})
	refuses(t, err, "otpost:{test}:mark:test.kind")
}

// pause makes a server answer no more until go on is called, or the test ends.
func pause(t *testing.T, s *server) (goOn func()) {
	t.Helper()
	process := s.cmd.Process
	if err := process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	goOn = func() { process.Signal(syscall.SIGCONT) }
	t.Cleanup(goOn)
	return goOn
}

// Neither the pop that was under way while Redis hung nor the look after it is told: the claim says
// how it is now.
func TestWaitDoesNotTellAnOutageThatIsOver(t *testing.T) {
	t.Parallel()
	s := serve(t)
	d := openAs(t, redisq.Options{URL: s.url() + "?socket_timeout=2", Queue: "test", LockDir: t.TempDir()})
	w := register(t, d)
	waited := make(chan error, 1)
	go func() { waited <- d.Wait(t.Context(), []string{kind}, nil, 15*time.Second) }()
	s.blocked()
	begun := time.Now()
	goOn := pause(t, s)
	<-time.After(3500 * time.Millisecond) // the pop gives up after two to three, and the look that follows waits for two more
	goOn()
	late := time.Since(begun) > 4500*time.Millisecond // on a busy machine the look may have ended before
	enqueue(t, d, 1)
	if err := <-waited; err != nil && !late {
		t.Errorf("waiting ended with %v", err)
	}
	if got := claim(t, d, w, 1); len(got) != 1 {
		t.Errorf("claimed %+v", got)
	}
}

// Where the user may not block, waiting works by looking each second, and that is said once.
func TestWaitWithoutBlockingCommandsLooksEachSecond(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.do("ACL", "SETUSER", "queue", "on", ">topsecret", "+@all", "-bzpopmin", "~otpost:{test}:*")
	var log bytes.Buffer
	d := openAs(t, redisq.Options{
		URL: fmt.Sprintf("redis://queue:topsecret@127.0.0.1:%d", s.port), Queue: "test", LockDir: t.TempDir(), Log: slog.New(slog.NewTextHandler(&log, nil)),
	})
	w := register(t, d)
	for range 2 {
		waited := make(chan error, 1)
		go func() { waited <- d.Wait(t.Context(), []string{kind}, nil, time.Minute) }()
		enqueue(t, d, 1)
		if err := <-waited; err != nil {
			t.Fatal(err)
		}
		report(t, d, w, claim(t, d, w, 1)...)
		if err := d.Wait(t.Context(), []string{kind}, nil, 100*time.Millisecond); err != nil {
			t.Fatal(err)
		}
	}
	if n := strings.Count(log.String(), "looked for each second"); n != 1 {
		t.Errorf("said %d times:\n%s", n, log.String())
	}
}
