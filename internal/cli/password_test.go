package cli

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// terminal opens a pseudo terminal: what is written to the first end is typed at the second.
func terminal(t *testing.T) (keyboard, tty *os.File) {
	t.Helper()
	keyboard, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		if os.Getenv("OTPOST_TEST_REQUIRE") == "all" {
			t.Fatalf("missing: pseudo terminals: %v (OTPOST_TEST_REQUIRE=all: nothing may be skipped)", err)
		}
		t.Skipf("missing: pseudo terminals: %v", err)
	}
	fd := int(keyboard.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tty.Close(); keyboard.Close() })
	return keyboard, tty
}

// typing answers each prompt with the next line.
type typing struct {
	t        *testing.T
	keyboard *os.File
	lines    []string
	shown    bytes.Buffer
}

// Write implements io.Writer for the prompts.
func (p *typing) Write(b []byte) (int, error) {
	if strings.HasSuffix(string(b), ": ") && len(p.lines) > 0 {
		fmt.Fprintln(p.keyboard, p.lines[0])
		p.lines = p.lines[1:]
	}
	return p.shown.Write(b)
}

func TestPasswordIsAskedTwiceWithoutEcho(t *testing.T) {
	t.Parallel()
	keyboard, tty := terminal(t)
	prompts := &typing{t: t, keyboard: keyboard, lines: []string{"secret one", "secret one"}}
	before, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	got, err := askPassword(streams{in: tty, err: prompts}, "Password", false)
	if err != nil || got.Reveal() != "secret one" {
		t.Fatalf("read %d bytes, %v", len(got), err)
	}
	after, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	if after.Lflag != before.Lflag {
		t.Error("the terminal did not get its echo back")
	}
	fmt.Fprintln(tty, "end")
	if shown, err := bufio.NewReader(keyboard).ReadString('\n'); err != nil || strings.TrimSpace(shown) != "end" {
		t.Errorf("the terminal showed something of what was typed (%d bytes, %v)", len(shown), err)
	}
	if want := "Password: \nOnce more: \n"; prompts.shown.String() != want {
		t.Errorf("prompts %q, want %q", prompts.shown.String(), want)
	}
}

func TestPasswordsThatDifferAreRefused(t *testing.T) {
	t.Parallel()
	keyboard, tty := terminal(t)
	prompts := &typing{t: t, keyboard: keyboard, lines: []string{"one", "two"}}
	if _, err := askPassword(streams{in: tty, err: prompts}, "Password", false); err == nil {
		t.Error("no error")
	}
}
