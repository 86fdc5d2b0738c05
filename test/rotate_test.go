package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"otpost/test/e2e"
)

// logrotate returns its program.
func logrotate(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"logrotate", "/usr/sbin/logrotate"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	e2e.Missing(t, "logrotate (scripts/deps ops)")
	return ""
}

// TestLogRotateLosesNoLine rotates the worker's log under load, as docs/queue.md shows it: each
// mail has its one line, in one of the files.
func TestLogRotateLosesNoLine(t *testing.T) {
	t.Parallel()
	program := logrotate(t)
	onBoth(t, func(t *testing.T, on queueKind) {
		t.Helper()
		s := &stream{world: newWorldOn(t, on, "--workers", "0"), perSecond: 60}
		worker := s.Worker(t)
		const rotations = 6
		settings := s.Write(t, "logrotate.conf", fmt.Sprintf(
			"%s {\n\trotate %d\n\tsu root root\n\tnocreate\n\tpostrotate\n\t\tkill -HUP %d\n\tendscript\n}\n",
			worker.Log, rotations+1, worker.PID()))
		if os.Geteuid() != 0 {
			e2e.Missing(t, "root, for whom the settings of logrotate are written")
		}
		for i := range 4 * s.perSecond {
			s.logins = append(s.logins, s.enrol(t, fmt.Sprintf("ROTATED%d", i)))
		}
		done := s.run(t)
		for range rotations {
			<-time.After(500 * time.Millisecond) // the load goes on
			rotate := e2e.Command{Path: program, Args: []string{"-f", "-s", filepath.Join(s.Dir, "logrotate.state"),
				settings}, Dir: s.Dir}
			if code, p := e2e.Run(t, rotate); code != 0 {
				t.Fatalf("logrotate exited with %d: %s%s", code, p.Out, p.Err)
			}
		}
		<-done
		for _, l := range s.logins {
			s.delivered(t, l)
		}
		worker.Stop(t)
		files, err := filepath.Glob(worker.Log + "*")
		if err != nil || len(files) != rotations+1 {
			t.Errorf("log files: %v, %v, want %d", files, err, rotations+1)
		}
		var all strings.Builder
		for _, file := range files {
			text := s.Read(file)
			t.Logf("%s: %d lines", filepath.Base(file), strings.Count(text, "\n"))
			if !strings.HasSuffix(text, "\n") && text != "" {
				t.Errorf("%s ends in the middle of a line", file)
			}
			all.WriteString(text)
		}
		for _, l := range s.logins {
			if lines := e2e.LinesWith(all.String(), "serial="+l.serial+" "); len(lines) != 1 ||
				!strings.Contains(lines[0], "state=accepted") {
				t.Errorf("%s has %d lines: %q", l.serial, len(lines), lines)
			}
		}
	})
}
