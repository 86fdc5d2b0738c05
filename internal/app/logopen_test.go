package app

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// mustWrite opens a log, writes a line and closes it.
func mustWrite(t *testing.T, name, line string) {
	t.Helper()
	l, err := OpenLogFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Reopen(); err != nil { // SIGHUP
		t.Fatal(err)
	}
	if _, err := fmt.Fprintln(l, line); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestLogNameOfADescriptorIsTheOpenFile(t *testing.T) {
	t.Parallel()
	own := fmt.Sprintf("/proc/%d/fd/%%d", os.Getpid())
	for _, form := range []string{"/dev/fd/%d", "/proc/self/fd/%d", "/proc/thread-self/fd/%d", own} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		name := fmt.Sprintf(form, w.Fd())
		link := filepath.Join(t.TempDir(), "queue.log") // as public images lead a log to standard output
		if err := os.Symlink(name, link); err != nil {
			t.Fatal(err)
		}
		mustWrite(t, name, "named")
		mustWrite(t, link, "linked")
		w.Close() //nolint:errcheck // the reader waits for it
		if got, err := io.ReadAll(r); err != nil || string(got) != "named\nlinked\n" {
			t.Errorf("%s: %q, %v", form, got, err)
		}
	}
	for name, want := range map[string]int{
		"-":               1,
		"/dev/stdout":     1,
		"/dev/stderr":     2,
		"/dev/fd/2":       2,
		"/proc/self/fd/7": 7,
	} {
		if fd, ok := descriptor(name); !ok || fd != want {
			t.Errorf("%s means descriptor %d, %v", name, fd, ok)
		}
	}
	for _, name := range []string{"", "--", "./-", "/dev/null", "/dev/fd/x", "/dev/fd/-1", "/proc/1/fd/1",
		"/proc/self/fd/9999999999", "log"} {
		if fd, ok := descriptor(name); ok {
			t.Errorf("%q means descriptor %d", name, fd)
		}
	}
}

// A file that was opened before keeps its offset: a second open of its name would write over what is there.
func TestLogNameOfADescriptorSharesTheOffset(t *testing.T) {
	t.Parallel()
	file, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	fmt.Fprintln(file, "before")
	mustWrite(t, fmt.Sprintf("/proc/self/fd/%d", file.Fd()), "log")
	fmt.Fprintln(file, "after")
	if got, err := os.ReadFile(file.Name()); err != nil || string(got) != "before\nlog\nafter\n" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestLogFollowsALinkThatOnlyWeCanChange(t *testing.T) {
	t.Parallel()
	folder, far := private(t), private(t)
	chain := filepath.Join(folder, "chain")
	for link, target := range map[string]string{
		filepath.Join(folder, "absolute"): filepath.Join(far, "a.log"),
		filepath.Join(folder, "relative"): "b.log",
		chain:                             filepath.Join(far, "next"),
		filepath.Join(far, "next"):        "c.log",
	} {
		if err := os.Symlink(target, link); err != nil {
			t.Fatal(err)
		}
	}
	for link, target := range map[string]string{
		"absolute": filepath.Join(far, "a.log"), "relative": filepath.Join(folder, "b.log"),
		"chain": filepath.Join(far, "c.log"),
	} {
		mustWrite(t, filepath.Join(folder, link), link)
		if got, err := os.ReadFile(target); err != nil || string(got) != link+"\n" {
			t.Errorf("%s: %q, %v", link, got, err)
		}
	}
}

// private returns a folder that only the user of the test can write.
func private(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	if err := os.Chmod(folder, 0o755); err != nil { //nolint:gosec // as /var/log/otpost
		t.Fatal(err)
	}
	return folder
}

func TestLogRefusesWithASentenceThatSaysWhatToDo(t *testing.T) {
	t.Parallel()
	folder, open := private(t), private(t)
	if err := os.Chmod(open, 0o777); err != nil { //nolint:gosec // the folder of the test that others can write
		t.Fatal(err)
	}
	link := func(folder, name, target string) string {
		path := filepath.Join(folder, name)
		if err := os.Symlink(target, path); err != nil {
			t.Fatal(err)
		}
		return path
	}
	plain := filepath.Join(folder, "plain")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	pipe := filepath.Join(folder, "pipe")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	cases := map[string]string{
		link(open, "q.log", plain): "is a symbolic link, and other users can write " + open +
			" (mode 0777), who could lead the log to any file: name the file that it leads to, or chmod go-w " + open,
		link(folder, "to-open.log", filepath.Join(open, "q")): "is a symbolic link, and other users can write " + open,
		link(folder, "loop", "loop"):                          "is a symbolic link that leads to itself: name a file",
		link(folder, "nowhere", filepath.Join(folder, "no/log")): "is a symbolic link: the folder " + folder +
			"/no does not exist: make it",
		folder: folder + " is a folder: name a file in it",
		filepath.Join(folder, "missing", "log"): "the folder " + folder +
			"/missing does not exist: make it, writable for the user who runs this",
		filepath.Join(plain, "log"): plain + " is not a folder: name a file in a folder",
		pipe: pipe + " is a named pipe or socket that no program reads: start its reader first, " +
			"or name a file",
		"/proc/self/fd/99999": "/proc/self/fd/99999: descriptor 99999 is not open: redirect it where the program " +
			"is started, or name a file",
	}
	if os.Geteuid() == 0 { // only root can give a link away
		foreign := link(folder, "foreign.log", plain)
		if err := os.Lchown(foreign, 65534, 65534); err != nil {
			t.Fatal(err)
		}
		cases[foreign] = "is a symbolic link that belongs to uid 65534, who could lead the log to any file: name the " +
			"file that it leads to"
	}
	for name, want := range cases {
		if l, err := OpenLogFile(name); err == nil {
			t.Errorf("%s was opened", name)
			l.Close() //nolint:errcheck // nothing was written
		} else if !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
	r, err := os.Open(plain)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := OpenLogFile(fmt.Sprintf("/dev/fd/%d", r.Fd())); err == nil ||
		!strings.Contains(err.Error(), "is not open for writing") {
		t.Errorf("a descriptor for reading: %v", err)
	}
}

// namedPipe makes a pipe in a private folder, and opens it for reading until the test ends.
func namedPipe(t *testing.T) (name string, reader *os.File) {
	t.Helper()
	name = filepath.Join(private(t), "pipe")
	if err := unix.Mkfifo(name, 0o600); err != nil {
		t.Fatal(err)
	}
	reader, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { reader.Close() })
	return name, reader
}

// A log that is a named pipe gives its lines to the reader, and loses them with a sentence while no
// reader exists.
func TestLogIntoANamedPipe(t *testing.T) {
	t.Parallel()
	pipe, reader := namedPipe(t)
	mustWrite(t, pipe, "line")
	b := make([]byte, 100)
	if err := reader.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if n, err := reader.Read(b); err != nil || string(b[:n]) != "line\n" {
		t.Errorf("read %q, %v", b[:n], err)
	}
	l, err := OpenLogFile(pipe)
	if err != nil {
		t.Fatal(err)
	}
	var told strings.Builder
	l.ReportFailures(&told)
	reader.Close() //nolint:errcheck // nothing was written
	if _, err := fmt.Fprintln(l, "lost"); err == nil ||
		!strings.Contains(told.String(), pipe+" cannot be written: broken pipe") {
		t.Errorf("without a reader: %v, told %q", err, told.String())
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}
