package test

import (
	"fmt"
	"net"
	"strconv"
	"sync/atomic"
	"testing"

	"otpost/test/e2e"
	"otpost/test/proxy"
)

// behind puts a proxy before the mail server and returns it with its port.
func (w *world) behind(t *testing.T) (*proxy.Proxy, int) {
	t.Helper()
	line, err := proxy.Open(fmt.Sprintf("127.0.0.1:%d", w.sink.Port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { line.Close() })
	_, text, err := net.SplitHostPort(line.Addr())
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return line, port
}

// TestReplyToTheDotIsLost cuts the line when the server has taken the message and before its reply
// has come back. Through the queue the mail is tried again, as the same mail; inline the answer
// says that it could not be sent, and its code works nevertheless if it came.
func TestReplyToTheDotIsLost(t *testing.T) {
	t.Parallel()
	lose := func(w *world, line *proxy.Proxy) {
		var lost atomic.Bool
		w.sink.Use(func(stage e2e.Stage, _ e2e.Mail) error {
			if stage == e2e.AtDot && lost.CompareAndSwap(false, true) {
				line.Set(proxy.Faults{CutDown: 1})
			}
			return nil
		})
	}
	t.Run("queued", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, "--workers", "0")
		w.Worker(t)
		line, port := w.behind(t)
		w.server.SMTPServer(t, "queued", port, map[string]any{"enqueue_job": true})
		lose(w, line)
		l := w.enrol(t, "LOSTREPLY")
		l.begin(t, w.server.Client)
		w.sink.Mail(t, l.address, 1)
		e2e.Eventually(t, "the next try", func() bool { return line.Connections() >= 2 })
		line.Set(proxy.Faults{})
		w.delivered(t, l)
		if n := len(w.sink.Mails(l.address)); n != 2 {
			t.Errorf("%d copies, want the second try to be one", n)
		}
		l.finish(t, w.server.Client, w.sameMail(t, l, 2))
	})
	t.Run("inline", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		line, port := w.behind(t)
		w.server.SMTPServer(t, "inline", port, nil)
		lose(w, line)
		l := w.enrol(t, "LOSTINLINE", "email.identifier", "inline")
		a := w.server.MustCheck(t, "REJECT", l.serial, l.pin)
		if a.Detail.Message != notSent {
			t.Errorf("answer: %s", a)
		}
		w.server.MustCheck(t, "ACCEPT", l.serial, l.pin+w.oneCopy(t, l).Code())
	})
}

// TestTemporaryRefusals refuses a mail twice with 451, before the dot and to the dot: it is sent at
// the third try, once.
func TestTemporaryRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "--workers", "0")
	w.Worker(t)
	l := w.enrol(t, "GREYLISTED")
	var refused atomic.Int64
	w.sink.Use(func(stage e2e.Stage, m e2e.Mail) error {
		switch {
		case m.To != l.address:
		case stage == e2e.AtRcpt && refused.CompareAndSwap(0, 1), stage == e2e.AtData && refused.CompareAndSwap(1, 2):
			return e2e.Refuse(451, "come back later")
		}
		return nil
	})
	l.begin(t, w.server.Client)
	w.delivered(t, l)
	if n := refused.Load(); n != 2 {
		t.Errorf("refused %d times", n)
	}
	l.finish(t, w.server.Client, w.oneCopy(t, l))
}
