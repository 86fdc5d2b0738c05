package redisq_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"otpost/internal/queue"
	"otpost/internal/queue/redisq"
)

// bind opens and binds the queue "test" at a URL, and returns what was logged meanwhile.
func bind(t *testing.T, url string) (string, error) {
	t.Helper()
	var log bytes.Buffer
	d := openAs(t, redisq.Options{URL: url, Queue: "test", LockDir: t.TempDir(), Log: slog.New(slog.NewTextHandler(&log, nil))})
	err := d.Bind(t.Context(), "00112233aabbccdd", "host-a")
	return log.String(), err
}

// refuses fails unless the error says what is wanted, is no ErrAway, and tells no password.
func refuses(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) || errors.Is(err, redisq.ErrAway) || !errors.Is(err, queue.ErrRefused) || strings.Contains(err.Error(), "topsecret") {
		t.Errorf("error %v, want a refusal with %q", err, want)
	}
}

func TestEvictionPolicyIsRefused(t *testing.T) {
	t.Parallel()
	for _, policy := range []string{"allkeys-lru", "volatile-ttl"} {
		_, err := bind(t, serve(t, "--maxmemory-policy", policy).url())
		refuses(t, err, policy)
	}
}

func TestWhatRedisKeepsIsWarnedAbout(t *testing.T) {
	t.Parallel()
	log, err := bind(t, serve(t).url())
	if err != nil || !strings.Contains(log, "no append-only file") {
		t.Errorf("without AOF: %v, %s", err, log)
	}
	log, err = bind(t, serve(t, "--appendonly", "yes").url())
	if err != nil || log != "" {
		t.Errorf("with AOF: %v, %s", err, log)
	}
}

// As a managed Redis gives it away: neither CONFIG nor INFO.
func TestUserWithoutDangerousCommandsDoes(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.do("ACL", "SETUSER", "queue", "on", ">topsecret", "+@all", "-@dangerous", "~otpost:{test}:*")
	url := fmt.Sprintf("redis://queue:topsecret@127.0.0.1:%d", s.port)
	log, err := bind(t, url)
	if err != nil || !strings.Contains(log, "does not tell its configuration") || strings.Contains(log, "topsecret") {
		t.Fatalf("%v, %s", err, log)
	}
	d := openAs(t, redisq.Options{URL: url, Queue: "test", LockDir: t.TempDir()})
	w := register(t, d)
	enqueue(t, d, 1)
	if err := d.Wait(t.Context(), []string{kind}, nil, time.Second); err != nil {
		t.Fatal(err)
	}
	report(t, d, w, claim(t, d, w, 1)...)
	if err := d.Wait(t.Context(), []string{kind}, nil, time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.do("ACL", "SETUSER", "other", "on", ">topsecret", "+@all", "~other:*")
	_, err = bind(t, fmt.Sprintf("redis://other:topsecret@127.0.0.1:%d", s.port))
	refuses(t, err, "its user may not")
}

func TestWrongPasswordAndDatabaseAreRefused(t *testing.T) {
	t.Parallel()
	s := serve(t, "--requirepass", "right^%", "--databases", "4")
	at := fmt.Sprintf("127.0.0.1:%d", s.port)
	_, err := bind(t, "redis://:topsecret@"+at)
	refuses(t, err, "user or password is wrong")
	_, err = bind(t, "redis://nobody:topsecret@"+at)
	refuses(t, err, "user or password is wrong")
	_, err = bind(t, "redis://"+at)
	refuses(t, err, "asks for a password")
	_, err = bind(t, "redis://:right^%@"+at+"/9")
	refuses(t, err, "no such database")
	if _, err := bind(t, "redis://:right^%@"+at+"/3"); err != nil {
		t.Error(err)
	}
	if _, err := bind(t, "unix://:right^%@"+filepath.Join(s.dir, "socket")+"?db=2"); err != nil {
		t.Error(err)
	}
}

func TestKeysOfSomebodyElseAreRefused(t *testing.T) {
	t.Parallel()
	s := serve(t)
	for _, key := range []string{"otpost:{test}:job:7", "otpost:{test}:workers", "otpost:{test}:bound"} {
		s.do("LPUSH", key, "x")
		_, err := bind(t, s.url())
		refuses(t, err, "choose another PI_JOB_QUEUE_NAME")
		s.do("DEL", key)
	}
	s.do("SET", "otpost:{test}:ready:test.kind:0", "x")
	d := open(t, s)
	refuses(t, d.Enqueue(t.Context(), job()), "choose another PI_JOB_QUEUE_NAME")
}

func TestQueueBelongsToOneDatabase(t *testing.T) {
	t.Parallel()
	s := serve(t)
	d, other := open(t, s), open(t, s)
	for range 2 {
		if err := d.Bind(t.Context(), "7f3a112233445566", "a"); err != nil {
			t.Fatal(err)
		}
	}
	refuses(t, other.Bind(t.Context(), "00112233aabbccdd", "b"),
		"another installation uses this Redis queue (database 7f3a1122 on host a): give one of them another "+
			"PI_JOB_QUEUE_NAME (docs/queue.md); a worker must run on the host and with the database of its server")
	refuses(t, other.Register(t.Context(), queue.Worker{}),
		"another installation uses this Redis queue (database 7f3a1122 ")
	if err := d.Bind(t.Context(), "7f3a112233445566", "moved here"); err != nil {
		t.Fatal(err)
	}
	// Emptied, and the other was first: what d adds must not end there.
	s.do("FLUSHALL")
	first := open(t, s)
	if err := first.Bind(t.Context(), "00112233aabbccdd", "b"); err != nil {
		t.Fatal(err)
	}
	refuses(t, d.Enqueue(t.Context(), job()), "another installation uses this Redis queue (database 00112233 ")
	s.do("FLUSHALL")
	if err := d.Enqueue(t.Context(), job()); err != nil {
		t.Fatal(err)
	}
	refuses(t, first.Enqueue(t.Context(), job()), "another installation uses this Redis queue (database 7f3a1122 ")
	s.do("SET", "otpost:{test}:bound", "\x1b[2J\n")
	refuses(t, d.Bind(t.Context(), "7f3a112233445566", "a"), `\x1b`)
}

func TestReplicaIsNotWrittenTo(t *testing.T) {
	t.Parallel()
	s := serve(t, "--replicaof", "127.0.0.1", strconv.Itoa(freePort(t)))
	if _, err := bind(t, s.url()); !errors.Is(err, redisq.ErrAway) || !strings.Contains(err.Error(), "replica") {
		t.Errorf("a replica: %v", err)
	}
}

func TestPartOfAClusterIsRefused(t *testing.T) {
	t.Parallel()
	if out, err := exec.Command(lookServer(t, redisServer), "--version").Output(); err != nil || strings.Contains(string(out), "v=6.") {
		missing(t, fmt.Sprintf("Redis 7: before it the port of a cluster's bus cannot be chosen: %s, %v", out, err))
	}
	_, err := bind(t, serve(t, "--cluster-enabled", "yes", "--cluster-port", strconv.Itoa(freePort(t))).url())
	refuses(t, err, "cluster")
}

// scripted answers HELLO as an old server would.
func scripted(t *testing.T, hello string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go answer(c, hello)
		}
	}()
	return "redis://" + l.Addr().String()
}

// answer reads commands (arrays of strings) and answers HELLO as told, all else with OK.
func answer(c net.Conn, hello string) {
	defer c.Close()
	in := bufio.NewReader(c)
	for {
		head, err := in.ReadString('\n')
		if err != nil {
			return
		}
		n, _ := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(head, "*")))
		var words []string
		for range n {
			in.ReadString('\n')
			word, _ := in.ReadString('\n')
			words = append(words, strings.TrimSpace(word))
		}
		reply := "+OK\r\n"
		if len(words) > 0 && words[0] == "HELLO" {
			reply = hello
		}
		if _, err := c.Write([]byte(reply)); err != nil {
			return
		}
	}
}

func TestOldRedisIsRefused(t *testing.T) {
	t.Parallel()
	for _, hello := range []string{
		"%3\r\n+server\r\n+redis\r\n+version\r\n+6.0.16\r\n+proto\r\n:3\r\n",
		"-ERR unknown command `HELLO`, with args beginning with: \r\n",
	} {
		_, err := bind(t, scripted(t, hello))
		refuses(t, err, "6.2")
	}
}

func TestPasswordForARedisWithoutOneIsRefused(t *testing.T) {
	t.Parallel()
	s := serve(t)
	for _, user := range []string{"", "default"} {
		_, err := bind(t, fmt.Sprintf("redis://%s:topsecret@127.0.0.1:%d", user, s.port))
		refuses(t, err, "set requirepass there, or leave the password out")
	}
	s.do("ACL", "SETUSER", "queue", "on", ">topsecret", "+@all", "~*")
	if _, err := bind(t, fmt.Sprintf("redis://queue:topsecret@127.0.0.1:%d", s.port)); err != nil {
		t.Errorf("a user of its own: %v", err)
	}
}

func TestNoRedisIsAway(t *testing.T) {
	t.Parallel()
	for _, url := range []string{fmt.Sprintf("redis://127.0.0.1:%d", freePort(t)), "unix:///nonexistent/socket", "redis://nonexistent.invalid"} {
		if _, err := bind(t, url); !errors.Is(err, redisq.ErrAway) {
			t.Errorf("%s: %v, want ErrAway", url, err)
		}
	}
}

// What comes back under the address need not be what went away.
func TestRedisThatComesBackWithAnEvictingPolicyIsRefused(t *testing.T) {
	t.Parallel()
	s := serve(t)
	d := open(t, s)
	if err := d.Bind(t.Context(), "7f3a112233445566", "a"); err != nil {
		t.Fatal(err)
	}
	s.kill()
	if err := d.Enqueue(t.Context(), job()); !errors.Is(err, redisq.ErrAway) {
		t.Fatalf("without Redis: %v", err)
	}
	s.args = append(s.args, "--maxmemory-policy", "allkeys-lru")
	s.start()
	refuses(t, d.Enqueue(t.Context(), job()), "allkeys-lru")
}

// What is wrong with Redis is told by its cause, in one sentence, also when it goes wrong under a
// driver that was connected.
func TestTroubleAtRunTimeIsToldByItsCause(t *testing.T) {
	t.Parallel()
	for name, one := range map[string]struct {
		harm func(s *server)
		says string
	}{
		"policy": {func(s *server) {
			s.do("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
		}, `: its maxmemory-policy is "allkeys-lru"`},
		"password": {func(s *server) {
			s.kill()
			s.args = append(s.args, "--requirepass", "topsecret")
			s.start()
		}, ": it asks for a password"},
		"hang": {func(s *server) { s.cmd.Process.Signal(syscall.SIGSTOP) }, " does not answer"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t)
			before, fresh := open(t, s), open(t, s)
			if err := before.Bind(t.Context(), "00112233aabbccdd", "a"); err != nil {
				t.Fatal(err)
			}
			one.harm(s)
			before.Recheck()
			for who, d := range map[string]*redisq.Driver{"connected before": before, "new": fresh} {
				for end := time.Now().Add(time.Minute); ; {
					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					_, err := d.Workers(ctx)
					cancel()
					want := fmt.Sprintf("redis at 127.0.0.1:%d%s", s.port, one.says)
					if err != nil && strings.Contains(err.Error(), want) && !strings.Contains(err.Error(), "context") {
						break
					}
					if err != nil || time.Now().After(end) {
						t.Errorf("%s: %v, want %q", who, err, want)
						break
					}
				}
			}
			s.cmd.Process.Signal(syscall.SIGCONT)
		})
	}
}
