package test

import (
	"testing"
	"time"

	"otpost/test/e2e"
)

// wantLines checks how many lines of a log contain a message.
func wantLines(t *testing.T, log, message string, want int) {
	t.Helper()
	if lines := e2e.LinesWith(log, message); len(lines) != want {
		t.Errorf("%q stands in %d lines of the log, want %d:\n%s", message, len(lines), want, log)
	}
}

// saysLine waits until a worker's log has a message.
func (w *world) saysLine(t *testing.T, log, message string) {
	t.Helper()
	e2e.Eventually(t, "the worker to say: "+message, func() bool {
		return len(e2e.LinesWith(w.Read(log), message)) > 0
	})
}

// TestOutageIsLoggedOnceByEach pauses, kills and starts Redis: the server, its relay and the worker
// each log its begin once and its end once, for any number of tries.
func TestOutageIsLoggedOnceByEach(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]struct{ begin, end func(r *e2e.Redis) }{
		"it hangs":    {func(r *e2e.Redis) { r.Pause(t) }, func(r *e2e.Redis) { r.Resume(t) }},
		"it is ended": {func(r *e2e.Redis) { r.Stop(t) }, func(r *e2e.Redis) { r.Start(t) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorldOn(t, inRedis)
			worker := w.Worker(t)
			first := w.enrol(t, "FIRST")
			first.begin(t, w.server.Client)
			w.delivered(t, first)
			o.begin(w.redis)
			var waiting []*login
			for _, serial := range []string{"A", "B", "C"} {
				l := w.enrol(t, serial)
				l.begin(t, w.server.Client)
				waiting = append(waiting, l)
			}
			w.saysLine(t, worker.Log, "queue out of reach, trying again")
			<-time.After(7 * time.Second) // more than the relay leaves a row alone, and the worker pauses
			o.end(w.redis)
			for _, l := range waiting {
				w.delivered(t, l)
			}
			w.saysLine(t, worker.Log, "queue answers again")
			last := w.enrol(t, "LAST")
			last.begin(t, w.server.Client)
			w.delivered(t, last)
			// The relay may be either's, or go from one to the other.
			relay := func() (begun, over []string) {
				all := w.Read(worker.Log) + w.server.Err.String()
				return e2e.LinesWith(all, "queue out of reach, its mails wait"), e2e.LinesWith(all,
					"queue takes mails again")
			}
			e2e.Eventually(t, "the relay to say that the queue takes mails again", func() bool {
				begun, over := relay()
				return len(over) == len(begun)
			})
			<-time.After(3 * time.Second) // for what has begun during the outage and ends now
			log, server := w.Read(worker.Log), w.server.Err.String()
			wantLines(t, log, "queue out of reach, trying again", 1)
			wantLines(t, log, "queue answers again", 1)
			wantLines(t, log, "must not be used", 0)
			begun, over := relay()
			if len(begun) == 0 || len(begun) > 2 || len(over) != len(begun) {
				t.Errorf("the relay: %q, %q", begun, over)
			}
			wantLines(t, server, "job not enqueued", 1)
			wantLines(t, server, "jobs are enqueued again", 1)
		})
	}
}

// TestKeyOfAnotherTypeIsLoggedOnce puts a text where the queue's mark is while the worker runs.
func TestKeyOfAnotherTypeIsLoggedOnce(t *testing.T) {
	t.Parallel()
	const key = "otpost:{huey}:mark:delivery.send"
	w := newWorldOn(t, inRedis)
	worker := w.Worker(t)
	first := w.enrol(t, "FIRST")
	first.begin(t, w.server.Client)
	w.delivered(t, first)
	w.redis.Do(t, 0, "SET", key, "somebody else's")
	w.saysLine(t, worker.Log, "queue must not be used")
	wantLines(t, w.Read(worker.Log), key, 1)
	<-time.After(5 * time.Second)
	w.redis.Do(t, 0, "DEL", key)
	w.saysLine(t, worker.Log, "queue answers again")
	last := w.enrol(t, "LAST")
	last.begin(t, w.server.Client)
	w.delivered(t, last)
	worker.Stop(t)
	wantLines(t, w.Read(worker.Log), "queue must not be used", 1)
	wantLines(t, w.Read(worker.Log), "queue answers again", 1)
}
