package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// stale is how long a mail may wait for a worker before the queue counts as degraded.
const stale = time.Minute

func (s *server) probeRoutes() []route {
	probe := func(path string, h handler) route {
		return route{method: "GET", path: path, who: anyone, right: open, handler: h, quiet: true, bare: true}
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

// waiting is what the database tells of mails that wait for a worker.
type waiting struct {
	mails  int
	oldest time.Time
}

// probes are what readiness asks, each by itself: one that hangs delays no other.
type probes struct {
	reads   *probe[waiting]
	check   *probe[struct{}] // of the database's reads and transactions
	workers *probe[int]      // that the queue sees
}

func (s *server) newProbes() probes {
	return probes{
		reads: newProbe(func(ctx context.Context) (w waiting, err error) {
			w.mails, w.oldest, err = s.Delivery.Waiting(ctx)
			return w, err
		}),
		check: newProbe(func(ctx context.Context) (struct{}, error) {
			return struct{}{}, s.options.Check(ctx)
		}),
		workers: newProbe(func(ctx context.Context) (int, error) {
			if s.Queue == nil {
				return 0, nil
			}
			seen, err := s.Queue.Workers(ctx)
			return len(seen), err
		}),
	}
}

// ready answers GET /healthz/readyz within 600 ms, whatever hangs: 200 while the database can be read and
// written, with the queue's state beside the recorded fields. A queue in trouble never turns it to 503:
// logins are answered without it.
func (s *server) ready(w http.ResponseWriter, r *http.Request) error {
	var found waiting
	var workers int
	var read, checked, queue error
	var all sync.WaitGroup
	all.Go(func() { found, read = s.probes.reads.get() })
	all.Go(func() { _, checked = s.probes.check.get() })
	all.Go(func() { workers, queue = s.probes.workers.get() })
	all.Wait()
	if err := errors.Join(named("read the database", read), named("use the database", checked)); err != nil {
		if minute := s.options.Now().Unix()/60 + 1; s.notReady.Swap(minute) != minute { // a load balancer asks each second
			s.log.Error("readiness check failed", "err", err)
		}
		return writeJSON(w, http.StatusServiceUnavailable, object{"id": 1, "jsonrpc": "2.0", "time": epoch(callOf(r).begun),
			"result": object{"status": false, "value": object{"hsm": s.hsmState(), "status": "not ready"}}})
	}
	state := object{"hsm": s.hsmState(), "status": "ready", "queue": s.queueHealth(found, workers, queue)}
	if s.options.LogHangs != nil && s.options.LogHangs() {
		state["log"] = "hangs" // logins go on, and lines are lost
	}
	return answer(w, r, state)
}

// hsmState says whether the keys are those of the database: OK, or fail where sealed values cannot be read.
func (s *server) hsmState() string {
	if s.options.OtherKeys {
		return "fail"
	}
	return "OK"
}

// named says what failed; nil stays nil.
func named(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}

// queueHealth returns {state: off, ok or degraded, waiting: mails that wait for a worker, workers: that were seen}.
func (s *server) queueHealth(found waiting, workers int, err error) object {
	state := "ok"
	late := found.mails > 0 && s.options.Now().Sub(found.oldest) > stale
	switch {
	case s.Queue == nil:
		state = "off"
	case err != nil || late || found.mails > 0 && workers == 0:
		state = "degraded"
	}
	return object{"state": state, "waiting": found.mails, "workers": workers}
}
