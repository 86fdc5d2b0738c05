package test

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"otpost/test/e2e"
)

// unitNames are the services that `make install` installs.
var unitNames = []string{"otpost", "otpost-worker"}

// host is where `make install` has put everything.
type host struct{ prefix, etc string }

// unit returns the file of a service.
func (h host) unit(name string) string {
	return filepath.Join(h.prefix, "lib/systemd/system", name+".service")
}

// makeInstall runs `make install` with the programs of this test run.
func makeInstall(t *testing.T, variables ...string) {
	t.Helper()
	program, err := exec.LookPath("make")
	if err != nil {
		e2e.Missing(t, "make")
	}
	root, err := e2e.Root()
	if err != nil {
		t.Fatal(err)
	}
	command := e2e.Command{
		Path: program, Args: append([]string{"-s", "install", "BIN=" + programs.Dir}, variables...), Dir: root,
		Env: []string{"GOFLAGS=" + os.Getenv("GOFLAGS"), "GOPROXY=" + os.Getenv("GOPROXY"),
			"XDG_CACHE_HOME=" + os.Getenv("XDG_CACHE_HOME")},
	}
	if code, p := e2e.Run(t, command); code != 0 {
		t.Fatalf("make install exited with %d\n%s%s", code, p.Out, p.Err)
	}
}

// installed installs below a temporary folder, where the units name their programs.
func installed(t *testing.T) host {
	t.Helper()
	dir := t.TempDir()
	h := host{filepath.Join(dir, "usr"), filepath.Join(dir, "etc")}
	makeInstall(t, "PREFIX="+h.prefix, "SYSCONFDIR="+h.etc)
	return h
}

// files returns the files below a folder with their modes and contents.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		content, err := os.ReadFile(path)
		all[strings.TrimPrefix(path, dir)] = info.Mode().String() + string(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestInstallTwiceKeepsTheConfiguration installs as a package is built, with DESTDIR, and again over changed settings.
func TestInstallTwiceKeepsTheConfiguration(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	makeInstall(t, "DESTDIR="+dir)
	first := files(t, dir)
	for _, want := range []string{
		"/usr/local/bin/otpost", "/usr/local/bin/privacyidea-queue-huey",
		"/usr/local/lib/systemd/system/otpost.service",
		"/usr/local/lib/systemd/system/otpost-worker.service", "/usr/local/lib/sysusers.d/otpost.conf",
		"/usr/local/share/doc/otpost/pi.cfg.sample", "/usr/local/share/doc/otpost/install.md",
		"/usr/local/share/doc/otpost/images/overview-light-desktop-en.png", "/etc/default/otpost",
		"/etc/logrotate.d/otpost",
	} {
		if first[want] == "" {
			t.Errorf("%s is missing", want)
		}
	}
	unit := first["/usr/local/lib/systemd/system/otpost.service"]
	if !strings.Contains(unit, "\nExecStart=/usr/local/bin/otpost serve ") || strings.Contains(unit, "@PREFIX@") ||
		strings.Contains(unit, "@SYSCONFDIR@") || strings.Contains(unit, dir) {
		t.Errorf("the unit does not name the program's place:\n%s", unit)
	}
	const ours = "OTPOST_SERVE=--listen 127.0.0.1:9999\n"
	for _, name := range []string{"default", "logrotate.d"} {
		if err := os.WriteFile(filepath.Join(dir, "etc", name, "otpost"), []byte(ours), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	makeInstall(t, "DESTDIR="+dir)
	second := files(t, dir)
	if len(first) != len(second) {
		t.Errorf("%d files after the first run, %d after the second", len(first), len(second))
	}
	for name, content := range second {
		if want := first[name]; strings.HasPrefix(name, "/etc/") {
			if !strings.HasSuffix(content, ours) {
				t.Errorf("%s was overwritten", name)
			}
		} else if content != want {
			t.Errorf("%s is another one after the second run", name)
		}
	}
}

// TestInstallBelowAFolderStaysInIt: with a prefix that is not the system's, the settings lie below
// it too, so that a user without rights can install, and root writes nothing into /etc.
func TestInstallBelowAFolderStaysInIt(t *testing.T) {
	t.Parallel()
	prefix := filepath.Join(t.TempDir(), "p")
	makeInstall(t, "PREFIX="+prefix)
	all := files(t, prefix)
	for _, want := range []string{"/bin/otpost", "/etc/default/otpost", "/etc/logrotate.d/otpost"} {
		if all[want] == "" {
			t.Errorf("%s is missing", want)
		}
	}
	if unit := all["/lib/systemd/system/otpost.service"]; !strings.Contains(unit,
		"\nEnvironmentFile=-"+prefix+"/etc/default/otpost\n") {
		t.Errorf("the unit reads other options:\n%s", unit)
	}
}

// TestLinksOfTheInstalledManualLeadToFiles: the manual is read where make install has put it,
// without the source beside it.
func TestLinksOfTheInstalledManualLeadToFiles(t *testing.T) {
	t.Parallel()
	manual := filepath.Join(installed(t).prefix, "share/doc/otpost")
	link := regexp.MustCompile(`\]\(([^)#\s]+)(#[^)]*)?\)`)
	links := 0
	for page, content := range files(t, manual) {
		if filepath.Ext(page) != ".md" {
			continue
		}
		for _, found := range link.FindAllStringSubmatch(content, -1) {
			if strings.Contains(found[1], "://") {
				continue
			}
			links++
			target := filepath.Join(manual, filepath.Dir(page), found[1])
			if _, err := os.Stat(target); err != nil || !strings.HasPrefix(target, manual+"/") {
				t.Errorf("%s: the link to %s leads to nothing that is installed", page, found[1])
			}
		}
	}
	if links == 0 {
		t.Error("the manual has no links")
	}
}

// mostExposed is the exposure, in tenths, above which systemd-analyze security fails a unit;
// otpost's units have 16 and 15.
const mostExposed = "20"

// TestUnitsAreValidAndHardened checks the installed units with systemd-analyze. It exits with 0 for
// unknown keys, so a line that names the file is a failure, too.
func TestUnitsAreValidAndHardened(t *testing.T) {
	t.Parallel()
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		e2e.Missing(t, "systemd-analyze (scripts/deps systemd)")
	}
	h := installed(t)
	for _, name := range unitNames {
		file := h.unit(name)
		code, p := e2e.Run(t, e2e.Command{Path: analyze, Args: []string{"verify", "--man=no", file}})
		if text := p.Err.String(); code != 0 || strings.Contains(text, name+".service") {
			t.Errorf("systemd-analyze verify %s: exit code %d, %s", name, code, text)
		}
		code, p = e2e.Run(t, e2e.Command{Path: analyze, Args: []string{"security", "--offline=true", "--no-pager",
			"--threshold=" + mostExposed, file}})
		lines := strings.Split(strings.TrimSpace(p.Out.String()), "\n")
		if code != 0 {
			t.Errorf("systemd-analyze security %s: exit code %d, %s%s", name, code, p.Out, p.Err)
		}
		t.Log(lines[len(lines)-1])
	}
	// The test must fail for a wrong key.
	wrong := filepath.Join(t.TempDir(), "otpost.service")
	content, err := os.ReadFile(h.unit("otpost"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(wrong, []byte(strings.Replace(string(content), "WatchdogSec=", "WatchdogSeconds=", 1)),
		0o600); err != nil {
		t.Fatal(err)
	}
	if _, p := e2e.Run(t, e2e.Command{Path: analyze, Args: []string{"verify", "--man=no", wrong}}); !strings.Contains(
		p.Err.String(), "otpost.service") {
		t.Errorf("a wrong key passes: %s", p.Err)
	}
}

// TestUnitsGiveTheStopItsTime compares the units with what the programs promise.
func TestUnitsGiveTheStopItsTime(t *testing.T) {
	t.Parallel()
	h := installed(t)
	for _, name := range unitNames {
		u := e2e.ReadUnit(t, h.unit(name))
		for key, want := range map[string]string{
			"Type": "notify", "KillSignal": "SIGTERM", "TimeoutStopSec": "40", "Restart": "on-failure",
			"User": "otpost", "Group": "otpost",
			"StateDirectory": "otpost", "LogsDirectory": "otpost", "ConfigurationDirectory": "privacyidea",
		} {
			if got := u.Service(t, key); got != want {
				t.Errorf("%s: %s=%s, want %s", name, key, got, want)
			}
		}
	}
	worker := strings.Fields(e2e.ReadUnit(t, h.unit("otpost-worker")).Service(t, "ExecStart"))
	if i := slices.Index(worker, "--shutdown-timeout"); i < 0 || worker[i+1] != "30" {
		t.Errorf("the worker's stop has no end before the manager's: %v", worker)
	}
}
