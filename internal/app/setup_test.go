package app

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"otpost/internal/config"
)

// fixed is the password of a test's administrator.
func fixed() (Password, error) { return "of-a-test-only", nil }

// unasked fails the test when a password is asked for.
func unasked(t *testing.T) func() (Password, error) {
	return func() (Password, error) {
		t.Error("a password was asked for")
		return fixed()
	}
}

// contents returns path -> mode and content of everything below a folder, but for the database's own files.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || strings.Contains(path, "otpost.db") {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		content := ""
		if info.Mode().IsRegular() {
			raw, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			content = string(raw)
		}
		all[path] = info.Mode().String() + " " + content
		return nil
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return all
}

func install(t *testing.T, dir string) Installed {
	t.Helper()
	in, err := Setup(t.Context(), SetupOptions{Dir: dir, Admin: "admin", Password: fixed})
	if err != nil {
		t.Fatal(err)
	}
	return in
}

func TestSetupMakesAnInstallationThatOpens(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "new", `it's a \ "box"`)
	in := install(t, dir)
	for path, want := range map[string]fs.FileMode{
		dir: 0o700 | fs.ModeDir, filepath.Join(dir, "state"): 0o700 | fs.ModeDir,
		filepath.Join(dir, "pi.cfg"): 0o640, filepath.Join(dir, "enckey"): 0o400,
	} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != want {
			t.Errorf("%s has mode %v, want %v", path, info.Mode(), want)
		}
	}
	for _, thing := range in.Things {
		if !thing.Made {
			t.Errorf("%s %s was there", thing.What, thing.Where)
		}
	}
	c, err := config.Load(config.Options{File: in.Config})
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Warnings) != 0 || c.QueueClass != config.NoQueue || in.Queue != config.NoQueue {
		t.Errorf("warnings %q, queue %q: want none and off", c.Warnings, c.QueueClass)
	}
	a, err := Open(t.Context(), Options{Config: c, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	ok, err := a.Administrators.CheckPassword(t.Context(), "admin", "of-a-test-only", "127.0.0.1")
	if err != nil || !ok {
		t.Errorf("the administrator's password: %v, %v", ok, err)
	}
}

// SEED: "the queue is disabled by default": both lines are commented.
func TestSetupLeavesTheQueueOff(t *testing.T) {
	t.Parallel()
	in := install(t, t.TempDir())
	text, err := os.ReadFile(in.Config)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, "PI_JOB_QUEUE_") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	want := []string{"# PI_JOB_QUEUE_CLASS = 'privacyidea.lib.queues.huey_queue.HueyQueue'",
		"# PI_JOB_QUEUE_URL = 'redis://localhost:6379/0'"}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Error(diff)
	}
}

func TestSetupTurnsTheQueueOnWhenTold(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	in, err := Setup(t.Context(), SetupOptions{Dir: dir, Admin: "admin", Password: fixed, Queue: config.EmbeddedQueue})
	if err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(config.Options{File: in.Config})
	if err != nil {
		t.Fatal(err)
	}
	if c.QueueClass != config.EmbeddedQueue || in.Queue != config.EmbeddedQueue {
		t.Errorf("queue %q", c.QueueClass)
	}
}

func TestSetupAgainChangesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	install(t, dir)
	before := contents(t, dir)
	in, err := Setup(t.Context(), SetupOptions{Dir: dir, Admin: "other", Password: unasked(t),
		Queue: config.EmbeddedQueue})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, contents(t, dir)); diff != "" {
		t.Error(diff)
	}
	for _, thing := range in.Things {
		if thing.Made {
			t.Errorf("%s %s was made", thing.What, thing.Where)
		}
	}
	if len(in.Notes) != 1 || !strings.Contains(in.Notes[0], "PI_JOB_QUEUE_CLASS = 'embedded'") {
		t.Errorf("notes %q do not say how to turn the queue on", in.Notes)
	}
}

func TestSetupCompletesWhatIsMissing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	install(t, dir)
	if err := os.RemoveAll(filepath.Join(dir, "state")); err != nil {
		t.Fatal(err)
	}
	before := contents(t, dir)
	in := install(t, dir)
	after := contents(t, dir)
	delete(after, filepath.Join(dir, "state"))
	if diff := cmp.Diff(before, after); diff != "" {
		t.Error(diff)
	}
	made := map[string]bool{}
	for _, thing := range in.Things {
		made[thing.What] = thing.Made
	}
	if diff := cmp.Diff(map[string]bool{"keys": false, "configuration": false, "database": true, "administrator": true},
		made); diff != "" {
		t.Error(diff)
	}
}

func TestSetupRefusesADatabaseThatLostItsKeysOrPepper(t *testing.T) {
	t.Parallel()
	for _, lost := range []string{"enckey", "pi.cfg"} {
		t.Run(lost, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			install(t, dir)
			if err := os.Remove(filepath.Join(dir, lost)); err != nil {
				t.Fatal(err)
			}
			before := contents(t, dir)
			_, err := Setup(t.Context(), SetupOptions{Dir: dir, Admin: "admin", Password: unasked(t)})
			if err == nil || !strings.Contains(err.Error(), "backup") {
				t.Errorf("err = %v", err)
			}
			if diff := cmp.Diff(before, contents(t, dir)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestSetupLeavesNothingBehindAfterAnError(t *testing.T) {
	t.Parallel()
	refused := errors.New("no password")
	cases := map[string]func(o *SetupOptions){
		"no password":        func(o *SetupOptions) { o.Password = func() (Password, error) { return "", refused } },
		"empty password":     func(o *SetupOptions) { o.Password = func() (Password, error) { return "", nil } },
		"impossible name":    func(o *SetupOptions) { o.Admin = " admin" },
		"impossible folder":  func(o *SetupOptions) { o.Dir += "/a?b" },
		"state is no folder": func(o *SetupOptions) { o.State = "/dev/null" },
	}
	for name, spoil := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			top := t.TempDir()
			before := contents(t, top)
			o := SetupOptions{Dir: filepath.Join(top, "a", "b"), Admin: "admin", Password: fixed}
			spoil(&o)
			if _, err := Setup(t.Context(), o); err == nil {
				t.Error("no error")
			}
			if diff := cmp.Diff(before, contents(t, top)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Another setup begins while the first one waits for its password: it ends with a sentence, and
// neither takes anything from the other.
func TestSecondSetupAtOnceIsRefused(t *testing.T) {
	t.Parallel()
	for name, begin := range map[string]func(t *testing.T, dir string){
		"new folder": func(*testing.T, string) {},
		"database missing": func(t *testing.T, dir string) {
			install(t, dir)
			if err := os.RemoveAll(filepath.Join(dir, "state")); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "box")
			begin(t, dir)
			var second error
			ctx, cancel := context.WithCancel(t.Context())
			first := func() (Password, error) {
				_, second = Setup(t.Context(), SetupOptions{Dir: dir, Admin: "second", Password: fixed})
				cancel() // the first one fails after all
				return fixed()
			}
			if _, err := Setup(ctx, SetupOptions{Dir: dir, Admin: "first", Password: first}); err == nil {
				t.Error("no error")
			}
			if second == nil && !exists(filepath.Join(dir, "state", "otpost.db")) {
				t.Fatal("the first one has removed the database of the second one")
			}
			if second == nil || !strings.Contains(second.Error(), "another otpost setup") {
				t.Errorf("second setup: %v", second)
			}
			install(t, dir) // the first setup has ended
		})
	}
}

// Setups that begin together: at least one makes the installation, and what it made is there.
func TestSetupsTogetherLeaveOneInstallation(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "box")
	var all sync.WaitGroup
	made := make(chan Installed, 8)
	for range cap(made) {
		all.Go(func() {
			in, err := Setup(t.Context(), SetupOptions{Dir: dir, Admin: "admin", Password: fixed})
			switch {
			case err == nil:
				made <- in
			case !strings.Contains(err.Error(), "another otpost setup"):
				t.Error(err)
			}
		})
	}
	all.Wait()
	close(made)
	if len(made) == 0 {
		t.Fatal("nobody has made it")
	}
	for in := range made {
		c, err := config.Load(config.Options{File: in.Config})
		if err != nil {
			t.Fatal(err)
		}
		a, err := Open(t.Context(), Options{Config: c, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	}
}

// Setup does not remove a file that another process has made meanwhile.
func TestSetupRemovesNothingOfOthers(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"state/otpost.db", "enckey", "pi.cfg"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			file := filepath.Join(dir, name)
			meanwhile := func() (Password, error) {
				err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700),
					os.WriteFile(file, []byte("of others"), 0o600))
				return "of-a-test-only", err
			}
			if _, err := Setup(t.Context(), SetupOptions{Dir: dir, Admin: "admin", Password: meanwhile}); err == nil {
				t.Error("no error")
			}
			content, err := os.ReadFile(file)
			if err != nil || string(content) != "of others" {
				t.Errorf("%d bytes, %v", len(content), err)
			}
			for path := range contents(t, dir) {
				if path != dir && path != file && path != filepath.Dir(file) {
					t.Errorf("%s was left behind", path)
				}
			}
		})
	}
}

func TestSetupReplacesNoLink(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	target := filepath.Join(dir, "elsewhere")
	if err := os.Symlink(target, filepath.Join(dir, "enckey")); err != nil {
		t.Fatal(err)
	}
	if _, err := Setup(t.Context(), SetupOptions{Dir: dir, Admin: "admin", Password: fixed}); err == nil {
		t.Error("a dangling link was taken for a key file")
	}
	if exists(target) {
		t.Error("something was written through the link")
	}
}

// The sample in packaging/ lists everything; a setting that setup writes must be in it.
func TestSampleHoldsWhatSetupWrites(t *testing.T) {
	t.Parallel()
	sample, err := os.ReadFile("../../packaging/pi.cfg.sample")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(piCfgTemplate) {
		name, _, ok := strings.Cut(strings.TrimPrefix(line[strings.LastIndex(line, "}")+1:], "# "), " = ")
		if ok && !strings.Contains(string(sample), name+" = ") {
			t.Errorf("%s is not in packaging/pi.cfg.sample", name)
		}
	}
}

// /etc holds no state.
func TestSystemsOwnInstallationKeepsItsDatabaseInVar(t *testing.T) {
	t.Parallel()
	s := &setup{SetupOptions: SetupOptions{Dir: filepath.Dir(config.DefaultFile)}}
	if err := s.locate(); err != nil {
		t.Fatal(err)
	}
	if want := "/var/lib/otpost/otpost.db"; s.database != want || s.configFile != config.DefaultFile {
		t.Errorf("database %s, configuration %s", s.database, s.configFile)
	}
}
