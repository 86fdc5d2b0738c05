package cli

import (
	"bytes"
	"context"
	"os"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"
)

// watched is an output that calls seen once, when text has been printed.
type watched struct {
	mu   sync.Mutex
	b    bytes.Buffer
	text string
	seen func()
}

// Write implements io.Writer.
func (w *watched) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n, err := w.b.Write(p)
	if w.seen != nil && strings.Contains(w.b.String(), w.text) {
		w.seen()
		w.seen = nil
	}
	return n, err
}

// String returns what was printed so far.
func (w *watched) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.String()
}

// runDemo runs the demo and ends it, as a signal does, when text has been printed; empty: never.
// What it made must be gone.
func runDemo(t *testing.T, text string, args ...string) (int, string) {
	t.Helper()
	temporary := t.TempDir()
	t.Setenv("TMPDIR", temporary)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out := &watched{text: text}
	if text != "" {
		out.seen = cancel
	}
	code := run(ctx, "otpost", append([]string{"demo"}, args...), streams{strings.NewReader(""), out, out})
	left, err := os.ReadDir(temporary)
	if err != nil {
		t.Fatal(err)
	}
	if len(left) > 0 {
		t.Errorf("%s was left behind", left[0].Name())
	}
	return code, out.String()
}

func TestDemoShowsBothLoginsAccepted(t *testing.T) {
	code, out := runDemo(t, "")
	if code != 0 {
		t.Fatalf("exit code %d\n%s", code, out)
	}
	if n := strings.Count(out, "-> ACCEPT"); n != 2 {
		t.Errorf("%d codes accepted, want 2\n%s", n, out)
	}
	narrow(t, out)
}

func TestDemoThatIsInterruptedLeavesNothingBehind(t *testing.T) {
	code, out := runDemo(t, "POST /auth")
	if code != 1 || !strings.Contains(out, "interrupted") {
		t.Errorf("exit code %d\n%s", code, out)
	}
	narrow(t, out)
}

func TestDemoStaysUntilItIsInterrupted(t *testing.T) {
	code, out := runDemo(t, "pass=CODE", "--stay")
	if code != 0 || !strings.Contains(out, "URL=http://127.0.0.1:") {
		t.Errorf("exit code %d\n%s", code, out)
	}
	narrow(t, out)
}

// narrow checks that nothing is wider than a terminal.
func narrow(t *testing.T, out string) {
	t.Helper()
	for line := range strings.Lines(out) {
		if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > 80 {
			t.Errorf("a line has %d columns: %s", n, line)
		}
	}
}
