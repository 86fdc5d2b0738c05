// Package test runs the built programs end to end: as processes, over HTTP and SMTP, with files and signals.
//
// seed_test.go has a subtest for each row of what was asked for; crash_test.go and kill_test.go
// kill the programs in the middle of their work; the other files test single promises. The tools
// are in test/e2e.
package test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"otpost/test/e2e"
)

// programs are the built binaries, set by TestMain alone.
var programs e2e.Programs

func TestMain(m *testing.M) {
	if path := os.Getenv("OTPOST_TEST_COMMIT"); path != "" {
		os.Exit(holdCommit(path))
	}
	os.Exit(run(m))
}

// atOnce is how many tests run in parallel unless -parallel says it: most of them wait, for a minute or for a lease.
const atOnce = "6"

func run(m *testing.M) int {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		if err := flag.Set("test.parallel", atOnce); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	dir, err := os.MkdirTemp("", "otpost-e2e-")
	if err == nil {
		defer os.RemoveAll(dir)
		programs, err = e2e.Build(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// queueKind is the kind of queue.
type queueKind string

// The kinds of queue.
const (
	embedded queueKind = "embedded"
	inRedis  queueKind = "redis"
)

// onBoth runs a test with the queue in the database and with the one in Redis.
func onBoth(t *testing.T, run func(t *testing.T, on queueKind)) {
	t.Helper()
	for _, on := range []queueKind{embedded, inRedis} {
		t.Run(string(on), func(t *testing.T) {
			t.Parallel()
			run(t, on)
		})
	}
}

// world is an installation with its server and a mail server that two definitions name: "queued"
// (the default) sends through the job queue, "inline" in the request.
type world struct {
	*e2e.Site
	server *e2e.Server
	sink   *e2e.Sink
	redis  *e2e.Redis // nil: the queue is not in Redis
}

// newWorld starts an installation with the embedded queue.
func newWorld(t *testing.T, serve ...string) *world {
	t.Helper()
	return newWorldOn(t, embedded, serve...)
}

// newWorldOn starts an installation with a queue of a kind.
func newWorldOn(t *testing.T, on queueKind, serve ...string) *world {
	t.Helper()
	if on == embedded {
		return startWorld(t, e2e.NewSite(t, programs, true), serve...)
	}
	redis := e2e.NewRedis(t)
	w := startWorld(t, e2e.NewRedisSite(t, programs, redis.URL()), serve...)
	w.redis = redis
	return w
}

func startWorld(t *testing.T, site *e2e.Site, serve ...string) *world {
	t.Helper()
	w := &world{Site: site, sink: e2e.NewSink(t, e2e.SinkOptions{})}
	w.server = site.Serve(t, serve...)
	w.server.SMTPServer(t, "queued", w.sink.Port, map[string]any{"enqueue_job": true})
	w.server.SMTPServer(t, "inline", w.sink.Port, nil)
	w.server.Set(t, "email.identifier", "queued")
	return w
}

// ensureWorker starts a worker if the server has none, which is so with Redis.
func (w *world) ensureWorker(t *testing.T) {
	t.Helper()
	if w.redis != nil {
		w.Worker(t)
	}
}

// restart ends the server by SIGTERM and starts it again.
func (w *world) restart(t *testing.T, serve ...string) {
	t.Helper()
	w.server.Stop(t)
	w.server = w.Serve(t, serve...)
}

// login is one login that waits for its mail.
type login struct {
	serial, pin, address, transaction string
}

// enrol makes a token with a PIN of its own and returns its login, not yet begun.
func (w *world) enrol(t *testing.T, serial string, more ...string) *login {
	t.Helper()
	l := &login{serial: serial, pin: "pin-" + strings.ToLower(serial),
		address: strings.ToLower(serial) + "@example.org"}
	w.server.Enrol(t, l.serial, l.pin, l.address, more...)
	return l
}

// begin sends the PIN and expects a challenge.
func (l *login) begin(t *testing.T, c *e2e.Client) e2e.Answer {
	t.Helper()
	a := c.MustCheck(t, "CHALLENGE", l.serial, l.pin)
	l.transaction = a.Detail.TransactionID
	return a
}

// finish sends the code of a mail and expects an ACCEPT.
func (l *login) finish(t *testing.T, c *e2e.Client, m e2e.Mail) {
	t.Helper()
	c.MustCheck(t, "ACCEPT", l.serial, m.Code(), "transaction_id", l.transaction)
}

// answered is the result of a request in the background.
type answered struct {
	answer e2e.Answer
	err    error
}

// inBackground sends the PIN and returns at once.
func (l *login) inBackground(ctx context.Context, c *e2e.Client) <-chan answered {
	done := make(chan answered, 1)
	go func() {
		a, err := c.Check(ctx, l.serial, l.pin)
		done <- answered{a, err}
	}()
	return done
}

// oneCopy waits for the login's first mail and fails the test if there are more.
func (w *world) oneCopy(t *testing.T, l *login) e2e.Mail {
	t.Helper()
	m := w.sink.Mail(t, l.address, 1)
	if n := len(w.sink.Mails(l.address)); n != 1 {
		t.Fatalf("%s got %d copies, want 1", l.serial, n)
	}
	return m
}

// delivered waits until polltransaction says that the mail was sent.
func (w *world) delivered(t *testing.T, l *login) {
	t.Helper()
	w.state(t, l, "sent")
}

// state waits until polltransaction tells this state of the login's mail.
func (w *world) state(t *testing.T, l *login, want string) {
	t.Helper()
	last := ""
	e2e.Eventually(t, l.serial+": delivery state "+want, func() bool {
		if now := w.server.DeliveryState(t, l.transaction); now != last {
			t.Logf("%s: %s", l.serial, now)
			last = now
		}
		return last == want
	})
}

// oneSentence checks that a process has written one line to standard error, and returns it.
func oneSentence(t *testing.T, p *e2e.Process) string {
	t.Helper()
	text := strings.TrimSpace(p.Err.String())
	if text == "" || strings.Contains(text, "\n") {
		t.Errorf("want one sentence on standard error, got:\n%s", text)
	}
	return text
}

// exits checks that a command ends with a code and one sentence that contains part.
func exits(t *testing.T, want int, part string, c e2e.Command) {
	t.Helper()
	code, p := e2e.Run(t, c)
	if code != want {
		t.Errorf("%v: exit code %d, want %d\nstderr: %s", c.Args, code, want, p.Err)
	}
	if text := oneSentence(t, p); !strings.Contains(strings.ToLower(text), strings.ToLower(part)) {
		t.Errorf("%v: %q does not say %q", c.Args, text, part)
	}
}
