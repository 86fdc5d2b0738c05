package test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"otpost/test/e2e"
	"otpost/test/proxy"
)

// TestSeed has one subtest for each required sentence (privacyIDEA's manual page "Job Queue"), with
// the queue in the database and in Redis where that makes a difference. Row 5 is a promise about
// later versions.
func TestSeed(t *testing.T) {
	t.Parallel()
	rows := []struct {
		number   int
		sentence string
		run      func(t *testing.T)
	}{
		{1, "time-consuming tasks hurt a request and can be delegated to external worker processes", seedDelegates},
		{2, "a job is stored, the HTTP answer goes out, a worker process retrieves the job and sends the mail",
			both(seedStoresTheJob)},
		{3, "a flaky connection to the SMTP server no longer delays logins", both(seedFlakyConnection)},
		{4, "huey and Redis store the jobs", seedJobsInRedis},
		{6, "the queue is disabled by default", seedDisabledByDefault},
		{7, "PI_JOB_QUEUE_CLASS = 'privacyidea.lib.queues.huey_queue.HueyQueue' enables it", seedClassLine},
		{8, "it is used after a server restart", both(seedAfterRestart)},
		{9, "the queue is chosen per SMTP server, by a box", both(seedPerServer)},
		{10, "a Redis server must be reachable, by default a local one", seedDefaultURL},
		{11, "PI_JOB_QUEUE_URL has redis-py's format", seedURL},
		{12, "a worker process must run besides the server", both(seedWorkerMissing)},
		{13, "start it with privacyidea-queue-huey", seedWorkerByName},
		{14, "it logs to privacyidea-queue.log in the working directory", seedDefaultLog},
		{15, "privacyidea-queue-huey -l FILE logs to that file", seedLogOption},
		{16, "additional options as in huey's consumer documentation", seedConsumerOptions},
		{17, "in queue mode the server does not throw or log errors for mails that could not be sent",
			both(seedNoServerErrors)},
		{18, "monitor the queue log for errors", both(seedQueueLog)},
	}
	for _, r := range rows {
		t.Run(fmt.Sprintf("row %d: %s", r.number, r.sentence), func(t *testing.T) {
			t.Parallel()
			r.run(t)
		})
	}
}

// both makes a row that runs on both kinds of queue.
func both(row func(t *testing.T, on queueKind)) func(t *testing.T) {
	return func(t *testing.T) { onBoth(t, row) }
}

func seedDelegates(t *testing.T) {
	const slow = 3 * time.Second
	w := newWorld(t, "--workers", "0")
	w.Worker(t)
	queued, inline := w.enrol(t, "QUEUED"), w.enrol(t, "INLINE", "email.identifier", "inline")
	w.sink.Use(func(stage e2e.Stage, _ e2e.Mail) error {
		if stage == e2e.AtDot {
			<-time.After(slow) // the mail server that takes three seconds
		}
		return nil
	})
	a := queued.begin(t, w.server.Client)
	b := inline.begin(t, w.server.Client)
	t.Logf("queued: answered in %s; inline: in %s", a.Took.Round(time.Millisecond), b.Took.Round(time.Millisecond))
	if a.Took >= slow {
		t.Errorf("the queued login took %s with a mail server that takes %s", a.Took, slow)
	}
	if b.Took < slow {
		t.Errorf("the inline login took %s, less than its mail server's %s", b.Took, slow)
	}
	queued.finish(t, w.server.Client, w.oneCopy(t, queued))
}

func seedStoresTheJob(t *testing.T, on queueKind) {
	w := newWorldOn(t, on, "--workers", "0")
	l := w.enrol(t, "STORED")
	l.begin(t, w.server.Client)
	if n := w.sink.Count(); n != 0 {
		t.Fatalf("%d mails were sent without a worker", n)
	}
	w.restart(t, "--workers", "0")
	if state := w.server.DeliveryState(t, l.transaction); state != "on_its_way" {
		t.Errorf("state %q while the mail waits, want on_its_way", state)
	}
	worker := w.Worker(t)
	l.finish(t, w.server.Client, w.oneCopy(t, l))

	// The other order: the worker is stopped and started again while the server stays.
	worker.Stop(t)
	l.begin(t, w.server.Client)
	if n := len(w.sink.Mails(l.address)); n != 1 {
		t.Fatalf("a mail was sent while the worker was stopped: %d", n)
	}
	w.Worker(t)
	l.finish(t, w.server.Client, w.sink.Mail(t, l.address, 2))
}

func seedFlakyConnection(t *testing.T, on queueKind) {
	w := newWorldOn(t, on, "--workers", "0")
	w.Worker(t)
	line, port := w.behind(t)
	w.server.SMTPServer(t, "queued", port, map[string]any{"enqueue_job": true, "timeout": 4})
	l := w.enrol(t, "FLAKY")
	line.Set(proxy.Faults{Stall: true})
	if a := l.begin(t, w.server.Client); a.Took > 4*time.Second {
		t.Errorf("the login took %s", a.Took)
	}
	e2e.Eventually(t, "a second connection after one that stalled", func() bool { return line.Connections() >= 2 })
	line.Set(proxy.Faults{CutDown: 20}) // in the middle of the greeting
	e2e.Eventually(t, "a connection after one that was cut", func() bool { return line.Connections() >= 4 })
	line.Set(proxy.Faults{Delay: 20 * time.Millisecond})
	m := w.oneCopy(t, l)
	end, err := time.Parse(time.RFC3339Nano, w.server.Poll(t, l.transaction).Detail.Delivery.ValidUntil)
	if err != nil {
		t.Errorf("valid_until: %v", err)
	} else if !m.At.Before(end) {
		t.Errorf("the mail came at %s, after its code's end %s", m.At, end)
	}
	l.finish(t, w.server.Client, m)
}

func seedDisabledByDefault(t *testing.T) {
	site := e2e.NewSite(t, programs, false)
	lines := 0
	for line := range strings.Lines(site.Read("pi.cfg")) {
		if strings.Contains(line, "PI_JOB_QUEUE_CLASS") || strings.Contains(line, "PI_JOB_QUEUE_URL") {
			lines++
			if !strings.HasPrefix(line, "#") {
				t.Errorf("a fresh pi.cfg has the line %q, want it as a comment", line)
			}
		}
	}
	if lines != 2 {
		t.Errorf("a fresh pi.cfg names the queue's settings in %d lines, want 2", lines)
	}
	w := startWorld(t, site)
	wantInline(t, w, w.enrol(t, "DEFAULT")) // although the server's box is ticked
}

// wantInline checks that a login's answer waits for the mail server.
func wantInline(t *testing.T, w *world, l *login) {
	t.Helper()
	gate := w.sink.Hold(t, e2e.AtDot)
	done := l.inBackground(t.Context(), w.server.Client)
	gate.Wait(t)
	select {
	case a := <-done:
		t.Fatalf("%s: answered while the mail server had not: %v %s", l.serial, a.err, a.answer)
	case <-time.After(300 * time.Millisecond): // an answer that does not wait has come by now
	}
	gate.Open()
	if a := <-done; a.err != nil || a.answer.Result.Authentication != "CHALLENGE" {
		t.Fatalf("%s: %v %s", l.serial, a.err, a.answer)
	}
	w.sink.Use(nil)
}

// wantQueued checks that a login's answer comes while the mail server stalls.
func wantQueued(t *testing.T, w *world, l *login) {
	t.Helper()
	gate := w.sink.Hold(t, e2e.AtDot)
	l.begin(t, w.server.Client)
	gate.Wait(t)
	if state := w.server.DeliveryState(t, l.transaction); state != "on_its_way" {
		t.Errorf("%s: state %q while the mail is being sent, want on_its_way", l.serial, state)
	}
	gate.Open()
	w.delivered(t, l)
	w.sink.Use(nil)
}

func seedAfterRestart(t *testing.T, on queueKind) {
	w := startWorld(t, e2e.NewSite(t, programs, false))
	before, edited, after := w.enrol(t, "BEFORE"), w.enrol(t, "EDITED"), w.enrol(t, "AFTER")
	wantInline(t, w, before)
	if on == inRedis {
		w.redis = e2e.NewRedis(t)
		w.Append(t, fmt.Sprintf("PI_JOB_QUEUE_CLASS = "+
			"'privacyidea.lib.queues.huey_queue.HueyQueue'\nPI_JOB_QUEUE_URL = '%s'\n", w.redis.URL()))
	} else {
		w.Append(t, "PI_JOB_QUEUE_CLASS = 'embedded'\n")
	}
	wantInline(t, w, edited)
	w.restart(t)
	w.ensureWorker(t)
	wantQueued(t, w, after)
}

func seedPerServer(t *testing.T, on queueKind) {
	w := newWorldOn(t, on)
	w.ensureWorker(t)
	wantQueued(t, w, w.enrol(t, "TICKED", "email.identifier", "queued"))
	wantInline(t, w, w.enrol(t, "UNTICKED", "email.identifier", "inline"))

	var servers map[string]struct {
		Enqueue bool `json:"enqueue_job"`
	}
	if err := json.Unmarshal(w.server.Must(t, http.MethodGet, "/smtpserver/", nil).Result.Value, &servers); err != nil {
		t.Fatal(err)
	}
	if !servers["queued"].Enqueue || servers["inline"].Enqueue {
		t.Errorf("enqueue_job is %+v", servers)
	}
	w.server.SMTPServer(t, "queued", w.sink.Port, map[string]any{"enqueue_job": false})
	wantInline(t, w, w.enrol(t, "NOLONGER", "email.identifier", "queued"))
}

func seedWorkerMissing(t *testing.T, on queueKind) {
	w := newWorldOn(t, on, "--workers", "0")
	first, second := w.enrol(t, "ALONE1"), w.enrol(t, "ALONE2")
	first.begin(t, w.server.Client)
	second.begin(t, w.server.Client)
	var warning string
	e2e.EventuallyIn(t, 90*time.Second, "the warning that no worker is seen", func() bool {
		lines := w.server.Err.Lines("no worker is seen")
		if len(lines) > 0 {
			warning = lines[0]
		}
		return warning != ""
	})
	for _, part := range []string{"[WARNING]", "waiting=2", "otpost worker --config " + w.Config} {
		if !strings.Contains(warning, part) {
			t.Errorf("the warning %q does not say %q", warning, part)
		}
	}
	if n := w.sink.Count(); n != 0 {
		t.Errorf("%d mails were sent without a worker", n)
	}
	w.Worker(t) // what the warning says
	first.finish(t, w.server.Client, w.oneCopy(t, first))
	second.finish(t, w.server.Client, w.oneCopy(t, second))
}

// huey returns the command under the original's name, in a working directory of its own.
func (w *world) huey(t *testing.T, args ...string) e2e.Command {
	t.Helper()
	return e2e.Command{
		Path: programs.Path("privacyidea-queue-huey"), Args: args, Dir: t.TempDir(),
		Env: []string{"PRIVACYIDEA_CONFIGFILE=" + w.Config},
	}
}

func seedWorkerByName(t *testing.T) {
	place := t.TempDir()
	makeInstall(t, "PREFIX="+place)
	w := newWorld(t, "--workers", "0")
	l := w.enrol(t, "BYNAME")
	l.begin(t, w.server.Client)
	c := w.huey(t)
	c.Path = filepath.Join(place, "bin", "privacyidea-queue-huey")
	p := e2e.Start(t, c)
	l.finish(t, w.server.Client, w.oneCopy(t, l))
	p.Stop(t)
}

func seedDefaultLog(t *testing.T) {
	w := newWorld(t, "--workers", "0")
	c := w.huey(t)
	p := e2e.Start(t, c)
	if line := p.Line(t, "Logging to "); line != "Logging to 'privacyidea-queue.log'" {
		t.Errorf("standard output says %q", line)
	}
	wantLogged(t, w, filepath.Join(c.Dir, "privacyidea-queue.log"), "DEFAULTLOG")
	p.Stop(t)
	if text := p.Out.String(); strings.Count(text, "\n") != 1 {
		t.Errorf("standard output has more than its one line: %q", text)
	}
}

func seedLogOption(t *testing.T) {
	w := newWorld(t, "--workers", "0")
	file := filepath.Join(t.TempDir(), "queue.log")
	c := w.huey(t, "-l", file)
	p := e2e.Start(t, c)
	if line := p.Line(t, "Logging to "); line != "Logging to '"+file+"'" {
		t.Errorf("standard output says %q", line)
	}
	wantLogged(t, w, file, "LOGOPTION")
	if _, err := os.Stat(filepath.Join(c.Dir, "privacyidea-queue.log")); err == nil {
		t.Error("the default log was made besides")
	}
}

// wantLogged checks that a login's mail is sent and logged in a file.
func wantLogged(t *testing.T, w *world, file, serial string) {
	t.Helper()
	l := w.enrol(t, serial)
	l.begin(t, w.server.Client)
	l.finish(t, w.server.Client, w.oneCopy(t, l))
	e2e.Eventually(t, "the mail's line in "+file, func() bool {
		lines := e2e.LinesWith(w.Read(file), "serial="+serial)
		return len(lines) == 1 && strings.Contains(lines[0], "[INFO]")
	})
}

func seedNoServerErrors(t *testing.T, on queueKind) {
	w := newWorldOn(t, on, "--workers", "0")
	w.Worker(t)
	w.server.Set(t, "email.validtime", "20")
	w.sink.Close()
	l := w.enrol(t, "DEAD")
	l.begin(t, w.server.Client)
	poll := w.server.Poll(t, l.transaction)
	if poll.Detail.ChallengeStatus != "pending" || poll.Detail.Delivery == nil {
		t.Errorf("polltransaction: %s", poll)
	}
	w.state(t, l, "not_sent")
	for _, word := range []string{"ERROR", "WARNING", "panic"} {
		if lines := e2e.LinesWith(w.server.Err.String()+w.server.Out.String(), word); len(lines) > 0 {
			t.Errorf("the server's log has %s lines: %v", word, lines)
		}
	}
}

func seedQueueLog(t *testing.T, on queueKind) {
	w := newWorldOn(t, on, "--workers", "0")
	worker := w.Worker(t)
	refused, later := w.enrol(t, "REFUSED"), w.enrol(t, "LATER")
	laterTried := false
	w.sink.Use(func(stage e2e.Stage, m e2e.Mail) error {
		switch {
		case stage != e2e.AtRcpt:
		case m.To == refused.address:
			return e2e.Refuse(550, "no such user here")
		case m.To == later.address && !laterTried:
			laterTried = true
			return e2e.Refuse(451, "greylisted")
		}
		return nil
	})
	refused.begin(t, w.server.Client)
	w.state(t, refused, "not_sent")
	later.begin(t, w.server.Client)
	w.delivered(t, later)
	later.finish(t, w.server.Client, w.oneCopy(t, later))

	e2e.Eventually(t, "the line of the mail that came last", func() bool {
		return strings.Contains(w.Read(worker.Log), "state=accepted")
	})
	log := w.Read(worker.Log)
	wantLine := func(level, serial string, parts ...string) {
		t.Helper()
		lines := e2e.LinesWith(log, "["+level+"]")
		if len(lines) != 1 {
			t.Fatalf("%d lines with %s, want 1:\n%s", len(lines), level, log)
		}
		for _, part := range append(parts, "serial="+serial, "server=queued") {
			if !strings.Contains(lines[0], part) {
				t.Errorf("the line %q does not say %q", lines[0], part)
			}
		}
	}
	wantLine("ERROR", "REFUSED", "r***@example.org", "phase=", "code=550", "no such user here")
	wantLine("WARNING", "LATER", "l***@example.org", "phase=", "code=451", "greylisted", "next_try=")
}
