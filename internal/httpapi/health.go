package httpapi

import (
	"context"
	"net/http"
	"time"
)

// stale is how long a mail may wait for a worker before the queue counts as degraded.
const stale = time.Minute

func (s *server) probeRoutes() []route {
	probe := func(path string, h handler) route {
		return route{method: "GET", path: path, who: anyone, right: open, realms: noRealm, handler: h, quiet: true, bare: true}
	}
	return []route{
		probe("/healthz/{$}", s.ready), probe("/healthz/readyz", s.ready), probe("/healthz/livez", s.live), probe("/healthz/startupz", s.started),
	}
}

// live answers GET /healthz/livez: the process answers.
func (s *server) live(w http.ResponseWriter, r *http.Request) error {
	return answer(w, r, object{"status": "OK"})
}

// started answers GET /healthz/startupz.
func (s *server) started(w http.ResponseWriter, r *http.Request) error {
	return answer(w, r, object{"status": "started"})
}

// ready answers GET /healthz/readyz: 200 while the database can be read and written, with the queue's state beside the recorded
// fields. A queue in trouble never turns it to 503: logins are answered without it.
func (s *server) ready(w http.ResponseWriter, r *http.Request) error {
	var queue object
	err := s.options.Check(r.Context())
	if err == nil {
		queue, err = s.queueHealth(r.Context())
	}
	if err != nil {
		s.log.Error("readiness check failed", "err", err)
		return writeJSON(w, http.StatusServiceUnavailable, object{"id": 1, "jsonrpc": "2.0", "time": epoch(callOf(r).begun),
			"result": object{"status": false, "value": object{"hsm": "OK", "status": "not ready"}}})
	}
	return answer(w, r, object{"hsm": "OK", "status": "ready", "queue": queue})
}

// queueHealth returns {state: off, ok or degraded, waiting: mails that wait for a worker, workers: that were seen}.
func (s *server) queueHealth(ctx context.Context) (object, error) {
	waiting, oldest, err := s.Delivery.Waiting(ctx)
	if err != nil {
		return nil, err
	}
	if s.Queue == nil {
		return object{"state": "off", "waiting": waiting, "workers": 0}, nil
	}
	state := "ok"
	workers, err := s.Queue.Workers(ctx)
	late := waiting > 0 && s.options.Now().Sub(oldest) > stale
	if err != nil || late || (waiting > 0 && len(workers) == 0) {
		state = "degraded"
	}
	return object{"state": state, "waiting": waiting, "workers": len(workers)}, nil
}
