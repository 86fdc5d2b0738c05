package test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"otpost/test/e2e"
)

// TestStopLoop ends server, worker or both by SIGTERM at random moments while logins come in over
// connections that are kept, and starts them again. No request is answered with 5xx, none is
// answered by a cut connection after it was begun, no login loses its mail, and no mail comes
// twice. A connection that is refused while the server is down does not count: the client tries
// again. OTPOST_SOAK=n makes n rounds of it.
func TestStopLoop(t *testing.T) {
	t.Parallel()
	rounds := 3
	if n := soak(); n > 0 {
		rounds = n
	}
	for _, c := range []struct {
		name    string
		on      queueKind
		workers string
	}{{"external worker", embedded, "0"}, {"workers in the server", embedded, "4"}, {"redis", inRedis, "0"}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			k := &stopLoop{port: e2e.QuietPort(t), workers: c.workers}
			k.world = newWorldOn(t, c.on, k.serve()...)
			k.sink.Use(func(e2e.Stage, e2e.Mail) error {
				<-time.After(rand.N(30 * time.Millisecond)) // so that stops hit every stage
				return nil
			})
			if k.workers == "0" {
				k.worker = k.Worker(t)
			}
			for round := range rounds {
				k.round(t, round)
			}
			k.settled(t)
			k.report(t, rounds)
		})
	}
}

const (
	stoppedLogins = 24                     // of one round
	stoppedSpan   = 400 * time.Millisecond // in which they begin
)

type stopLoop struct {
	*world
	port    int
	workers string      // in the server
	worker  *e2e.Worker // the external one; nil when the server has its own
	logins  []*login

	serverStops, workerStops, requests int
	retries                            atomic.Int64 // no connection
	longest                            time.Duration
	mu                                 sync.Mutex
}

// serve returns the server's flags. It comes back at the same address, as a server does.
func (k *stopLoop) serve() []string {
	return []string{"--workers", k.workers, "--listen", fmt.Sprintf("127.0.0.1:%d", k.port)}
}

// round begins logins, stops this round's processes in the middle of them, and waits for their end.
func (k *stopLoop) round(t *testing.T, round int) {
	t.Helper()
	var logins []*login
	for i := range stoppedLogins {
		// Every fourth one is sent inside its request.
		var more []string
		if i%4 == 3 {
			more = []string{"email.identifier", "inline"}
		}
		logins = append(logins, k.enrol(t, fmt.Sprintf("STOP%dX%d", round, i), more...))
	}
	k.logins = append(k.logins, logins...)
	client := k.server.Client
	var all sync.WaitGroup
	for _, l := range logins {
		all.Go(func() {
			<-time.After(rand.N(stoppedSpan))
			k.logIn(t, client, l)
		})
	}
	<-time.After(rand.N(stoppedSpan))
	k.stop(t, round)
	all.Wait()
}

// stop ends this round's processes by SIGTERM, expects exit code 0, and starts them again.
func (k *stopLoop) stop(t *testing.T, round int) {
	t.Helper()
	server, worker := k.worker == nil || round%3 != 1, k.worker != nil && round%3 != 0
	began := time.Now()
	if server {
		k.serverStops++
		k.server.Signal(t, syscall.SIGTERM)
	}
	if worker {
		k.workerStops++
		k.worker.Signal(t, syscall.SIGTERM)
	}
	if server {
		if code := k.server.Wait(t); code != 0 {
			t.Errorf("the server's exit code is %d: %s", code, k.server.Err)
		}
		client := k.server.Client
		k.server = &e2e.Server{Process: e2e.Start(t,
			k.Otpost(append([]string{"serve", "--config", k.Config}, k.serve()...)...)), Client: client}
		k.server.Line(t, "listening on ") // the next round begins with a server
	}
	if worker {
		if code := k.worker.Wait(t); code != 0 {
			t.Errorf("the worker's exit code is %d: %s", code, k.worker.Err)
		}
		k.worker = k.Worker(t)
	}
	k.longest = max(k.longest, time.Since(began))
}

// logIn is a whole login: PIN, mail, code.
func (k *stopLoop) logIn(t *testing.T, c *e2e.Client, l *login) {
	a, err := k.insist(t.Context(), c, l.serial, l.pin)
	if err != nil || a.Result.Authentication != "CHALLENGE" {
		t.Errorf("%s: %v %s", l.serial, err, a)
		return
	}
	l.transaction = a.Detail.TransactionID
	end := time.Now().Add(e2e.Patience)
	for len(k.sink.Mails(l.address)) == 0 {
		if time.Now().After(end) {
			t.Errorf("%s: no mail", l.serial)
			return
		}
		<-time.After(5 * time.Millisecond) // other processes send no event
	}
	a, err = k.insist(t.Context(), c, l.serial, k.sink.Mails(l.address)[0].Code(), "transaction_id", l.transaction)
	if err != nil || a.Result.Authentication != "ACCEPT" {
		t.Errorf("%s: the code: %v %s", l.serial, err, a)
	}
}

// insist repeats a request until an answer comes, like a client whose connection was refused or
// closed.
func (k *stopLoop) insist(ctx context.Context, c *e2e.Client, serial, pass string, more ...string) (e2e.Answer, error) {
	for end := time.Now().Add(e2e.Patience); ; {
		a, err := c.Check(ctx, serial, pass, more...)
		if err == nil || time.Now().After(end) {
			k.mu.Lock()
			defer k.mu.Unlock()
			k.requests++
			return a, err
		}
		k.retries.Add(1)
		<-time.After(10 * time.Millisecond)
	}
}

// report checks that each login has one mail, and prints the figures.
func (k *stopLoop) report(t *testing.T, rounds int) {
	t.Helper()
	twice, lost := 0, 0
	for _, l := range k.logins {
		switch n := len(k.sink.Mails(l.address)); {
		case n == 0:
			lost++
			t.Errorf("%s got no mail", l.serial)
		case n > 1:
			twice++
			t.Errorf("%s got %d mails", l.serial, n)
		}
	}
	t.Logf("%d rounds: %d stops of the server, %d of the worker, the longest with its new start %s; %d requests "+
		"answered, %d tried again without an answer; %d logins, %d mails lost, %d twice",
		rounds, k.serverStops, k.workerStops, k.longest.Round(time.Millisecond), k.requests, k.retries.Load(),
		len(k.logins), lost, twice)
}

// TestStopAnswersWhatIsUnderWay stops a server in the middle of a request over a connection that
// was used before: no further connection is accepted, the request is answered, and its connection
// ends.
func TestStopAnswersWhatIsUnderWay(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "--workers", "0")
	l := w.enrol(t, "UNDERWAY", "email.identifier", "inline")
	gate := w.sink.Hold(t, e2e.AtDot)
	one := &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxConnsPerHost: 1}}
	t.Cleanup(one.CloseIdleConnections)
	client := &e2e.Client{URL: w.server.URL, HTTP: one}
	get(t, one, client.URL+"/healthz/livez")
	answer := l.inBackground(t.Context(), client)
	gate.Wait(t)
	w.server.Signal(t, syscall.SIGTERM)
	e2e.Eventually(t, "a refused connection", func() bool {
		line, err := net.Dial("tcp", strings.TrimPrefix(w.server.URL, "http://"))
		if err == nil {
			line.Close() //nolint:errcheck // it was only tried
		}
		return err != nil
	})
	if w.server.Ended() {
		t.Fatal("the server ended before its answer")
	}
	gate.Open()
	got := <-answer
	if got.err != nil || got.answer.Result.Authentication != "CHALLENGE" {
		t.Errorf("%v %s", got.err, got.answer)
	}
	if code := w.server.Wait(t); code != 0 {
		t.Errorf("exit code %d: %s", code, w.server.Err)
	}
	l.transaction = got.answer.Detail.TransactionID
	w.server = w.Serve(t)
	l.finish(t, w.server.Client, w.oneCopy(t, l))
}
