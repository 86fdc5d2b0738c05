package redisq_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"otpost/internal/queue"
	"otpost/internal/queue/queuetest"
	"otpost/internal/queue/redisq"
)

// The server programs that a queue may be in. OTPOST_REDIS_SERVER and VALKEY_SERVER name other
// files than those on the PATH: all tests but those of Valkey run on the first, so that a version
// of one's choice goes through the whole package.
const (
	redisServer  = "redis-server"
	valkeyServer = "valkey-server"
)

// lookServer returns the file of a server program. A test without it is skipped, or fails where
// OTPOST_TEST_REQUIRE=all.
func lookServer(t testing.TB, name string) string {
	t.Helper()
	candidates, group := []string{os.Getenv("OTPOST_REDIS_SERVER"), name}, "redis"
	if name == valkeyServer {
		deps := os.Getenv("OTPOST_DEPS")
		if cache, err := os.UserCacheDir(); deps == "" && err == nil {
			deps = filepath.Join(cache, "otpost-deps")
		}
		candidates, group = []string{os.Getenv("VALKEY_SERVER"), name, filepath.Join(deps, "bin", name)}, "valkey"
	}
	for _, file := range candidates {
		if path, err := exec.LookPath(file); file != "" && err == nil {
			return path
		}
	}
	missing(t, name+" (scripts/deps "+group+")")
	return ""
}

// missing skips the test for want of something, or fails it where OTPOST_TEST_REQUIRE=all says that
// nothing may be skipped.
func missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("OTPOST_TEST_REQUIRE") == "all" {
		t.Fatalf("missing: %s (OTPOST_TEST_REQUIRE=all: nothing may be skipped)", what)
	}
	t.Skipf("missing: %s", what)
}

// Redis' clock and this process' are never compared: the contract holds whatever lies between them.
func TestDriverKeepsTheContract(t *testing.T) {
	t.Parallel()
	for program, skew := range map[string]time.Duration{redisServer: 300 * time.Second, valkeyServer: -300 * time.Second} {
		t.Run(program, func(t *testing.T) {
			t.Parallel()
			keepsTheContract(t, serveBy(t, lookServer(t, program)), skew)
		})
	}
}

// keepsTheContract runs the contract's suite in a server whose clock is skew ahead of this
// process'.
func keepsTheContract(t *testing.T, s *server, skew time.Duration) {
	t.Helper()
	var n atomic.Int64
	var mu sync.Mutex
	folders := make(map[*testing.T]string)
	queuetest.Run(t, func(t *testing.T, now func() time.Time) (queue.Driver, func()) {
		mu.Lock()
		if folders[t] == "" {
			folders[t] = t.TempDir()
		}
		dir := folders[t]
		mu.Unlock()
		d, err := redisq.OpenApart(redisq.Options{URL: s.url(), Queue: fmt.Sprintf("suite-%d", n.Add(1)),
			LockDir: dir}, now, skew)
		if err != nil {
			t.Fatal(err)
		}
		return d, func() {
			if err := d.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}

// Valkey calls itself so and counts its versions from 7.2 on; the checks of a server's
// configuration must find it good.
func TestValkeyIsTakenWithoutAWarning(t *testing.T) {
	t.Parallel()
	log, err := bind(t, serveBy(t, lookServer(t, valkeyServer), "--appendonly", "yes").url())
	if err != nil || log != "" {
		t.Errorf("%v, %s", err, log)
	}
	_, err = bind(t, serveBy(t, lookServer(t, valkeyServer), "--maxmemory-policy", "allkeys-lru").url())
	refuses(t, err, "allkeys-lru")
}

// Redis 6.2 can be told to replicate scripts by their text, and then none may write after it has
// read the time. Later versions ignore the setting.
func TestScriptsReplicatedByTheirTextAreRefused(t *testing.T) {
	t.Parallel()
	s := serve(t, "--lua-replicate-commands", "no")
	version := s.cli("INFO server")[0]
	_, err := bind(t, s.url())
	if !strings.Contains(version, "redis_version:6.") {
		if err != nil {
			t.Errorf("a server that ignores it: %v", err)
		}
		return
	}
	refuses(t, err, "lua-replicate-commands")
}
