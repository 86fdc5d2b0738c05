package httpapi

import (
	"context"
	"net/http"
	"time"

	"otpost/internal/queue"
)

// The queue at a glance: how long it may take to answer, and how long a worker counts as seen after its last beat.
const (
	queueAnswers = 2 * time.Second
	workerSeen   = time.Minute
)

func (s *server) queueRoutes() []route {
	return []route{
		{method: "GET", path: "/queue/{$}", who: admins, right: "queue_read", handler: s.queueStatus, quiet: true},
	}
}

// queueStatus answers GET /queue/: what waits and who works. A queue that cannot be reached is an answer, not an error.
func (s *server) queueStatus(w http.ResponseWriter, r *http.Request) error {
	seen, err := s.queueSeen.get(r.Context(), "", s.lookAtQueue)
	if r.Context().Err() != nil {
		return r.Context().Err()
	}
	value := object{
		"configured":     s.Queue != nil,
		"name":           "",
		"place":          "",
		"reachable":      s.Queue != nil && err == nil,
		"error":          nil,
		"database":       s.options.Trouble(),
		"other_keys":     s.options.OtherKeys,
		"start_one_with": "",
	}
	if s.Queue != nil {
		value["name"], value["place"], value["start_one_with"] = s.options.QueueName, s.options.QueuePlace, s.options.StartOne
	}
	if err != nil {
		value["error"] = err.Error()
	}
	addDepth(value, seen.status, value["reachable"] == true)
	value["workers"], value["worker_seen"] = renderWorkers(seen.workers), s.sawWorker(seen.workers)
	return answer(w, r, value)
}

// queueSeen is the queue as one look found it.
type queueSeen struct {
	status  queue.Status
	workers []queue.Seen
}

// lookAtQueue reads the queue; everything is zero without one, and as far as it was read with an error.
func (s *server) lookAtQueue(ctx context.Context) (seen queueSeen, err error) {
	if s.Queue == nil {
		return seen, nil
	}
	ctx, cancel := context.WithTimeout(ctx, queueAnswers)
	defer cancel()
	if seen.workers, err = s.Queue.Workers(ctx); err != nil {
		return queueSeen{}, err
	}
	if o, ok := s.Queue.(queue.Operator); ok {
		seen.status, err = o.Status(ctx)
	}
	return seen, err
}

// sawWorker reports whether the queue shows a worker, or has shown one within the last minute: a
// worker that is being started anew is not missed. A time that lies ahead was noted before the
// clock was set back: it does not count.
func (s *server) sawWorker(workers []queue.Seen) bool {
	now := s.options.Now()
	if len(workers) > 0 {
		s.workerSeen.Store(now.UnixMilli())
		return true
	}
	age := now.Sub(time.UnixMilli(s.workerSeen.Load()))
	return age >= 0 && age < workerSeen
}

// addDepth renders how many jobs there are: none where the queue was not read.
func addDepth(value object, status queue.Status, read bool) {
	depth := []object{}
	var oldest time.Time
	for priority, at := range status.Ready {
		if !at.Oldest.IsZero() && (oldest.IsZero() || at.Oldest.Before(oldest)) {
			oldest = at.Oldest
		}
		if read {
			depth = append(depth, object{"priority": queue.Priority(priority).String(), "ready": at.Jobs, "oldest": stampOrNull(at.Oldest)})
		}
	}
	value["depth"], value["oldest"], value["leased"], value["scheduled"] = depth, stampOrNull(oldest), status.Leased, status.Scheduled
	value["next_due"], value["dead"] = stampOrNull(status.NextDue), status.Dead
}

// renderWorkers renders the workers whose lease has not lapsed.
func renderWorkers(workers []queue.Seen) []object {
	list := make([]object, len(workers))
	for i, one := range workers {
		list[i] = object{"host": one.Host, "pid": one.PID, "version": one.Version, "handlers": one.Handlers, "started": stamp(one.Started),
			"beat": stamp(one.Heartbeat), "local": one.Local}
	}
	return list
}
