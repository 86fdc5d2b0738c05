package test

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"otpost/test/e2e"
)

// sameMail checks that the copies of a login's mail are equal in Message-ID and code, and at most
// `most` copies came.
func (w *world) sameMail(t *testing.T, l *login, most int) e2e.Mail {
	t.Helper()
	mails := w.sink.Mails(l.address)
	if len(mails) == 0 || len(mails) > most {
		t.Fatalf("%s: %d copies, want 1 to %d", l.serial, len(mails), most)
	}
	for _, m := range mails[1:] {
		if m.MessageID == "" || m.MessageID != mails[0].MessageID || m.Code() != mails[0].Code() {
			t.Errorf("%s: copies differ: Message-ID %q and %q", l.serial, mails[0].MessageID, m.MessageID)
		}
	}
	return mails[0]
}

// TestKilledWorkerLosesNoMail kills a worker with -9 at a stage of the transaction and starts another one.
func TestKilledWorkerLosesNoMail(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name  string
		stage e2e.Stage
		most  int
	}{
		{"before the dot", e2e.AtRcpt, 1},
		{"while the server stalls after DATA", e2e.AtData, 2},
		{"between dot and outcome", e2e.AtDot, 2},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "--workers", "0")
			worker := w.Worker(t)
			gate := w.sink.Hold(t, c.stage)
			l := w.enrol(t, "KILLED")
			l.begin(t, w.server.Client)
			gate.Wait(t)
			worker.Kill()
			gate.Open()
			w.Worker(t)
			w.delivered(t, l)
			l.finish(t, w.server.Client, w.sameMail(t, l, c.most))
			w.settled(t)
			w.sameMail(t, l, c.most)
		})
	}
}

// settled waits until the queue is idle: a later login has its mail by then, and so have all second
// copies.
func (w *world) settled(t *testing.T) {
	t.Helper()
	l := w.enrol(t, "AFTERWARDS")
	l.begin(t, w.server.Client)
	w.delivered(t, l)
}

func TestMailOfALoginWhoseWorkerWasKilledIdle(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "--workers", "0")
	worker := w.Worker(t)
	l := w.enrol(t, "IDLE")
	worker.Kill()
	l.begin(t, w.server.Client)
	w.Worker(t)
	w.delivered(t, l)
	l.finish(t, w.server.Client, w.oneCopy(t, l))
}

func TestServerKilledAfterItsAnswerKeepsTheMail(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, workers string }{{"external worker", "0"}, {"workers in its process", "4"}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "--workers", c.workers)
			for _, serial := range []string{"FIRST", "SECOND", "THIRD"} {
				l := w.enrol(t, serial)
				l.begin(t, w.server.Client)
				w.server.Kill()
				w.server = w.Serve(t, "--workers", c.workers)
				if c.workers == "0" {
					worker := w.Worker(t)
					w.delivered(t, l)
					worker.Stop(t)
				}
				w.delivered(t, l)
				l.finish(t, w.server.Client, w.sameMail(t, l, 2))
			}
		})
	}
}

func TestNoMailComesAfterItsCodesEnd(t *testing.T) {
	t.Parallel()
	t.Run("no worker until then", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, "--workers", "0")
		w.server.Set(t, "email.validtime", "3")
		l := w.enrol(t, "TOOLATE")
		l.begin(t, w.server.Client)
		w.state(t, l, "not_sent")
		w.Worker(t)
		w.server.Set(t, "email.validtime", "120")
		w.settled(t)
		if n := len(w.sink.Mails(l.address)); n != 0 {
			t.Errorf("%d mails came after their code's end", n)
		}
	})
	t.Run("the mail server stalls until then", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, "--workers", "0")
		w.Worker(t)
		w.server.Set(t, "email.validtime", "3")
		gate := w.sink.Hold(t, e2e.AtRcpt)
		l := w.enrol(t, "STALLED")
		began := time.Now()
		l.begin(t, w.server.Client)
		gate.Wait(t)
		<-time.After(time.Until(began.Add(3500 * time.Millisecond))) // the test needs the end of the code
		gate.Open()
		w.state(t, l, "not_sent")
		w.server.Set(t, "email.validtime", "120")
		w.settled(t)
		if n := len(w.sink.Mails(l.address)); n != 0 {
			t.Errorf("%d mails came after their code's end", n)
		}
	})
}

func TestWorkerFinishesWhatItSendsOnSignal(t *testing.T) {
	t.Parallel()
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(signal.String(), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "--workers", "0")
			worker := w.Worker(t)
			gate := w.sink.Hold(t, e2e.AtDot)
			l := w.enrol(t, "FINISHED")
			l.begin(t, w.server.Client)
			gate.Wait(t)
			worker.Signal(t, signal)
			select {
			case <-time.After(500 * time.Millisecond): // a worker that drops its work has ended by now
			case <-ended(worker.Process):
				t.Fatal("the worker ended while its mail was being sent")
			}
			gate.Open()
			if code := worker.Wait(t); code != 0 {
				t.Errorf("exit code %d, want 0; stderr: %s", code, worker.Err)
			}
			if lines := e2e.LinesWith(w.Read(worker.Log), "serial=FINISHED"); len(lines) != 1 ||
				!strings.Contains(lines[0], "state=accepted") {
				t.Errorf("the log tells of the mail: %v", lines)
			}
			w.delivered(t, l)
			l.finish(t, w.server.Client, w.oneCopy(t, l))
		})
	}
}

func ended(p *e2e.Process) <-chan struct{} {
	c := make(chan struct{})
	go func() {
		defer close(c)
		for !p.Ended() {
			<-time.After(5 * time.Millisecond)
		}
	}()
	return c
}

func TestSecondSignalEndsTheWorkerAndGivesItsJobsBack(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		stage e2e.Stage
		most  int
	}{{"before the dot", e2e.AtRcpt, 1}, {"after the dot", e2e.AtDot, 2}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "--workers", "0")
			w.server.SMTPServer(t, "queued", w.sink.Port, map[string]any{"enqueue_job": true,
				"timeout": stalledFor.Seconds()})
			worker := w.Worker(t)
			gate := w.sink.Hold(t, c.stage)
			l := w.enrol(t, "GIVENBACK")
			l.begin(t, w.server.Client)
			gate.Wait(t)
			worker.Signal(t, syscall.SIGTERM)
			worker.Signal(t, syscall.SIGINT) // another one: two equal signals may arrive as one
			began := time.Now()
			code := worker.Wait(t)
			t.Logf("ended after %s with code %d", time.Since(began).Round(time.Millisecond), code)
			if took := time.Since(began); took > stalledFor {
				t.Errorf("the worker took %s to end at once", took)
			}
			gate.Open()
			w.Worker(t)
			w.delivered(t, l)
			l.finish(t, w.server.Client, w.sameMail(t, l, c.most))
		})
	}
}

func TestHangUpReopensTheLog(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "--workers", "0")
	worker := w.Worker(t)
	wantLogged(t, w, worker.Log, "OLDFILE")
	rotated := worker.Log + ".1"
	if err := os.Rename(worker.Log, rotated); err != nil {
		t.Fatal(err)
	}
	worker.Signal(t, syscall.SIGHUP)
	e2e.Eventually(t, "the new log file", func() bool {
		_, err := os.Stat(worker.Log)
		return err == nil
	})
	wantLogged(t, w, worker.Log, "NEWFILE")
	if lines := e2e.LinesWith(w.Read(rotated), "serial=NEWFILE"); len(lines) > 0 {
		t.Errorf("the rotated file got new lines: %v", lines)
	}
	if lines := e2e.LinesWith(w.Read(rotated), "serial=OLDFILE"); len(lines) != 1 {
		t.Errorf("the rotated file has %d of its old lines", len(lines))
	}
	worker.Stop(t)
}

func TestWorkerThatCannotWorkSaysWhy(t *testing.T) {
	t.Parallel()
	t.Run("no queue", func(t *testing.T) {
		t.Parallel()
		site := e2e.NewSite(t, programs, false)
		exits(t, 1, "PI_JOB_QUEUE_CLASS", site.Otpost("worker", "--config", site.Config, "-l", site.Dir+"/x.log"))
		if _, err := os.Stat(site.Dir + "/x.log"); err == nil {
			t.Error("a log file was made")
		}
	})
	t.Run("log in a folder that is not there", func(t *testing.T) {
		t.Parallel()
		site := e2e.NewSite(t, programs, true)
		exits(t, 1, "log", site.Otpost("worker", "--config", site.Config, "-l", site.Dir+"/nosuch/x.log"))
	})
	t.Run("log is a folder", func(t *testing.T) {
		t.Parallel()
		site := e2e.NewSite(t, programs, true)
		exits(t, 1, "log", site.Otpost("worker", "--config", site.Config, "-l", site.Dir))
	})
}
