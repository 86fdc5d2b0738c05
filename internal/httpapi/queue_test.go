package httpapi

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"otpost/internal/queue"
)

// shownQueue is a queue that shows what the test wants.
type shownQueue struct {
	queue.Driver
	workers []queue.Seen
	status  queue.Status
	err     error
	looking func() // called with each look; may be nil
}

// Workers implements queue.Driver.
func (q *shownQueue) Workers(context.Context) ([]queue.Seen, error) {
	if q.looking != nil {
		q.looking()
	}
	return q.workers, q.err
}

// Status implements queue.Operator.
func (q *shownQueue) Status(context.Context) (queue.Status, error) { return q.status, q.err }

// List implements queue.Operator.
func (q *shownQueue) List(context.Context, queue.Filter) ([]queue.Listed, error) { return nil, q.err }

func TestQueueThatIsNotThereIsSaidToBeOff(t *testing.T) {
	t.Parallel()
	want := map[string]any{
		"configured":     false,
		"name":           "",
		"place":          "",
		"reachable":      false,
		"error":          nil,
		"database":       "",
		"other_keys":     false,
		"depth":          []any{},
		"oldest":         nil,
		"leased":         0.0,
		"scheduled":      0.0,
		"next_due":       nil,
		"dead":           0.0,
		"workers":        []any{},
		"worker_seen":    false,
		"start_one_with": "",
	}
	g := newRig(t).do("GET", "/queue/", "", nil)
	if g.status != http.StatusUnauthorized {
		t.Error(g.raw)
	}
	r := newRig(t)
	if diff := cmp.Diff(want, r.do("GET", "/queue/", r.admin, nil).value()); diff != "" {
		t.Error(diff)
	}
	if n := r.count(`action = 'GET /queue/{$}'`); n != 0 {
		t.Errorf("%d looks are in the journal", n)
	}
}

func TestQueueShowsWhatWaitsAndWhoWorks(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	now := at
	q := &shownQueue{
		workers: []queue.Seen{{Worker: queue.Worker{Host: "otp1", PID: 4711, Version: "0.1.0", Handlers: 32}, Started: at.Add(-time.Hour), Heartbeat: at.Add(-time.Second), Local: true}},
		status: queue.Status{Ready: [2]queue.Depth{queue.Urgent: {Jobs: 3, Oldest: at.Add(-time.Minute)}, queue.Normal: {Jobs: 1, Oldest: at.Add(-time.Hour)}},
			Leased: 2, Scheduled: 5, NextDue: at.Add(time.Second), Dead: 1},
	}
	r := newRigWith(t, func(d *Deps, o *Options) {
		d.Queue, o.QueueName, o.QueuePlace, o.StartOne, o.Now = q, "huey", "Redis at 127.0.0.1:6379", "otpost worker", func() time.Time { return now }
	})
	want := map[string]any{
		"configured": true,
		"name":       "huey",
		"place":      "Redis at 127.0.0.1:6379",
		"reachable":  true,
		"error":      nil,
		"database":   "",
		"other_keys": false,
		"depth": []any{
			map[string]any{"priority": "urgent", "ready": 3.0, "oldest": "2026-11-24T11:59:00.000Z"}, map[string]any{"priority": "normal", "ready": 1.0, "oldest": "2026-11-24T11:00:00.000Z"},
		},
		"oldest":      "2026-11-24T11:00:00.000Z",
		"leased":      2.0,
		"scheduled":   5.0,
		"next_due":    "2026-11-24T12:00:01.000Z",
		"dead":        1.0,
		"worker_seen": true,
		"workers": []any{map[string]any{"host": "otp1", "pid": 4711.0, "version": "0.1.0", "handlers": 32.0, "started": "2026-11-24T11:00:00.000Z",
			"beat": "2026-11-24T11:59:59.000Z", "local": true}},
		"start_one_with": "otpost worker",
	}
	shown := func() map[string]any {
		value, _ := r.do("GET", "/queue/", r.admin, nil).value().(map[string]any)
		return value
	}
	if diff := cmp.Diff(want, shown()); diff != "" {
		t.Error(diff)
	}
	q.workers, q.err = nil, errors.New("connection refused")
	now = at.Add(59 * time.Second)
	away := shown()
	if away["reachable"] != false || away["error"] != "connection refused" || away["worker_seen"] != true || len(away["depth"].([]any)) != 0 { //nolint:forcetypeassert // a test
		t.Errorf("away: %v", away)
	}
	now = at.Add(time.Minute)
	if shown()["worker_seen"] != false {
		t.Error("a worker that was not shown for a minute counts as seen")
	}
	now = at.Add(-time.Hour)
	if shown()["worker_seen"] != false {
		t.Error("a worker that was shown before the clock was set back counts as seen")
	}
}
