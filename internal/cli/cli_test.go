package cli

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"otpost/internal/config"
)

// ran is what a command left.
type ran struct {
	code     int
	out, err string
}

func command(t *testing.T, stdin string, args ...string) ran {
	t.Helper()
	var out, errs bytes.Buffer
	code := run(t.Context(), "otpost", args, streams{strings.NewReader(stdin), &out, &errs})
	return ran{code, out.String(), errs.String()}
}

func (r ran) want(t *testing.T, code int, texts ...string) {
	t.Helper()
	if r.code != code {
		t.Errorf("exit code %d, want %d\n%s%s", r.code, code, r.out, r.err)
	}
	for _, text := range texts {
		if !strings.Contains(r.out+r.err, text) {
			t.Errorf("%q was not printed:\n%s%s", text, r.out, r.err)
		}
	}
}

// box makes an installation and returns its pi.cfg.
func box(t *testing.T, args ...string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "box")
	made := command(t, "of-a-test-only\n", append([]string{"setup", "--dir", dir, "--password-stdin"}, args...)...)
	made.want(t, 0)
	return filepath.Join(dir, "pi.cfg")
}

func TestHelpShowsEachCommandAndItsDefaults(t *testing.T) {
	t.Parallel()
	command(t, "", "--help").want(t, 0, "setup", "serve", "worker", "admin", "demo", "version")
	command(t, "", "serve", "--help").want(t, 0, "127.0.0.1:8080", config.DefaultFile)
	command(t, "", "setup", "--help").want(t, 0, "Default: admin", "embedded")
}

func TestWrongCommandLinesExitWithTwoAndOneSentence(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"nosuch"}, {"serve", "--nosuch"}, {"worker", "-w", "0", "--config", "x"},
		{"setup", "--queue", "nosuch", "--dir", "x"}, {"setup", "--queue-url", "redis://h", "--dir", "x"},
		{"setup", "--queue", "nosuch", "--dir", "x"}, {"admin", "add"},
	} {
		got := command(t, "", args...)
		got.want(t, 2)
		if !strings.HasPrefix(got.err, "otpost: ") || strings.Count(got.err, "\n") != 1 {
			t.Errorf("%v: %q is not one sentence", args, got.err)
		}
	}
}

func TestSetupPrintsTheLinesToGoOnWith(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "my box")
	got := command(t, "of-a-test-only\n", "setup", "--dir", dir, "--password-stdin", "--queue", "embedded")
	file := "'" + filepath.Join(dir, "pi.cfg") + "'"
	got.want(t, 0, "made      configuration", "otpost serve --config "+file, "otpost worker --config "+file,
		"curl -s http://127.0.0.1:8080/auth")
	if strings.Contains(got.out+got.err, "of-a-test-only") {
		t.Error("the password was printed")
	}
	command(t, "", "setup", "--dir", dir).want(t, 0, "is there  configuration", "is there  administrator")
}

func TestSetupWithoutAFolderIsForRootOnAFreshSystem(t *testing.T) {
	t.Parallel()
	used, empty := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(used, "pi.cfg"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		name, named, system string
		uid                 int
		want                string // empty: refused
	}{
		{"named", "here", used, 1000, "here"},
		{"user", "", empty, 1000, ""},
		{"root, empty", "", empty, 0, empty},
		{"root, absent", "", filepath.Join(empty, "absent"), 0, filepath.Join(empty, "absent")},
		{"root, in use", "", used, 0, ""},
	}
	for _, c := range cases {
		got, err := setupDir(c.named, c.system, c.uid)
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%s: %q, %v", c.name, got, err)
		}
	}
}

func TestSetupNeedsAPasswordFromSomewhere(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "box")
	command(t, "of-a-test-only\n", "setup", "--dir", dir).want(t, 2, "--password-stdin")
	command(t, "\n", "setup", "--dir", dir, "--password-stdin").want(t, 1, "the password is empty")
	command(t, strings.Repeat("x", 5000), "setup", "--dir", dir, "--password-stdin").want(t, 1, "more than")
	if _, err := os.Stat(dir); err == nil {
		t.Error("something was made all the same")
	}
}

func TestShortPasswordsLeaveAWarning(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "box")
	const warning = "the password has fewer than 8 characters"
	command(t, "short\n", "setup", "--dir", dir, "--password-stdin").want(t, 0, warning)
	file := filepath.Join(dir, "pi.cfg")
	command(t, "sieben7\n", "admin", "add", "--config", file, "berta", "--password-stdin").want(t, 0, warning)
	command(t, "ääääääü\n", "admin", "password", "--config", file, "berta", "--password-stdin").want(t, 0, warning)
	if r := command(t, "achtacht\n", "admin", "password", "--config", file, "berta",
		"--password-stdin"); strings.Contains(r.err, "warning") {
		t.Errorf("8 characters: %s", r.err)
	}
}

// TestSecondSetupSaysWhatBecomesOfThePassword: the password that a second setup is given is not
// used, and setup says so.
func TestSecondSetupSaysWhatBecomesOfThePassword(t *testing.T) {
	t.Parallel()
	file := box(t)
	again := []string{"setup", "--dir", filepath.Dir(file), "--password-stdin"}
	command(t, "another-one\n", again...).want(t, 0, "its password stays",
		"otpost admin password --config "+file+" admin")
	command(t, "another-one\n", append(again, "--admin", "berta")...).want(t, 0, "berta was not added",
		"otpost admin add --config "+file+" berta")
	if r := command(t, "", again[:3]...); r.code != 0 || strings.Contains(r.out, "its password") {
		t.Errorf("without a password: %d, %s%s", r.code, r.out, r.err)
	}
}

func TestOptionBeforeItsCommandNamesTheOrder(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ args, want string }{
		{"--config x worker", "write the command first: otpost worker --config FILE ("},
		{"--config x queue status", "write the command first: otpost queue status --config FILE ("},
		{"queue --config x status", "write the command first: otpost queue status --config FILE ("},
		{"-w 4 worker", "write the command first: otpost worker --workers N ("},
		{"--json queue list", "write the command first: otpost queue list --json ("},
		{"--config x", "write the command before its options ("},
		{"worker --confg x", `did you mean "--config"?`},
	} {
		command(t, "", strings.Fields(c.args)...).want(t, 2, c.want)
	}
}

func TestAdministratorsComeAndGo(t *testing.T) {
	t.Parallel()
	file := box(t)
	command(t, "second-one\n", "admin", "add", "--config", file, "berta", "--email", "berta@example.com",
		"--password-stdin").want(t, 0, "added berta")
	command(t, "second-one\n", "admin", "add", "--config", file, "berta", "--password-stdin").want(t, 1,
		"berta: an administrator of this name exists")
	command(t, "", "admin", "list", "--config", file).want(t, 0, "admin ", "berta ", "berta@example.com")
	command(t, "third-one\n", "admin", "password", "--config", file, "admin", "--password-stdin").want(t, 0,
		"password of admin is set")
	command(t, "third-one\n", "admin", "password", "--config", file, "nobody", "--password-stdin").want(t, 1,
		"no administrator of this name")
	command(t, "", "admin", "delete", "--config", file, "berta").want(t, 0, "deleted berta")
	command(t, "", "admin", "delete", "--config", file, "berta").want(t, 1, "no administrator of this name")
	command(t, "", "admin", "delete", "--config", file, "admin").want(t, 0, "No administrator is left")
}

func TestCommandsWithoutAConfigurationSayHowToMakeOne(t *testing.T) {
	t.Parallel()
	missing := filepath.Join(t.TempDir(), "pi.cfg")
	for _, args := range [][]string{{"serve"}, {"worker"}, {"admin", "list"}} {
		got := command(t, "", append(args, "--config", missing)...)
		got.want(t, 1, missing)
		if strings.Count(got.err, "\n") != 1 {
			t.Errorf("%v: %q is not one sentence", args, got.err)
		}
	}
}

func TestWorkerWithoutAQueueSaysWhatToWrite(t *testing.T) {
	t.Parallel()
	file := box(t)
	command(t, "", "worker", "--config", file, "-l", filepath.Join(t.TempDir(), "q.log")).want(t, 1,
		"PI_JOB_QUEUE_CLASS", file)
}

func TestServeListensOnLoopbackOnly(t *testing.T) {
	t.Parallel()
	file := box(t)
	command(t, "", "serve", "--config", file, "--listen", "0.0.0.0:8080").want(t, 2, "loopback")
	command(t, "", "serve", "--config", file, "--listen", "8080").want(t, 2, "HOST:PORT")
	command(t, "", "serve", "--config", file, "--workers", "1").want(t, 2, "there is no job queue")
}

func TestPasswordLineTakesNothingBehindIt(t *testing.T) {
	t.Parallel()
	in := strings.NewReader("pass word \r\nrest")
	got, err := readLine(in)
	if err != nil || got.Reveal() != "pass word " {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
	if rest, _ := io.ReadAll(in); string(rest) != "rest" {
		t.Errorf("%q is left, want all that stands behind the line", rest)
	}
}

func TestPasswordsThatNobodyCouldTypeAreRefused(t *testing.T) {
	t.Parallel()
	file := box(t)
	for name, password := range map[string]string{"nul": "a\x00b", "utf8": "a\xffb", "control": "a\x1bb"} {
		for _, args := range [][]string{
			{"admin", "add", "--config", file, name}, {"admin", "password", "--config", file, "admin"},
			{"setup", "--dir", filepath.Join(t.TempDir(), name)},
		} {
			command(t, password+"\n", append(args, "--password-stdin")...).want(t, 1, "control characters")
		}
	}
	command(t, "", "admin", "list", "--config", file).want(t, 0, "admin ")
	command(t, "pässwörd with spaces\n", "admin", "add", "--config", file, "good", "--password-stdin").want(t, 0,
		"added good")
}
