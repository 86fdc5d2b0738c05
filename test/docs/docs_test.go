// Package docs runs what the manual tells to type.
//
// In README.md and docs/*.md, this test runs each fenced block with one of these info strings
// unchanged:
//
//	```shell             the block is run to its end
//	```shell background  a program that stays: it is started, and the blocks after it go on; the end of the test stops it
//
// All blocks of a page run one after another in one POSIX shell (set -eu) in an empty folder, with
// the programs of cmd/ on PATH; those marked "shell repo" run in the repository's root. Blocks with
// any other info string (sh, text, python) are only shown. The expected output of a block is behind
// "#=> " in lines of their own: each must be part of what was printed since the group of "#=> "
// lines before. The page that a first
// line "<!-- after: NAME.md -->" names is run before, in the same
// shell.
//
// A page may ask for what only its reader has. It finds a mail server at MAIL_HOST and MAIL_PORT
// (an inbox of the test), and what the reader types, the code of the last mail, on standard input.
// 127.0.0.1:8080 is replaced by a free address.
//
// A page with a first line "<!-- host -->", and one that goes on from it, is typed by the root of a
// host with systemd. It runs in a pretended one (host_test.go, which names the stand-ins).
package docs

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"otpost/internal/inbox"
	"otpost/test/e2e"
)

// root is the repository, seen from this package.
const root = "../.."

// patience is for one page, with a compile of the programs in it.
const patience = 4 * time.Minute

// programs is the folder with the built programs.
var programs string

func TestMain(m *testing.M) {
	if name := filepath.Base(os.Args[0]); slices.Contains(standIns, name) {
		os.Exit(standIn(name, os.Args[1:]))
	}
	folder, err := os.MkdirTemp("", "otpost-docs-")
	if err == nil {
		var built e2e.Programs
		built, err = e2e.Build(folder)
		programs = built.Dir
	}
	code := 1
	if err != nil {
		fmt.Fprintln(os.Stderr, "build the programs:", err)
	} else {
		code = m.Run()
	}
	os.RemoveAll(folder) //nolint:errcheck // a temporary folder
	os.Exit(code)
}

func TestReadmeDoesWhatItSays(t *testing.T)      { runPage(t, "README.md") }
func TestFirstLoginEndsInAccept(t *testing.T)    { runPage(t, "docs/first-login.md") }
func TestLoginPageLoopEndsInAccept(t *testing.T) { runPage(t, "docs/login-page.md") }
func TestInstallEndsInAccept(t *testing.T)       { runPage(t, "docs/install.md") }
func TestTroubleshootFindsTheMail(t *testing.T)  { runPage(t, "docs/troubleshoot.md") }

// block is a fenced block that is run.
type block struct {
	page       string
	line       int
	background bool
	inRepo     bool
	onHost     bool
	text       string
}

func runPage(t *testing.T, page string) {
	t.Helper()
	t.Parallel()
	blocks := read(t, page)
	if len(blocks) == 0 {
		t.Fatalf("%s has no block that is run", page)
	}
	if _, err := exec.LookPath("curl"); err != nil {
		if os.Getenv("OTPOST_TEST_REQUIRE") != "" {
			t.Fatal("curl is not installed")
		}
		t.Skip("curl is not installed")
	}
	mails, err := inbox.Open(inbox.Options{Addr: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mails.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	folder := t.TempDir()
	script, expected := compose(t, blocks)
	file := filepath.Join(folder, "script")
	script = strings.ReplaceAll(script, "127.0.0.1:8080", freeAddress(t))
	env := []string{"PATH=" + programs + ":" + os.Getenv("PATH")}
	if blocks[0].onHost {
		h := newHost(t)
		script, env = h.here(script), h.environment()
		defer h.stop(t)
	}
	if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
		t.Fatal(err)
	}
	work := filepath.Join(folder, "work")
	if err := os.Mkdir(work, 0o700); err != nil {
		t.Fatal(err)
	}
	shell := exec.CommandContext(ctx, "/bin/sh", file)
	shell.Dir = work
	host, port, _ := net.SplitHostPort(mails.Addr())
	shell.Env = append(append(os.Environ(), "MAIL_HOST="+host, "MAIL_PORT="+port), env...)
	keyboard, err := shell.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	typing := make(chan struct{})
	go func() {
		defer close(typing)
		answer(ctx, mails, keyboard)
	}()
	check(t, shell, expected)
	cancel()
	<-typing
}

// check runs the shell, with everything that it starts in a process group of its own, and checks
// the expected output.
func check(t *testing.T, shell *exec.Cmd, expected []expectation) {
	t.Helper()
	var out bytes.Buffer
	shell.Stdout, shell.Stderr = &out, &out
	shell.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	shell.Cancel = func() error { return syscall.Kill(-shell.Process.Pid, syscall.SIGKILL) }
	shell.WaitDelay = 10 * time.Second
	err := shell.Run()
	parts := strings.Split(out.String(), marker)
	for _, e := range expected {
		if e.part >= len(parts)-1 {
			break // the shell ended before; its error says it
		}
		if !strings.Contains(parts[e.part], e.text) {
			t.Errorf("%s:%d: %q is not in what was printed:\n%s", e.page, e.line, e.text, parts[e.part])
		}
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
}

// marker is printed where the output that a "#=> " line looks at has its end.
const marker = "\x01"

// expectation is a text that must stand in a part of the output; a marker ends each part.
type expectation struct {
	page string
	line int
	text string
	part int
}

// compose makes one script of the blocks. Programs in the background are stopped at its end, as
// their reader does with Ctrl-C.
func compose(t *testing.T, blocks []block) (string, []expectation) {
	t.Helper()
	absolute, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	var script strings.Builder
	var expected []expectation
	part := -1
	script.WriteString("set -eu\nstarted=\ntrap 'for p in $started; do kill $p 2>/dev/null || :; done; wait' EXIT\n")
	for _, b := range blocks {
		if b.background {
			fmt.Fprintf(&script, "%s &\nstarted=\"$started $!\"\n", strings.TrimSpace(b.text))
			continue
		}
		if b.inRepo {
			fmt.Fprintf(&script, "work=$PWD\ncd '%s'\n", absolute)
		}
		inRow := false
		for i, line := range strings.Split(b.text, "\n") {
			text, is := strings.CutPrefix(line, "#=> ")
			switch {
			case !is:
				script.WriteString(line + "\n")
			case inRow:
				expected = append(expected, expectation{b.page, b.line + i + 1, text, part})
			default:
				part++
				expected = append(expected, expectation{b.page, b.line + i + 1, text, part})
				script.WriteString("printf '\\001'\n")
			}
			inRow = is
		}
		if b.inRepo {
			script.WriteString("cd \"$work\"\n")
		}
	}
	// A program in the background that has ended by itself was not what the page promised.
	script.WriteString("/bin/true\nfor p in $started; do kill -0 $p; done\n")
	return script.String(), expected
}

// read returns the blocks of a page that are run, after those of the page that it follows.
func read(t *testing.T, page string) []block {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, page))
	if err != nil {
		t.Fatal(err)
	}
	var blocks []block
	var open *block
	onHost := false
	lines := bufio.NewScanner(bytes.NewReader(content))
	for n := 1; lines.Scan(); n++ {
		line := lines.Text()
		before := regexp.MustCompile(`^<!-- after: (.*) -->$`).FindStringSubmatch(line)
		info, fence := strings.CutPrefix(strings.TrimLeft(line, " "), "```")
		switch {
		case n == 1 && before != nil:
			blocks = read(t, filepath.Join(filepath.Dir(page), before[1]))
		case n == 1 && line == "<!-- host -->":
			onHost = true
		case fence && open == nil:
			words := strings.Fields(info)
			open = &block{page: page, line: n, onHost: onHost}
			for _, w := range words[min(1, len(words)):] {
				open.background = open.background || w == "background"
				open.inRepo = open.inRepo || w == "repo"
			}
			if len(words) == 0 || words[0] != "shell" {
				open.page = "" // only shown
			}
		case fence:
			if open.page != "" {
				blocks = append(blocks, *open)
			}
			open = nil
		case open != nil:
			open.text += line + "\n"
		}
	}
	if open != nil {
		t.Fatalf("%s:%d: the block has no end", page, open.line)
	}
	return blocks
}

// freeAddress returns a loopback address without a listener at this moment.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // it was only asked for its number
	return l.Addr().String()
}

// answer is the reader at the keyboard, who types the code of each mail as it arrives. It ends with ctx.
func answer(ctx context.Context, mails *inbox.Inbox, keyboard io.WriteCloser) {
	defer keyboard.Close() //nolint:errcheck // the shell may be gone
	for seen := 0; ; seen++ {
		all, err := mails.Wait(ctx, seen+1)
		if err != nil {
			return
		}
		code, err := codeIn(all[seen].Raw)
		if err != nil {
			code = err.Error() // will not be accepted, and is shown
		}
		fmt.Fprintln(keyboard, code)
	}
}

// codeIn returns the code of a mail with the default text, which is the code alone.
func codeIn(raw []byte) (string, error) {
	_, body, _ := bytes.Cut(raw, []byte("\r\n\r\n"))
	text, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(body)))
	if err != nil {
		return "", fmt.Errorf("read the mail: %w", err)
	}
	return string(bytes.TrimSpace(text)), nil
}
