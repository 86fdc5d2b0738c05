package test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"otpost/test/e2e"
)

// TestRedisThatCannotBeUsedIsRefused starts server and worker with unusable queues: each ends with
// one sentence.
func TestRedisThatCannotBeUsedIsRefused(t *testing.T) {
	t.Parallel()
	const password = "Silberdistel-93"
	locked := e2e.NewRedis(t, "--requirepass", password)
	evicting := e2e.NewRedis(t, "--maxmemory-policy", "allkeys-lru")
	taken := e2e.NewRedis(t)
	taken.Do(t, 0, "LPUSH", "otpost:{huey}:job:7", "somebody else's")
	open := e2e.NewRedis(t)
	_, secure, ca := secureRedis(t)
	sink := e2e.NewSink(t, e2e.SinkOptions{})
	web := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(web.Close)
	for _, c := range []struct{ name, url, says string }{
		{"port out of range", "redis://127.0.0.1:65536", "PI_JOB_QUEUE_URL"},
		{"scheme of another server", "http://127.0.0.1", "PI_JOB_QUEUE_URL"},
		{"Sentinel", "redis+sentinel://127.0.0.1:26379/mymaster", "PI_JOB_QUEUE_URL"},
		{"unknown option", "redis://127.0.0.1?nosuch=1", "nosuch"},
		{"wrong password", fmt.Sprintf("redis://:%sX@%s", password, locked.Address()), "user or password is wrong"},
		{"no password", locked.URL(), "asks for a password"},
		{"database that is not there", fmt.Sprintf("redis://:%s@%s/99", password, locked.Address()),
			"no such database"},
		{"it throws jobs away", evicting.URL(), "noeviction"},
		{"key of another type", taken.URL(), "PI_JOB_QUEUE_NAME"},
		{"password where none is asked for", fmt.Sprintf("redis://:%s@%s", password, open.Address()),
			"leave the password out"},
		{"TLS to a port without it", "rediss://" + open.Address(), "write redis:// for rediss:// in PI_JOB_QUEUE_URL"},
		{"no TLS to a port with it", "redis://" + secure, "write rediss:// for redis:// in PI_JOB_QUEUE_URL"},
		{"certificate of an unknown authority", "rediss://" + secure, "?ssl_ca_certs=FILE"},
		{"certificate of another name", strings.Replace("rediss://"+secure, "127.0.0.1", "localhost", 1) +
			"?ssl_ca_certs=" + ca, "not for this name"},
		{"mail server", fmt.Sprintf("redis://127.0.0.1:%d", sink.Port), "no Redis"},
		{"mail server, with TLS", fmt.Sprintf("rediss://127.0.0.1:%d", sink.Port), "no Redis"},
		{"web server", "redis://" + web.Listener.Addr().String(), "no Redis"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			site := e2e.NewRedisSite(t, programs, c.url)
			log := site.Dir + "/worker.log"
			for _, command := range []e2e.Command{serve(site), site.Otpost("worker", "--config", site.Config, "-l",
				log), huey(t, site, "-l", log)} {
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

func TestWorkerBesideRedisThatCannotWorkSaysWhy(t *testing.T) {
	t.Parallel()
	redis := e2e.NewRedis(t)
	site := e2e.NewRedisSite(t, programs, redis.URL())
	exits(t, 1, "log", site.Otpost("worker", "--config", site.Config, "-l", site.Dir+"/nosuch/x.log"))
	exits(t, 2, "workers", huey(t, site, "-w", "0"))
	exits(t, 1, "log", huey(t, site, "-l", site.Dir+"/nosuch/x.log"))
}

// huey is the worker under privacyIDEA's name.
func huey(t *testing.T, site *e2e.Site, args ...string) e2e.Command {
	t.Helper()
	return e2e.Command{Path: programs.Path("privacyidea-queue-huey"), Args: args, Dir: t.TempDir(),
		Env: []string{"PRIVACYIDEA_CONFIGFILE=" + site.Config}}
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
