package test

import (
	"net/http"
	"strings"
	"testing"

	"otpost/test/e2e"
)

// notSent is the original's sentence when the mail server does not accept the mail
// (testdata/rest/mail_failure.json, "pin: inline, SMTP down").
const notSent = "The PIN was correct, but the EMail could not be sent!"

func TestDeadMailServerInline(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.sink.Close()
	l := w.enrol(t, "DEADINLINE", "email.identifier", "inline")
	a := w.server.MustCheck(t, "REJECT", l.serial, l.pin)
	if a.Detail.Message != notSent || a.Detail.TransactionID != "" {
		t.Errorf("answer: %s", a)
	}
	if n := w.server.Failcount(t, l.serial); n != 0 {
		t.Errorf("fail counter %d after a right PIN, want 0", n)
	}
	list := w.server.Must(t, http.MethodGet, "/token/challenges/"+l.serial, nil)
	if !strings.Contains(list.Raw, `"count": 0`) {
		t.Errorf("the challenge stays: %s", list)
	}
}

func TestDeadMailServerQueued(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "--workers", "0")
	worker := w.Worker(t)
	w.server.Set(t, "email.validtime", "20")
	w.sink.Close()
	l := w.enrol(t, "DEADQUEUED")
	l.begin(t, w.server.Client)
	states := map[string]bool{}
	e2e.Eventually(t, "not_sent", func() bool {
		state := w.server.DeliveryState(t, l.transaction)
		states[state] = true
		return state == "not_sent"
	})
	if w.server.Poll(t, l.transaction).Detail.ChallengeStatus != "pending" {
		t.Error("the challenge is not pending any more, although its time is not over")
	}
	if len(states) != 2 || !states["on_its_way"] {
		t.Errorf("polltransaction told %v, want on_its_way and then not_sent", states)
	}
	w.server.Stop(t)
	worker.Stop(t) // it writes nothing after it
	log := w.Read(worker.Log)
	lines := e2e.LinesWith(log, "ERROR")
	if len(lines) != 1 {
		t.Fatalf("%d ERROR lines, want 1:\n%s", len(lines), log)
	}
	for _, part := range []string{"server=queued", "d***@example.org", "serial=" + l.serial, "phase=connect"} {
		if !strings.Contains(lines[0], part) {
			t.Errorf("the line %q does not say %q", lines[0], part)
		}
	}
	if len(e2e.LinesWith(log, "WARNING")) == 0 {
		t.Errorf("no WARNING while it was tried again:\n%s", log)
	}
}

func TestMailServerThatIsNotConfigured(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.enrol(t, "NOSERVER")
	w.server.Set(t, "email.identifier", "nosuch")
	if a := w.server.MustCheck(t, "REJECT", l.serial, l.pin); a.Detail.Message != notSent {
		t.Errorf("answer: %s", a)
	}
}
