package app

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// within fails the test when f does not return.
func within(t *testing.T, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatalf("%s waits for a log that takes no lines", what)
	}
}

// TestLogThatIsNotReadHoldsNoCaller logs into a pipe without a reader until lines are lost, and reads the pipe then.
func TestLogThatIsNotReadHoldsNoCaller(t *testing.T) {
	t.Parallel()
	const lines = 3 * mostLogLines
	for name, newLog := range map[string]func(io.Writer, slog.Leveler) *slog.Logger{"full": NewLog,
		"simple": NewSimpleLog} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			file, err := OpenLogFile(fmt.Sprintf("/dev/fd/%d", w.Fd()))
			if err != nil {
				t.Fatal(err)
			}
			buffer := NewLogBuffer(file)
			log := newLog(buffer, slog.LevelInfo)
			within(t, "a caller", func() {
				for n := range lines {
					log.Info("login", "n", n)
				}
			})
			within(t, "SIGHUP", func() {
				if err := file.Reopen(); err != nil {
					t.Error(err)
				}
			})
			read := make(chan []string)
			go func() {
				var all []string
				for s := bufio.NewScanner(r); s.Scan(); {
					all = append(all, s.Text())
				}
				read <- all
			}()
			within(t, "the end", func() { buffer.Flush() }) //nolint:errcheck // its lines are counted below
			log.Info("last")
			if err := errors.Join(buffer.Close(), file.Close(), w.Close()); err != nil {
				t.Fatal(err)
			}
			checkLoss(t, <-read, lines)
		})
	}
}

var numbered = regexp.MustCompile(`login n=(\d+)$|WARNING.*log is written again; (\d+) lines were lost$`)

// checkLoss wants the lines in their order, the number of those that are lost, and the last line.
func checkLoss(t *testing.T, all []string, lines int) {
	t.Helper()
	next, losses := 0, 0
	for _, line := range all[:len(all)-1] {
		found := numbered.FindStringSubmatch(line)
		if found == nil {
			t.Fatalf("line %q", line)
		}
		var n int
		fmt.Sscan(found[1]+found[2], &n) //nolint:errcheck // digits
		if found[2] != "" {
			losses++
			next += n
			continue
		}
		if n != next {
			t.Fatalf("after line %d comes %d", next-1, n)
		}
		next++
	}
	if next != lines || losses == 0 || !strings.HasSuffix(all[len(all)-1], "last") {
		t.Errorf("%d of %d lines are written or counted, in %d losses; the last is %q", next, lines, losses,
			all[len(all)-1])
	}
}

func TestLogThatHangsHoldsNoEnd(t *testing.T) {
	t.Parallel()
	pipe, _ := namedPipe(t)
	file, err := OpenLogFile(pipe)
	if err != nil {
		t.Fatal(err)
	}
	buffer := NewLogBuffer(file)
	for range mostLogLines {
		fmt.Fprintln(buffer, strings.Repeat("x", 100))
	}
	within(t, "Close", func() {
		if err := buffer.Close(); err == nil {
			t.Error("a log that is not read took all lines")
		}
		if err := file.Close(); err != nil {
			t.Error(err)
		}
	})
}

// A rotation from a pipe that is not read to a file heals the log; the line under way is written to the file.
func TestReopenEndsAWriteThatHangs(t *testing.T) {
	t.Parallel()
	name, reader := namedPipe(t)
	file, err := OpenLogFile(name)
	if err != nil {
		t.Fatal(err)
	}
	buffer := NewLogBuffer(file)
	for n := range 2000 {
		fmt.Fprintf(buffer, "%0100d\n", n)
	}
	within(t, "the pipe", func() {
		for n := 0; n < 60_000; { // of the 64 KiB that it takes
			if n, err = unix.IoctlGetInt(int(reader.Fd()), unix.TIOCINQ); err != nil {
				t.Error(err)
				return
			}
		}
	})
	if err := errors.Join(os.Remove(name), file.Reopen()); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(buffer.Close(), file.Close()); err != nil {
		t.Fatal(err)
	}
	kept, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	all := strings.SplitAfter(string(kept), "\n")
	if n := len(all) - 1; n == 0 || n >= 2000 {
		t.Fatalf("%d lines are in the file", n)
	}
	first := 2000 - (len(all) - 1)
	for i, line := range all[:len(all)-1] {
		if want := fmt.Sprintf("%0100d\n", first+i); line != want {
			t.Fatalf("line %d of the file is %q, want %q", i, line, want)
		}
	}
}

// holding is a writer that waits for leave in each write.
type holding struct {
	leave chan struct{}
	mu    sync.Mutex
	bytes.Buffer
}

// Write implements io.Writer.
func (h *holding) Write(p []byte) (int, error) {
	<-h.leave
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.Buffer.Write(p)
}

func TestLogBufferIsBoundedInBytes(t *testing.T) {
	t.Parallel()
	h := &holding{leave: make(chan struct{})}
	b := NewLogBuffer(h)
	line := append(bytes.Repeat([]byte("x"), 64<<10-1), '\n')
	kept := 0
	for range 100 {
		if _, err := b.Write(line); err == nil {
			kept++
		}
	}
	if kept != mostLogBytes/len(line) {
		t.Errorf("%d lines of 64 KiB are kept", kept)
	}
	close(h.leave)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("\nlog is written again; %d lines were lost\n", 100-kept)
	if !strings.HasSuffix(h.String(), want) || h.Len() != kept*len(line)+len(want)-1 {
		t.Errorf("%d bytes are written, want the sentence %q at the end", h.Len(), want)
	}
}

func TestFlushReturnsTheErrorOfTheLog(t *testing.T) {
	t.Parallel()
	full, err := OpenLogFile("/dev/full")
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	b := NewLogBuffer(full)
	fmt.Fprintln(b, "line")
	if err := b.Flush(); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("the flush of a log on a full disk: %v", err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
}
