package test

import (
	"bufio"
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"otpost/test/e2e"
)

// fill fills a pipe, like a reader that hangs.
func fill(t *testing.T, pipe *os.File) {
	t.Helper()
	size, err := unix.FcntlInt(pipe.Fd(), unix.F_GETPIPE_SZ, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pipe.Write(append(bytes.Repeat([]byte("x"), size-1), '\n')); err != nil {
		t.Fatal(err)
	}
}

// hungLogs lead the log of a server into a pipe that is full, and return its reading end.
var hungLogs = map[string]func(*testing.T, *e2e.Site) *os.File{
	"standard error": func(t *testing.T, site *e2e.Site) *os.File {
		t.Helper()
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { w.Close() })
		fill(t, w)
		site.Stderr = w
		return r
	},
	"named pipe": func(t *testing.T, site *e2e.Site) *os.File {
		t.Helper()
		name := filepath.Join(site.Dir, "log.pipe")
		if err := unix.Mkfifo(name, 0o600); err != nil {
			t.Fatal(err)
		}
		pipe, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		fill(t, pipe)
		site.Append(t, "PI_LOGFILE = '"+name+"'\nOTPOST_QUEUE_LOGFILE = '"+name+"'\n")
		return pipe
	},
}

// TestLogThatHangsStopsNoLoginAndNoStop starts a server whose log takes no line, logs in by a queued mail, reopens
// the log, and then either ends the server or reads its log again.
func TestLogThatHangsStopsNoLoginAndNoStop(t *testing.T) {
	t.Parallel()
	for name, hang := range hungLogs {
		for _, end := range []string{"stopped", "read again"} {
			t.Run(name+", "+end, func(t *testing.T) {
				t.Parallel()
				site := e2e.NewSite(t, programs, true)
				reader := hang(t, site)
				t.Cleanup(func() { reader.Close() })
				w := startWorld(t, site)
				l := w.enrol(t, "HUNGLOG")
				l.begin(t, w.server.Client)
				l.finish(t, w.server.Client, w.oneCopy(t, l))
				w.server.Signal(t, syscall.SIGHUP)
				hangs := func() bool {
					a := w.server.Must(t, http.MethodGet, "/healthz/readyz", nil)
					return strings.Contains(a.Raw, `"log": "hangs"`)
				}
				e2e.Eventually(t, "readyz to say that the log hangs", hangs)
				if end == "stopped" {
					w.server.Stop(t)
					return
				}
				found := make(chan bool, 1)
				go func() {
					for s := bufio.NewScanner(reader); s.Scan(); {
						if strings.Contains(s.Text(), "serial=HUNGLOG ") {
							found <- true
							break
						}
					}
				}()
				e2e.Eventually(t, "the mail's line in the log that is read again", func() bool {
					return len(found) > 0
				})
				e2e.Eventually(t, "readyz to say so no more", func() bool { return !hangs() })
			})
		}
	}
}

// TestWorkerWhoseLogHangsSendsAndStops gives a worker of its own a named pipe that takes no line.
func TestWorkerWhoseLogHangsSendsAndStops(t *testing.T) {
	t.Parallel()
	site := e2e.NewSite(t, programs, true)
	name := filepath.Join(site.Dir, "worker.pipe")
	if err := unix.Mkfifo(name, 0o600); err != nil {
		t.Fatal(err)
	}
	pipe, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pipe.Close() })
	fill(t, pipe)
	w := startWorld(t, site, "--workers", "0")
	worker := e2e.Start(t, site.Otpost("worker", "--config", site.Config, "-l", name))
	worker.Line(t, "Logging to ")
	l := w.enrol(t, "HUNGWORKER")
	l.begin(t, w.server.Client)
	l.finish(t, w.server.Client, w.oneCopy(t, l))
	worker.Signal(t, syscall.SIGHUP)
	worker.Stop(t)
}
