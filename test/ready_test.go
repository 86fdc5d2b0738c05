package test

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// ready asks for readiness and fails the test when the answer is late. On a quiet machine it comes
// within 600 ms; a hung Redis took 3 s.
func (w *world) ready(t *testing.T, status int, part string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	begun := time.Now()
	a, err := w.server.Anonymous().Do(ctx, http.MethodGet, "/healthz/readyz", nil)
	t.Logf("readyz: %d after %v", a.HTTPStatus, time.Since(begun).Round(time.Millisecond))
	if err != nil || a.HTTPStatus != status || !strings.Contains(a.Raw, part) {
		t.Errorf("readyz: %v, %v, want %d with %s", a, err, status, part)
	}
}

func TestReadinessAnswersWhileRedisHangs(t *testing.T) {
	t.Parallel()
	w := newWorldOn(t, inRedis)
	w.Worker(t)
	w.redis.Pause(t)
	defer w.redis.Resume(t)
	for range 3 {
		w.ready(t, http.StatusOK, `"degraded"`)
	}
}

// The lock of the database's writer is held, as by a process that was stopped in its commit.
func TestReadinessIsDeniedWhileTheDatabaseIsLocked(t *testing.T) {
	t.Parallel()
	w := newWorldOn(t, embedded)
	w.ready(t, http.StatusOK, `"ready"`)
	lock, err := os.OpenFile(filepath.Join(w.Dir, "state", "otpost.db-writer"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		w.ready(t, http.StatusServiceUnavailable, `"not ready"`)
	}
	lock.Close()
	w.ready(t, http.StatusOK, `"ready"`)
}
