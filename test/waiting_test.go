package test

import (
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"otpost/test/e2e"
)

// TestMailOfAnEndedLoginIsNotSent lets mails wait without a worker, ends their logins in each way,
// and starts a worker.
func TestMailOfAnEndedLoginIsNotSent(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "--workers", "0")
	ends := []struct {
		serial string
		end    func(l *login)
		mails  int
	}{
		{"SUPERSEDED", func(l *login) { l.begin(t, w.server.Client) }, 1},
		{"DISABLED", func(l *login) { w.server.Must(t, http.MethodPost, "/token/disable/"+l.serial, nil) }, 0},
		{"DELETED", func(l *login) { w.server.Must(t, http.MethodDelete, "/token/"+l.serial, nil) }, 0},
		{"WANTED", func(*login) {}, 1},
	}
	logins := make([]*login, len(ends))
	for i, e := range ends {
		logins[i] = w.enrol(t, e.serial)
		logins[i].begin(t, w.server.Client)
		e.end(logins[i])
	}
	worker := w.Worker(t)
	for i, e := range ends {
		if e.mails > 0 {
			w.delivered(t, logins[i])
			logins[i].finish(t, w.server.Client, w.oneCopy(t, logins[i]))
		}
	}
	w.settled(t)
	worker.Stop(t)
	for i, e := range ends {
		if n := len(w.sink.Mails(logins[i].address)); n != e.mails {
			t.Errorf("%s: %d mails, want %d", e.serial, n, e.mails)
		}
	}
	if lines := e2e.LinesWith(w.Read(worker.Log), "[ERROR]"); len(lines) > 0 {
		t.Errorf("a mail that nobody waits for is no error: %v", lines)
	}
}

// TestDisabledWhileItIsSent disables the token between RCPT and dot: the dot is not written.
func TestDisabledWhileItIsSent(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "--workers", "0")
	w.Worker(t)
	gate := w.sink.Hold(t, e2e.AtRcpt)
	l := w.enrol(t, "TOOLATENOW")
	l.begin(t, w.server.Client)
	gate.Wait(t)
	w.server.Must(t, http.MethodPost, "/token/disable/"+l.serial, nil)
	gate.Open()
	w.settled(t)
	if n := len(w.sink.Mails(l.address)); n != 0 {
		t.Errorf("%d mails were sent for a token that was disabled before the dot", n)
	}
}

// TestManyProcessesShareOneDatabase lets two external workers and a server with workers of its own
// send at once: every mail comes once.
func TestManyProcessesShareOneDatabase(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "--workers", "2")
	one := w.Worker(t)
	two := e2e.Start(t, w.Otpost("worker", "--config", w.Config, "-l", w.Dir+"/two.log", "-w", "2"))
	two.Line(t, "Logging to ")
	logins := make([]*login, 120)
	for i := range logins {
		logins[i] = w.enrol(t, fmt.Sprintf("SHARED%d", i))
	}
	const atOnce = 8 // more would wait for a hashing slot longer than a login may, on a busy machine
	for i := 0; i < len(logins); i += atOnce {
		got := together(t, atOnce, func(n int) (e2e.Answer, error) {
			l := logins[i+n]
			a, err := w.server.Check(t.Context(), l.serial, l.pin)
			l.transaction = a.Detail.TransactionID
			return a, err
		})
		if got["CHALLENGE"] != atOnce {
			t.Fatalf("%d logins came to %v", atOnce, got)
		}
	}
	for _, l := range logins {
		w.delivered(t, l)
		l.finish(t, w.server.Client, w.oneCopy(t, l))
	}
	one.Stop(t)
	two.Stop(t)
	if n := w.sink.Count(); n != len(logins) {
		t.Errorf("%d mails for %d logins", n, len(logins))
	}
	sentBy := []int{
		len(e2e.LinesWith(w.server.Err.String(), "state=accepted")),
		len(e2e.LinesWith(w.Read(one.Log), "state=accepted")),
		len(e2e.LinesWith(w.Read(w.Dir+"/two.log"), "state=accepted")),
	}
	t.Logf("sent by the server, the first and the second worker: %v", sentBy)
}

// TestServerFinishesItsRequestsOnSignal ends a server while a login waits for the mail server: it is answered first.
func TestServerFinishesItsRequestsOnSignal(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.enrol(t, "UNDERWAY", "email.identifier", "inline")
	gate := w.sink.Hold(t, e2e.AtDot)
	done := l.inBackground(t.Context(), w.server.Client)
	gate.Wait(t)
	w.server.Signal(t, syscall.SIGTERM)
	select {
	case <-time.After(300 * time.Millisecond): // a server that drops its work has ended by now
	case <-ended(w.server.Process):
		t.Fatal("the server ended while it was answering")
	}
	gate.Open()
	a := <-done
	if a.err != nil || a.answer.Result.Authentication != "CHALLENGE" {
		t.Errorf("the login under way: %v %s", a.err, a.answer)
	}
	if code := w.server.Wait(t); code != 0 {
		t.Errorf("exit code %d, want 0; stderr: %s", code, w.server.Err)
	}
	l.transaction = a.answer.Detail.TransactionID
	w.server = w.Serve(t)
	l.finish(t, w.server.Client, w.oneCopy(t, l))
}

// TestBacklogIsSentInTime starts a worker when two hundred mails wait.
func TestBacklogIsSentInTime(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "--workers", "0")
	logins := make([]*login, 200)
	for i := range logins {
		logins[i] = w.enrol(t, fmt.Sprintf("BACKLOG%d", i))
		logins[i].begin(t, w.server.Client)
	}
	worker := w.Worker(t)
	began := time.Now()
	e2e.Eventually(t, "all mails", func() bool { return w.sink.Count() >= len(logins) })
	t.Logf("%d mails sent %s after the worker's start", len(logins), time.Since(began).Round(time.Millisecond))
	for _, l := range logins {
		w.delivered(t, l)
	}
	worker.Stop(t)
	if n := strings.Count(w.Read(worker.Log), "state=accepted"); n != len(logins) || w.sink.Count() != n {
		t.Errorf("%d mails, %d lines of accepted ones, want %d of each", w.sink.Count(), n, len(logins))
	}
}
