package e2e

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Command is a command to start.
type Command struct {
	Path  string
	Args  []string
	Dir   string   // working directory; empty: the test's
	Env   []string // besides PATH, HOME and TMPDIR, which the test sets
	Stdin string
	// Stderr replaces Process.Err as the program's standard error; nil: it does not.
	Stderr *os.File
}

// Process is a program that was started. It is killed at the end of the test.
type Process struct {
	Out, Err *Text // its standard output and standard error

	cmd  *exec.Cmd
	done chan struct{}
}

// Start starts a program.
func Start(t testing.TB, c Command) *Process {
	t.Helper()
	p := &Process{Out: &Text{}, Err: &Text{}, cmd: exec.Command(c.Path, c.Args...), done: make(chan struct{})}
	p.cmd.Dir = c.Dir
	p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "TMPDIR=" + os.TempDir()},
		c.Env...)
	p.cmd.Stdin = strings.NewReader(c.Stdin)
	p.cmd.Stdout, p.cmd.Stderr = p.Out, p.Err
	if c.Stderr != nil {
		p.cmd.Stderr = c.Stderr
	}
	p.cmd.WaitDelay = 5 * time.Second
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", c.Path, err)
	}
	go func() {
		defer close(p.done)
		p.cmd.Wait() //nolint:errcheck // the state tells the exit code
	}()
	t.Cleanup(func() { p.Kill() })
	return p
}

// Run runs a program to its end and returns its exit code.
func Run(t testing.TB, c Command) (code int, p *Process) {
	t.Helper()
	p = Start(t, c)
	return p.Wait(t), p
}

// PID returns the process's number.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Signal sends a signal. A process that has ended is skipped.
func (p *Process) Signal(t testing.TB, s os.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatalf("signal %v: %v", s, err)
	}
}

// Kill ends the process as kill -9 does and waits for its end.
func (p *Process) Kill() {
	p.cmd.Process.Kill() //nolint:errcheck // it may have ended
	<-p.done
}

// Ended reports whether the process has ended.
func (p *Process) Ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Wait waits for the end of the process and returns its exit code; -1 when a signal ended it.
func (p *Process) Wait(t testing.TB) int {
	t.Helper()
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(Patience):
		p.cmd.Process.Signal(syscall.SIGQUIT) //nolint:errcheck // for its stacks
		<-p.done
		t.Fatalf("%s %v did not end within %s\nstdout: %s\nstderr: %s", p.cmd.Path, p.cmd.Args, Patience, p.Out, p.Err)
		return -1
	}
}

// Stop ends the process by SIGTERM and fails the test unless it exits with 0.
func (p *Process) Stop(t testing.TB) {
	t.Helper()
	p.Signal(t, syscall.SIGTERM)
	if code := p.Wait(t); code != 0 {
		t.Fatalf("%s exited with %d after SIGTERM\nstdout: %s\nstderr: %s", p.cmd.Path, code, p.Out, p.Err)
	}
}

// Line waits until the process has written a line with part in it, to standard output or standard
// error, and returns it.
func (p *Process) Line(t testing.TB, part string) string {
	t.Helper()
	var line string
	Eventually(t, "a line with "+part, func() bool {
		for _, text := range []*Text{p.Out, p.Err} {
			if found := text.Lines(part); len(found) > 0 {
				line = found[0]
				return true
			}
		}
		if p.Ended() {
			t.Fatalf("%s %v ended with code %d before a line with %q\nstdout: %s\nstderr: %s",
				p.cmd.Path, p.cmd.Args[1:], p.cmd.ProcessState.ExitCode(), part, p.Out, p.Err)
		}
		return false
	})
	return line
}

// Text collects the output of a process. It is safe for concurrent use.
type Text struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (t *Text) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.Write(b)
}

// String returns everything so far.
func (t *Text) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.String()
}

// Lines returns the complete lines with part in them.
func (t *Text) Lines(part string) []string { return LinesWith(t.String(), part) }

// LinesWith returns the complete lines of a text that have part in them.
func LinesWith(text, part string) []string {
	var found []string
	for line := range strings.Lines(text) {
		if strings.HasSuffix(line, "\n") && strings.Contains(line, part) {
			found = append(found, strings.TrimSuffix(line, "\n"))
		}
	}
	return found
}
