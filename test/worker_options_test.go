package test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"otpost/test/e2e"
)

// optioned is an external worker under privacyIDEA's name, and its log.
type optioned struct {
	*e2e.Process
	log string
}

// lines returns the lines of the log with part in them.
func (o optioned) lines(part string) []string {
	b, err := os.ReadFile(o.log)
	if err != nil {
		return nil
	}
	return e2e.LinesWith(string(b), part)
}

// consumer starts privacyidea-queue-huey with options and waits until it works.
func (w *world) consumer(t *testing.T, args ...string) optioned {
	t.Helper()
	o := optioned{log: filepath.Join(t.TempDir(), "queue.log")}
	o.Process = e2e.Start(t, e2e.Command{
		Path: programs.Path("privacyidea-queue-huey"), Args: append(args, "-l", o.log, "--config", w.Config),
		Dir: t.TempDir(),
	})
	o.Line(t, "Logging to '"+o.log+"'")
	e2e.Eventually(t, "a worker in the list", func() bool { return len(w.status(t).Workers) > 0 })
	return o
}

// queueNow is the part of `otpost queue status --json` that these tests read.
type queueNow struct {
	Ready []struct {
		Priority string `json:"priority"`
		Jobs     int    `json:"ready"`
	} `json:"depth"`
	Leased    int `json:"leased"`
	Scheduled int `json:"scheduled"`
	Workers   []struct {
		ID       uuid.UUID `json:"id"`
		PID      int       `json:"pid"`
		Handlers int       `json:"handlers"`
		Local    bool      `json:"local"`
	} `json:"workers"`
	Failures []struct {
		State  string `json:"state"`
		Reason string `json:"reason"`
		Count  int    `json:"count"`
	} `json:"failures_24h"`
}

func (w *world) status(t *testing.T) queueNow {
	t.Helper()
	var now queueNow
	w.ask(t, &now, "queue", "status")
	return now
}

// ask runs a command with --json and reads its answer into v.
func (w *world) ask(t *testing.T, v any, args ...string) {
	t.Helper()
	text := w.output(t, append(args, "--json")...)
	if err := json.Unmarshal([]byte(text), v); err != nil {
		t.Fatalf("%v: %v in %s", args, err, text)
	}
}

// output runs a command that must succeed and returns its output.
func (w *world) output(t *testing.T, args ...string) string {
	t.Helper()
	code, p := e2e.Run(t, w.Otpost(append(args, "--config", w.Config)...))
	if code != 0 {
		t.Fatalf("otpost %v exited with %d: %s", args, code, p.Err)
	}
	return p.Out.String()
}

// sendOne makes one login whose mail the running worker sends.
func (w *world) sendOne(t *testing.T, serial string) {
	t.Helper()
	l := w.enrol(t, serial)
	l.begin(t, w.server.Client)
	w.oneCopy(t, l)
	w.delivered(t, l)
}

// seedConsumerOptions checks that the help text has every option of huey 3.5's consumer, and that
// each starts a worker that sends a mail.
func seedConsumerOptions(t *testing.T) {
	huey := func(args ...string) e2e.Command {
		return e2e.Command{Path: programs.Path("privacyidea-queue-huey"), Args: args, Dir: t.TempDir(),
			Env: []string{"COLUMNS=80"}}
	}
	code, help := e2e.Run(t, huey("--help"))
	if code != 0 {
		t.Fatalf("--help exits with %d", code)
	}
	options := []string{
		"-l, --logfile=", "-w, --workers=", "-k, --worker-type=", "-d, --delay=", "-m, --max-delay=", "-b, --backoff=",
		"-c, --health-check-interval=", "-C, --disable-health-check", "-f, --flush-locks", "-L, --extra-locks=",
		"-s, --scheduler-interval=", "-n, --no-periodic", "-M, --max-tasks=", "-t, --shutdown-timeout=",
		"-g, --graceful-signal=",
		"-v, --verbose", "-q, --quiet", "-S, --simple",
	}
	for _, o := range options {
		if len(help.Out.Lines("  "+o)) != 1 {
			t.Errorf("--help does not show %s", o)
		}
	}
	exits(t, 2, `did you mean "--workers"?`, huey("--wrokers", "4"))
	w := newWorld(t, "--workers", "0")
	for i, args := range [][]string{
		{"-w", "2"}, {"-k", "thread"}, {"-k", "process"}, {"-k", "greenlet"}, {"-d", "0.1"}, {"-m", "1.0"},
		{"-b", "1.1"}, {"-c", "5"}, {"-C"},
		{"-f"}, {"-L", "lock1,lock2"}, {"-s", "30"}, {"-n"}, {"-M", "1"}, {"-t", "20"}, {"-g", "INT"}, {"-g", "TERM"},
		{"-v"}, {"-q"}, {"-S"},
		{"-w4", "-vn", "--worker-type=process", "--backoff", "1.2"},
	} {
		o := w.consumer(t, args...)
		w.sendOne(t, fmt.Sprintf("OPTION%d", i))
		o.Signal(t, syscall.SIGINT)
		if code := o.Wait(t); code != 0 {
			t.Errorf("%v: exit code %d", args, code)
		}
		if n := len(o.lines("ERROR")); n != 0 {
			t.Errorf("%v: %d lines with ERROR", args, n)
		}
	}
}

func TestOptionsWithoutEffectAreNamedOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "--workers", "0")
	o := w.consumer(t, "-k", "process", "-d", ".05", "--delay=0.2", "-m", "5", "-b", "1.3", "-c", "60", "-C", "-f",
		"-L", "a,b", "-s", "5", "-n")
	w.sendOne(t, "IGNORED")
	o.Stop(t)
	for _, name := range []string{
		"worker-type", "delay", "max-delay", "backoff", "health-check-interval", "disable-health-check", "flush-locks",
		"extra-locks",
		"scheduler-interval", "no-periodic",
	} {
		lines := o.lines("option without effect option=--" + name + " reason=")
		if len(lines) != 1 || !strings.Contains(lines[0], "[WARNING]") {
			t.Errorf("--%s is named in %d lines: %v", name, len(lines), lines)
		}
	}
	if n := len(o.lines("option without effect")); n != 10 {
		t.Errorf("%d options are named, want 10", n)
	}
	plain := w.consumer(t, "-w", "1", "-v")
	plain.Stop(t)
	if lines := plain.lines("without effect"); len(lines) != 0 {
		t.Errorf("without such options the log says %v", lines)
	}
}

func TestVerboseAndQuietChooseTheLevel(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "--workers", "0")
	for _, c := range []struct {
		serial      string
		args        []string
		debug, info bool
	}{
		{"PLAIN", nil, false, true},
		{"VERBOSE", []string{"-v"}, true, true},
		{"QUIET", []string{"-q"}, false, false},
		{"BOTH", []string{"-v", "--quiet"}, false, false},
	} {
		o := w.consumer(t, c.args...)
		w.sendOne(t, c.serial)
		o.Stop(t)
		if debug := len(o.lines("[DEBUG]")) > 0; debug != c.debug {
			t.Errorf("%v: DEBUG lines: %v", c.args, debug)
		}
		if info := len(o.lines("[INFO]")) > 0; info != c.info {
			t.Errorf("%v: INFO lines: %v", c.args, info)
		}
	}
}

func TestSimpleLinesAreTimeAndText(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "--workers", "0")
	o := w.consumer(t, "-S", "-n")
	w.sendOne(t, "SIMPLE")
	o.Stop(t)
	simple := regexp.MustCompile(
		`^\d\d:\d\d:\d\d (worker starting|worker started|worker stopped|WARNING option|message|mail)`)
	all := o.lines("")
	for _, line := range all {
		if !simple.MatchString(line) {
			t.Errorf("line %q", line)
		}
	}
	if len(all) < 4 {
		t.Errorf("%d lines", len(all))
	}
}

func TestWorkersAreCounted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "--workers", "0")
	o := w.consumer(t, "-w", "3")
	now := w.status(t)
	if len(now.Workers) != 1 || now.Workers[0].PID != o.PID() || now.Workers[0].Handlers != 3*32 ||
		!now.Workers[0].Local {
		t.Errorf("workers: %+v", now.Workers)
	}
	o.Stop(t)
	if now := w.status(t); len(now.Workers) != 0 {
		t.Errorf("workers after the end: %+v", now.Workers)
	}
}

func TestWorkerIsReplacedAfterItsTasks(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "--workers", "0")
	o := w.consumer(t, "-w", "2", "-M", "1") // they count together
	first := w.status(t).Workers[0].ID
	logins := []*login{w.enrol(t, "M1"), w.enrol(t, "M2"), w.enrol(t, "M3"), w.enrol(t, "M4"), w.enrol(t, "M5")}
	for _, l := range logins {
		l.begin(t, w.server.Client)
	}
	for _, l := range logins {
		w.oneCopy(t, l)
		w.delivered(t, l)
	}
	e2e.Eventually(t, "one worker, a new one", func() bool {
		now := w.status(t).Workers
		return len(now) == 1 && now[0].ID != first && now[0].PID == o.PID()
	})
	o.Stop(t)
	if n := len(o.lines("worker replaced")); n != 2 {
		t.Errorf("replaced %d times by five jobs, want 2", n)
	}
}

// TestShutdownTimeoutGivesBack stops a worker whose mail server does not answer: it ends long
// before the server's time-out, and the next worker sends the mail.
func TestShutdownTimeoutGivesBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "--workers", "0")
	o := w.consumer(t, "-t", "0.5")
	l := w.stalled(t, "TIMEOUT")
	begun := time.Now()
	o.Stop(t)
	if took := time.Since(begun); took < 500*time.Millisecond || took > stalledFor {
		t.Errorf("the stop took %s", took)
	}
	w.sendAfterAll(t, l)
}

// TestShutdownTimeoutMayRepeatWhatHadNoReply checks the help of -t: a mail server that has the mail
// and is silent gets it again, with the same Message-ID.
func TestShutdownTimeoutMayRepeatWhatHadNoReply(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "--workers", "0")
	o := w.consumer(t, "-t", "0.5")
	l := w.enrol(t, "REPEATED")
	gate := w.sink.Hold(t, e2e.AtDot)
	l.begin(t, w.server.Client)
	gate.Wait(t)
	o.Stop(t)
	w.sink.Use(nil)
	w.Worker(t)
	w.delivered(t, l)
	copies := w.sink.Mails(l.address)
	if len(copies) != 2 || copies[0].MessageID == "" || copies[0].MessageID != copies[1].MessageID {
		t.Errorf("%d copies, want 2 of one Message-ID", len(copies))
	}
}

func TestOtherSignalStopsAtOnce(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		graceful string
		other    syscall.Signal
	}{{"INT", syscall.SIGTERM}, {"TERM", syscall.SIGINT}} {
		t.Run(c.graceful, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "--workers", "0")
			o := w.consumer(t, "-g", c.graceful)
			l := w.stalled(t, "SIGNAL")
			o.Signal(t, c.other)
			begun := time.Now()
			if code := o.Wait(t); code != 0 || time.Since(begun) > stalledFor {
				t.Errorf("exit code %d after %s", code, time.Since(begun))
			}
			w.sendAfterAll(t, l)
		})
	}
}

// TestGracefulSignalFinishesTheMail tries each kind of graceful stop while the mail server holds
// back the reply to the dot.
func TestGracefulSignalFinishesTheMail(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args   []string
		signal syscall.Signal
	}{
		"-g INT":  {[]string{"-g", "INT"}, syscall.SIGINT},
		"-g TERM": {[]string{"-g", "TERM"}, syscall.SIGTERM},
		"INT":     {nil, syscall.SIGINT},
		"TERM":    {nil, syscall.SIGTERM},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "--workers", "0")
			o := w.consumer(t, c.args...)
			l := w.enrol(t, "GRACE")
			gate := w.sink.Hold(t, e2e.AtDot)
			l.begin(t, w.server.Client)
			gate.Wait(t)
			o.Signal(t, c.signal)
			<-time.After(2500 * time.Millisecond) // a stop at once is over by then
			if o.Ended() {
				t.Error("it did not wait for the reply")
			}
			gate.Open()
			if code := o.Wait(t); code != 0 {
				t.Errorf("exit code %d", code)
			}
			w.oneCopy(t, l)
			w.delivered(t, l)
		})
	}
}

// stalledFor is the time-out of a mail server that stalls: a stop that waits for the mail takes as long.
const stalledFor = 50 * time.Second

// stalled makes a login whose first mail stops at a mail server that does not answer DATA.
func (w *world) stalled(t *testing.T, serial string) *login {
	t.Helper()
	w.server.SMTPServer(t, "queued", w.sink.Port, map[string]any{"enqueue_job": true, "timeout": stalledFor.Seconds()})
	l := w.enrol(t, serial)
	gate := w.sink.Hold(t, e2e.AtData)
	l.begin(t, w.server.Client)
	gate.Wait(t)
	return l
}

// sendAfterAll checks that the queue has the login's job, and that the next worker sends its mail
// once.
func (w *world) sendAfterAll(t *testing.T, l *login) {
	t.Helper()
	now := w.status(t)
	if len(now.Workers) != 0 || now.Leased != 0 || now.Ready[0].Jobs+now.Scheduled != 1 {
		t.Errorf("after the stop: %+v", now)
	}
	w.sink.Use(nil)
	w.Worker(t)
	w.oneCopy(t, l)
	w.delivered(t, l)
}

func TestCheckIsAProbe(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "--workers", "0")
	check := w.Otpost("worker", "--check", "--config", w.Config)
	exits(t, 1, "start one with: otpost worker --config "+w.Config, check)
	o := w.consumer(t)
	if text := w.output(t, "worker", "--check"); !strings.HasPrefix(text, "worker with pid ") {
		t.Errorf("--check says %q", text)
	}
	o.Stop(t)
	exits(t, 1, "no worker", check)
	if _, err := os.Stat(filepath.Join(w.Dir, "privacyidea-queue.log")); err == nil {
		t.Error("--check made a log file")
	}
}

func TestQueueCommandsTellAJobsWay(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "--workers", "0")
	l := w.enrol(t, "WAY")
	l.begin(t, w.server.Client)
	if now := w.status(t); now.Ready[0].Priority != "urgent" || now.Ready[0].Jobs != 1 || len(now.Workers) != 0 {
		t.Errorf("while it waits: %+v", now)
	}
	var list struct {
		Jobs []struct {
			ID    string `json:"id"`
			Kind  string `json:"kind"`
			State string `json:"state"`
		} `json:"jobs"`
	}
	w.ask(t, &list, "queue", "list", "--state", "ready")
	jobs := list.Jobs
	if len(jobs) != 1 || jobs[0].Kind != "delivery.send" || jobs[0].State != "ready" {
		t.Fatalf("jobs: %+v", jobs)
	}
	printed := w.output(t, "queue", "status") + w.output(t, "queue", "list") + w.output(t, "queue", "show", jobs[0].ID)
	w.sink.Use(func(stage e2e.Stage, _ e2e.Mail) error {
		if stage == e2e.AtRcpt {
			return e2e.Refuse(550, "no such user")
		}
		return nil
	})
	w.Worker(t)
	w.state(t, l, "not_sent")
	var shown struct {
		Job      *struct{} `json:"job"`
		Delivery struct {
			State    string `json:"state"`
			Attempts []struct {
				Code int `json:"code"`
			} `json:"attempts"`
		} `json:"delivery"`
	}
	e2e.Eventually(t, "the job to be gone", func() bool {
		w.ask(t, &shown, "queue", "show", jobs[0].ID)
		return shown.Job == nil
	})
	if shown.Delivery.State != "failed" || len(shown.Delivery.Attempts) != 1 || shown.Delivery.Attempts[0].Code != 550 {
		t.Errorf("story: %+v", shown)
	}
	now := w.status(t)
	if len(now.Failures) != 1 || now.Failures[0].Reason != "refused" || now.Failures[0].Count != 1 ||
		now.Ready[0].Jobs != 0 {
		t.Errorf("after the failure: %+v", now)
	}
	printed += w.output(t, "queue", "status") + w.output(t, "queue", "show", jobs[0].ID)
	if strings.Contains(printed, l.address) {
		t.Error("a command printed the whole address")
	}
	if !strings.Contains(printed, "550 5.7.1 no such user") {
		t.Errorf("the server's reply is missing:\n%s", printed)
	}
}

// TestQueueCommandsShowTheDatabaseWithoutRedis stops Redis while a mail waits, after another one
// was refused.
func TestQueueCommandsShowTheDatabaseWithoutRedis(t *testing.T) {
	t.Parallel()
	w := newWorldOn(t, inRedis)
	w.sink.Use(func(stage e2e.Stage, _ e2e.Mail) error {
		if stage == e2e.AtRcpt {
			return e2e.Refuse(550, "no such user")
		}
		return nil
	})
	worker := w.consumer(t)
	refused := w.enrol(t, "REFUSED")
	refused.begin(t, w.server.Client)
	w.state(t, refused, "not_sent")
	worker.Stop(t)
	waiting := w.enrol(t, "WAITS")
	waiting.begin(t, w.server.Client)
	w.redis.Stop(t)
	run := func(args ...string) string {
		t.Helper()
		code, p := e2e.Run(t, w.Otpost(append(args, "--config", w.Config)...))
		said := p.Err.String()
		if code != 1 || !strings.HasPrefix(said, "otpost: the queue is out of reach: ") ||
			!strings.Contains(said, w.redis.Address()) || strings.Count(said, "\n") != 1 {
			t.Errorf("otpost %v exited with %d: %q", args, code, said)
		}
		return p.Out.String()
	}
	var now struct {
		Reachable bool   `json:"reachable"`
		Error     string `json:"error"`
		Open      []struct {
			State string `json:"state"`
			Mails int    `json:"mails"`
		} `json:"open_deliveries"`
		queueNow
	}
	if err := json.Unmarshal([]byte(run("queue", "status", "--json")), &now); err != nil {
		t.Fatal(err)
	}
	if now.Reachable || now.Error == "" || len(now.Open) != 1 || now.Open[0].State != "queued" ||
		now.Open[0].Mails != 1 {
		t.Errorf("status: %+v", now)
	}
	if len(now.Failures) != 1 || now.Failures[0].Reason != "refused" {
		t.Errorf("failures: %+v", now.Failures)
	}
	var list struct {
		Jobs []struct{} `json:"jobs"`
		Open []struct {
			ID string `json:"id"`
		} `json:"open_deliveries"`
	}
	if err := json.Unmarshal([]byte(run("queue", "list", "--json")), &list); err != nil || len(list.Open) != 1 ||
		list.Jobs == nil {
		t.Fatalf("list: %+v, %v", list, err)
	}
	printed := run("queue", "status") + run("queue", "list") + run("queue", "show", list.Open[0].ID)
	for _, part := range []string{"MAILS UNDER WAY", "refused", list.Open[0].ID, "no attempt was made"} {
		if !strings.Contains(printed, part) {
			t.Errorf("nothing says %q:\n%s", part, printed)
		}
	}
	if strings.Contains(printed, waiting.address) {
		t.Error("a command printed the whole address")
	}
}
