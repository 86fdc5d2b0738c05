package e2e

import (
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

//go:embed testdata/clock.c
var clockSource string

// clockLibrary compiles clock.c, once, and returns the library's path and the folder to remove.
var clockLibrary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "clock")
	if err != nil {
		return "", err
	}
	source, library := filepath.Join(dir, "clock.c"), filepath.Join(dir, "clock.so")
	if err := os.WriteFile(source, []byte(clockSource), 0o600); err != nil {
		return "", err
	}
	out, err := exec.Command("gcc", "-shared", "-fPIC", "-o", library, source).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("compile clock.c: %w: %s", err, out)
	}
	return library, nil
})

// NewRedisAhead is NewRedis with a clock that is some seconds ahead of this host's, or behind it.
// Without gcc it skips the test.
func NewRedisAhead(t testing.TB, ahead time.Duration) *Redis {
	t.Helper()
	if _, err := exec.LookPath("gcc"); err != nil {
		Missing(t, "gcc (scripts/deps redis)")
	}
	library, err := clockLibrary()
	if err != nil {
		t.Fatal(err)
	}
	r := newRedis(t, quietPort(t), []string{"LD_PRELOAD=" + library,
		fmt.Sprintf("CLOCK_AHEAD=%d", int(ahead.Seconds()))})
	answer := r.Do(t, 0, "TIME")
	now, err := answer.AsIntSlice()
	if err != nil || len(now) != 2 {
		t.Fatalf("TIME: %v, %v", now, err)
	}
	if off := time.Until(time.Unix(now[0], 0)) - ahead; off.Abs() > 2*time.Second {
		t.Fatalf("redis' clock is %s off what it should be", off)
	}
	return r
}
