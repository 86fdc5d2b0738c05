package test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"otpost/test/e2e"
)

// TestWorkerLogsToItsStandardOutput starts the worker by a link of its own, as containers do,
// with each name of standard output.
func TestWorkerLogsToItsStandardOutput(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	huey := filepath.Join(dir, "privacyidea-queue-huey")
	if err := os.Symlink(programs.Path("otpost"), huey); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "queue.log") // ln -sf /dev/stdout /var/log/otpost/queue.log
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/stdout", link); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"-l", "-"}, {"--logfile=-"}, {"-l", "/dev/stdout"}, {"-l/proc/self/fd/1"},
		{"-l", link}} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			t.Parallel()
			site := e2e.NewSite(t, programs, true)
			p := e2e.Start(t, e2e.Command{Path: huey, Args: append(args, "--config", site.Config), Dir: t.TempDir()})
			p.Line(t, "worker started")
			p.Signal(t, syscall.SIGHUP)
			p.Stop(t)
			if !strings.Contains(p.Out.String(), "worker stopped") {
				t.Errorf("standard output after SIGHUP:\n%s", p.Out)
			}
			if strings.Contains(p.Err.String(), "log") {
				t.Errorf("standard error:\n%s", p.Err)
			}
		})
	}
}

// TestServerLogsToItsStandardOutput reads both logs of a server from its standard output.
func TestServerLogsToItsStandardOutput(t *testing.T) {
	t.Parallel()
	site := e2e.NewSite(t, programs, true)
	site.Append(t, "PI_LOGFILE = '/dev/stdout'\nOTPOST_QUEUE_LOGFILE = '-'\n")
	w := startWorld(t, site)
	w.server.Signal(t, syscall.SIGHUP)
	l := w.enrol(t, "STDOUT")
	l.begin(t, w.server.Client)
	l.finish(t, w.server.Client, w.oneCopy(t, l))
	w.server.Stop(t)
	if lines := w.server.Out.Lines("serial=STDOUT "); len(lines) != 1 || !strings.Contains(lines[0], "[INFO]") {
		t.Errorf("the mail's lines on standard output: %q", lines)
	}
	for _, event := range []string{"server started url=http://127.0.0.1:", "server stopped"} {
		if lines := w.server.Out.Lines(event); len(lines) != 1 || !strings.Contains(lines[0], "[INFO]") {
			t.Errorf("%s: %q, want one INFO line", event, lines)
		}
	}
}
