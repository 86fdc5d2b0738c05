package test

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"otpost/test/e2e"
)

func seedJobsInRedis(t *testing.T) {
	const password = "Silberdistel-Passwort-93"
	redis := e2e.NewRedis(t)
	url := strings.TrimSuffix(redis.URL(), "/0") + "/3"
	w := &world{Site: e2e.NewRedisSite(t, programs, url),
		sink: e2e.NewSink(t, e2e.SinkOptions{Username: "relay", Password: password}), redis: redis}
	w.server = w.Serve(t)
	w.server.SMTPServer(t, "queued", w.sink.Port, map[string]any{"enqueue_job": true, "username": "relay",
		"password": password})
	w.server.Set(t, "email.identifier", "queued")
	seen := redis.Monitor(t)
	var logins []*login
	for i := range 5 {
		// codes of eight digits, so that no other number looks like one
		l := w.enrol(t, fmt.Sprintf("INREDIS%d", i), "otplen", "8")
		l.begin(t, w.server.Client)
		logins = append(logins, l)
	}
	if keys := redis.Keys(t, 0); len(keys) > 0 {
		t.Errorf("the URL names database 3, and in 0 there are %v", keys)
	}
	jobs := 0
	for _, key := range redis.Keys(t, 3) {
		if !strings.HasPrefix(key, "otpost:{huey}:") {
			t.Errorf("a key %q", key)
		}
		if strings.HasPrefix(key, "otpost:{huey}:job:") {
			answer := redis.Do(t, 3, "HLEN", key)
			n, err := answer.AsInt64()
			if err != nil {
				t.Fatal(err)
			}
			jobs += int(n)
		}
	}
	if jobs != len(logins) {
		t.Errorf("%d jobs in Redis for %d mails that wait", jobs, len(logins))
	}
	places := redis.Files(t)
	w.Worker(t)
	hunted := map[string]string{"the SMTP password": password}
	for _, l := range logins {
		w.delivered(t, l)
		m := w.oneCopy(t, l)
		hunted["the code of "+l.serial], hunted["the address of "+l.serial], hunted["the PIN of "+l.serial] = m.Code(),
			l.address, l.pin
		l.finish(t, w.server.Client, m)
	}
	places["what redis-cli monitor shows"] = seen.String()
	if !strings.Contains(seen.String(), "otpost:{huey}:") {
		t.Error("monitor saw no job")
	}
	hunt(t, hunted, places)
}

func seedClassLine(t *testing.T) {
	redis := e2e.NewRedis(t)
	site := e2e.NewSite(t, programs, false)
	// The line of the manual.
	site.Append(t, "PI_JOB_QUEUE_CLASS = 'privacyidea.lib.queues.huey_queue.HueyQueue'\n")
	site.Append(t, fmt.Sprintf("PI_JOB_QUEUE_URL = 'redis://127.0.0.1:%d'\n", redis.Port))
	w := startWorld(t, site)
	if line := w.server.Line(t, "queue: "); !strings.HasPrefix(line, "queue: Redis at "+redis.Address()) {
		t.Errorf("the server starts with %q", line)
	}
	w.Worker(t)
	wantQueued(t, w, w.enrol(t, "CLASSLINE"))
	if len(redis.Keys(t, 0)) == 0 {
		t.Error("there is nothing in Redis")
	}
}

// seedDefaultURL uses port 6379 if it is free. Otherwise a foreign Redis must not be touched: the
// worker is started without a network and names the address that it dials.
func seedDefaultURL(t *testing.T) {
	const port = 6379
	site := e2e.NewSite(t, programs, false)
	site.Append(t, "PI_JOB_QUEUE_CLASS = 'privacyidea.lib.queues.huey_queue.HueyQueue'\n")
	if !e2e.Free(port) {
		unshare, err := exec.LookPath("unshare")
		if err != nil {
			e2e.Missing(t, "port 6379, or unshare (util-linux)")
		}
		if code, p := e2e.Run(t, e2e.Command{Path: unshare, Args: []string{"-n", "true"}}); code != 0 {
			e2e.Missing(t, "port 6379, or the right to a network of one's own: "+p.Err.String())
		}
		log := site.Dir + "/alone.log"
		p := e2e.Start(t, e2e.Command{Path: unshare, Args: []string{"-n", programs.Path("otpost"), "worker", "--config",
			site.Config, "-l", log}, Dir: site.Dir})
		e2e.Eventually(t, "the worker to look for Redis", func() bool {
			return len(e2e.LinesWith(site.Read(log), "queue=localhost:6379")) > 0
		})
		p.Stop(t)
		return
	}
	redis := e2e.NewRedisAt(t, port)
	w := startWorld(t, site)
	if line := w.server.Line(t, "queue: "); !strings.HasPrefix(line, "queue: Redis at localhost:6379") {
		t.Errorf("the server starts with %q", line)
	}
	w.Worker(t)
	wantQueued(t, w, w.enrol(t, "DEFAULTURL"))
	if len(redis.Keys(t, 0)) == 0 {
		t.Error("there is nothing in database 0")
	}
}

// seedURL uses some forms from end to end; the table of all is tested in internal/queue/redisq.
func seedURL(t *testing.T) {
	const password = "p^a$s&w(o)r!d*50%off"
	redis := e2e.NewRedis(t, "--requirepass", password)
	for i, c := range []struct{ url, at string }{
		{fmt.Sprintf("redis://:%s@localhost:%d/1", password, redis.Port), fmt.Sprintf("localhost:%d", redis.Port)},
		{fmt.Sprintf("redis://default:%s@127.0.0.1:%d/9?db=2", password, redis.Port), redis.Address()},
		{fmt.Sprintf("unix://:%s@%s?db=3", password, redis.Socket), redis.Socket},
	} {
		db := i + 1
		w := startWorld(t, e2e.NewRedisSite(t, programs, c.url))
		if line := w.server.Line(t, "queue: "); !strings.HasPrefix(line, "queue: Redis at "+c.at) ||
			strings.Contains(line, password) {
			t.Errorf("the server starts with %q", line)
		}
		w.Worker(t)
		wantQueued(t, w, w.enrol(t, "BYURL"))
		answer := redis.AuthDo(t, password, db, "KEYS", "*")
		keys, err := answer.AsStrSlice()
		if err != nil || !slices.Contains(keys, "otpost:{huey}:bound") {
			t.Errorf("%s: keys in database %d: %v, %v", c.at, db, keys, err)
		}
	}
}
