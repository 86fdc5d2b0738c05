package test

import (
	"fmt"
	"strings"
	"testing"

	"otpost/test/e2e"
)

// TestRedisThatCannotBeUsedIsRefused starts server and worker with what no queue can be kept in: each ends with one sentence.
func TestRedisThatCannotBeUsedIsRefused(t *testing.T) {
	t.Parallel()
	const password = "Silberdistel-93"
	locked := e2e.NewRedis(t, "--requirepass", password)
	evicting := e2e.NewRedis(t, "--maxmemory-policy", "allkeys-lru")
	taken := e2e.NewRedis(t)
	taken.Do(t, 0, "LPUSH", "otpost:{huey}:job:7", "somebody else's")
	for _, c := range []struct{ name, url, says string }{
		{"port out of range", "redis://127.0.0.1:65536", "PI_JOB_QUEUE_URL"},
		{"scheme of another server", "http://127.0.0.1", "PI_JOB_QUEUE_URL"},
		{"Sentinel", "redis+sentinel://127.0.0.1:26379/mymaster", "PI_JOB_QUEUE_URL"},
		{"unknown option", "redis://127.0.0.1?nosuch=1", "nosuch"},
		{"wrong password", fmt.Sprintf("redis://:%sX@%s", password, locked.Address()), "user or password is wrong"},
		{"no password", locked.URL(), "asks for a password"},
		{"database that is not there", fmt.Sprintf("redis://:%s@%s/99", password, locked.Address()), "no such database"},
		{"it throws jobs away", evicting.URL(), "noeviction"},
		{"key of another type", taken.URL(), "PI_JOB_QUEUE_NAME"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			site := e2e.NewRedisSite(t, programs, c.url)
			for _, command := range []e2e.Command{serve(site), site.Otpost("worker", "--config", site.Config, "-l", site.Dir+"/worker.log")} {
				code, p := e2e.Run(t, command)
				said := p.Err.String() + site.Read("worker.log")
				if code != 1 || !strings.Contains(p.Err.String(), c.says) || strings.Contains(said, password) {
					t.Errorf("%v: exit code %d, want 1 and %q; stderr: %s", command.Args, code, c.says, p.Err)
				}
				oneSentence(t, p)
			}
		})
	}
}

// TestTLSToAPortWithoutIt depends on the bytes of the handshake: Redis refuses what it takes for a command, or waits for its end.
func TestTLSToAPortWithoutIt(t *testing.T) {
	t.Parallel()
	redis := e2e.NewRedis(t)
	site := e2e.NewRedisSite(t, programs, "rediss://"+redis.Address())
	p := e2e.Start(t, serve(site))
	p.Line(t, "redis://")
	e2e.Eventually(t, "the server to end or to listen", func() bool { return p.Ended() || len(p.Out.Lines("listening on")) > 0 })
	if p.Ended() {
		if code := p.Wait(t); code != 1 {
			t.Errorf("exit code %d, want 1; stderr: %s", code, p.Err)
		}
		return
	}
	if len(p.Err.Lines("[WARNING]")) == 0 {
		t.Errorf("neither refused nor warned about: %s", p.Err)
	}
}

func TestWorkerBesideRedisThatCannotWorkSaysWhy(t *testing.T) {
	t.Parallel()
	redis := e2e.NewRedis(t)
	site := e2e.NewRedisSite(t, programs, redis.URL())
	exits(t, 1, "log", site.Otpost("worker", "--config", site.Config, "-l", site.Dir+"/nosuch/x.log"))
	huey := func(args ...string) e2e.Command {
		return e2e.Command{Path: programs.Path("privacyidea-queue-huey"), Args: args, Dir: t.TempDir(), Env: []string{"PRIVACYIDEA_CONFIGFILE=" + site.Config}}
	}
	exits(t, 2, "workers", huey("-w", "0"))
	exits(t, 1, "log", huey("-l", site.Dir+"/nosuch/x.log"))
}

// TestStartWithoutRedis starts server and worker before Redis: they warn and wait, and logins go on.
func TestStartWithoutRedis(t *testing.T) {
	t.Parallel()
	redis := e2e.NewRedis(t)
	redis.Kill(t)
	w := startWorld(t, e2e.NewRedisSite(t, programs, redis.URL()))
	w.redis = redis
	if line := w.server.Line(t, "queue: "); !strings.HasSuffix(line, "out of reach") {
		t.Errorf("the server starts with %q", line)
	}
	w.server.Line(t, "queue out of reach")
	worker := w.Worker(t)
	l := w.enrol(t, "EARLY")
	l.begin(t, w.server.Client)
	e2e.Eventually(t, "the worker to say that it waits", func() bool {
		return len(e2e.LinesWith(w.Read(worker.Log), "queue out of reach")) > 0
	})
	redis.Start(t)
	w.delivered(t, l)
	l.finish(t, w.server.Client, w.oneCopy(t, l))
}
