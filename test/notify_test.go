package test

import (
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"otpost/test/e2e"
)

// service starts an installed unit for a site, with options for the server.
func (h host) service(t *testing.T, s *e2e.Site, unit string, watchdog time.Duration) *e2e.Service {
	t.Helper()
	settings := "OTPOST_SERVE=--listen 127.0.0.1:0 --workers 0\nOTPOST_WORKER=-v\n"
	if err := os.WriteFile(filepath.Join(h.etc, "default", "otpost"), []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	return e2e.StartService(t, e2e.ReadUnit(t, h.unit(unit)), watchdog, "CONFIGURATION_DIRECTORY="+s.Dir,
		"LOGS_DIRECTORY="+s.Dir)
}

// TestInstalledUnitsSpeakTheProtocol starts both units as systemd does and checks their messages:
// ready, pings, a reload, the stop.
func TestInstalledUnitsSpeakTheProtocol(t *testing.T) {
	t.Parallel()
	h, site := installed(t), e2e.NewSite(t, programs, true)
	server := h.service(t, site, "otpost", time.Second)
	ready := server.Message(t, "READY=1", 1)
	_, url, _ := strings.Cut(server.Line(t, "listening on "), "listening on ")
	if !strings.Contains(ready, "STATUS=answers at "+url) {
		t.Errorf("ready: %q", ready)
	}
	response, err := http.Get(url + "/healthz/readyz") //nolint:noctx // a moment
	if err != nil {
		t.Fatalf("not answered though it is ready: %v", err)
	}
	response.Body.Close() //nolint:errcheck // nothing was read
	worker := h.service(t, site, "otpost-worker", time.Second)
	if ready := worker.Message(t, "READY=1", 1); !strings.Contains(ready,
		"STATUS=works on the queue huey, embedded in ") {
		t.Errorf("ready: %q", ready)
	}
	for name, s := range map[string]*e2e.Service{"otpost": server, "otpost-worker": worker} {
		s.Message(t, "WATCHDOG=1", 3)
		h.reload(t, name, s)
		s.Signal(t, syscall.SIGTERM)
		if code := s.Wait(t); code != 0 {
			t.Errorf("%s: exit code %d\n%s", name, code, s.Err)
		}
		s.Message(t, "STOPPING=1", 1)
		inOrder(t, name, s.Messages(""))
	}
	if log := site.Read("queue.log"); !strings.Contains(log, "worker stopped") {
		t.Errorf("the worker's log is not where the unit says: %q", log)
	}
}

// reload runs the unit's ExecReload and follows it.
func (h host) reload(t *testing.T, name string, s *e2e.Service) {
	t.Helper()
	words := e2e.ReadUnit(t, h.unit(name)).Words(t, "ExecReload", []string{"MAINPID=" + strconv.Itoa(s.PID())})
	if code, p := e2e.Run(t, e2e.Command{Path: words[0], Args: words[1:]}); code != 0 {
		t.Fatalf("%v exited with %d: %s", words, code, p.Err)
	}
	s.Message(t, "READY=1", 2)
	begun := regexp.MustCompile(`(?m)^MONOTONIC_USEC=(\d+)$`).FindStringSubmatch(s.Message(t, "RELOADING=1", 1))
	if begun == nil {
		t.Fatalf("%s: the reload has no time: %q", name, s.Messages("RELOADING=1"))
	}
	at, err := strconv.ParseInt(begun[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		t.Fatal(err)
	}
	if ago := time.Duration(now.Nano() - at*1000); ago < 0 || ago > e2e.Patience {
		t.Errorf("%s: the reload was %s ago", name, ago)
	}
}

// inOrder checks the order of the states, and that only pings follow the stop.
func inOrder(t *testing.T, name string, told []string) {
	t.Helper()
	var states []string
	for _, m := range told {
		if first, _, _ := strings.Cut(m, "\n"); first != "WATCHDOG=1" {
			states = append(states, first)
		}
	}
	if got := strings.Join(states, " "); got != "READY=1 RELOADING=1 READY=1 STOPPING=1" {
		t.Errorf("%s told %q", name, got)
	}
}

// TestHungProcessGetsNoPings takes the lock that every commit needs: server and worker hang, and
// neither may send pings. When the lock is free again, both do.
func TestHungProcessGetsNoPings(t *testing.T) {
	t.Parallel()
	h, site := installed(t), e2e.NewSite(t, programs, true)
	for _, c := range []struct{ unit, log string }{{"otpost", ""}, {"otpost-worker", "queue.log"}} {
		s := h.service(t, site, c.unit, 400*time.Millisecond)
		log := func() string {
			if c.log == "" {
				return s.Err.String()
			}
			return site.Read(c.log)
		}
		complaints := func() int { return len(e2e.LinesWith(log(), "watchdog gets no ping")) }
		s.Message(t, "WATCHDOG=1", 2)
		lock, err := os.OpenFile(filepath.Join(site.Dir, "state", "otpost.db-writer"), os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
			t.Fatal(err)
		}
		e2e.Eventually(t, c.unit+": a ping that is missing", func() bool { return complaints() > 0 })
		pings := len(s.Messages("WATCHDOG=1"))
		before := complaints()
		e2e.Eventually(t, c.unit+": two more", func() bool { return complaints() >= before+2 })
		if now := len(s.Messages("WATCHDOG=1")); now != pings {
			t.Errorf("%s: %d pings while it hung", c.unit, now-pings)
		}
		if err := lock.Close(); err != nil {
			t.Fatal(err)
		}
		s.Message(t, "WATCHDOG=1", pings+2)
		s.Stop(t)
	}
}

// TestWorkerIsReadyWithoutRedis starts the worker before its Redis: this is not a failed start for
// the manager.
func TestWorkerIsReadyWithoutRedis(t *testing.T) {
	t.Parallel()
	redis := e2e.NewRedis(t)
	h, site := installed(t), e2e.NewRedisSite(t, programs, redis.URL())
	redis.Stop(t)
	worker := h.service(t, site, "otpost-worker", time.Second)
	if ready := worker.Message(t, "READY=1", 1); !strings.Contains(ready, "STATUS=queue out of reach") {
		t.Errorf("ready: %q", ready)
	}
	worker.Message(t, "WATCHDOG=1", 2)
	redis.Start(t)
	worker.Message(t, "STATUS=works on the queue huey, Redis at ", 1)
	worker.Stop(t)
}
