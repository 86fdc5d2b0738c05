// Package e2e starts the built programs as real processes.
//
// It is for the end-to-end tests (otpost/test) and the measurement of logins (otpost/bench/logins):
// a Site is an installation in a temporary folder, a Process a running program, a Client speaks
// REST, a Sink is the mail server. Everything ends with the test that made it. The package uses
// only the command line, HTTP, SMTP, files and signals of otpost.
package e2e

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

// Patience is the time limit of a wait before the test fails: much longer than the wait takes on
// two busy cores.
const Patience = time.Minute

// Programs are the built binaries.
type Programs struct{ Dir string }

// Path returns the file of a program.
func (p Programs) Path(name string) string { return filepath.Join(p.Dir, name) }

// Build builds otpost into dir, with CGO_ENABLED=0, and links privacyidea-queue-huey to it, as they
// are shipped. When OTPOST_TEST_PROGRAMS names a folder that holds both, as scripts/test does,
// Build returns that folder: each of the test programs would link otpost again.
func Build(dir string) (Programs, error) {
	if built := os.Getenv("OTPOST_TEST_PROGRAMS"); built != "" {
		_, err := os.Stat(filepath.Join(built, "otpost"))
		return Programs{built}, err
	}
	root, err := Root()
	if err != nil {
		return Programs{}, err
	}
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "otpost"), "./cmd/otpost")
	build.Dir = root
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return Programs{}, errors.New("go build: " + err.Error() + "\n" + string(out))
	}
	return Programs{dir}, os.Symlink("otpost", filepath.Join(dir, "privacyidea-queue-huey"))
}

// Root returns the repository's folder: the one of this file's module.
func Root() (string, error) {
	_, file, _, ok := runtime.Caller(0)
	if !ok {
		return "", errors.New("the source of package e2e is not known")
	}
	return filepath.Abs(filepath.Join(filepath.Dir(file), "..", ".."))
}

// Missing skips the test because this machine lacks a requirement. With OTPOST_TEST_REQUIRE=all it
// fails the test instead.
func Missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("OTPOST_TEST_REQUIRE") == "all" {
		t.Fatalf("missing: %s (OTPOST_TEST_REQUIRE=all: nothing may be skipped)", what)
	}
	t.Skipf("missing: %s", what)
}

// Eventually waits until ready returns true and fails the test when that takes longer than Patience.
func Eventually(t testing.TB, what string, ready func() bool) {
	t.Helper()
	EventuallyIn(t, Patience, what, ready)
}

// EventuallyIn is Eventually with a time limit of its own.
func EventuallyIn(t testing.TB, limit time.Duration, what string, ready func() bool) {
	t.Helper()
	end := time.Now().Add(limit)
	look := time.NewTicker(5 * time.Millisecond) // other processes send no event
	defer look.Stop()
	for !ready() {
		if time.Now().After(end) {
			t.Fatalf("waited %s in vain for: %s", limit, what)
		}
		<-look.C
	}
}
