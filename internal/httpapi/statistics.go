package httpapi

import (
	"context"
	"net/http"
	"time"

	"otpost/internal/delivery"
)

// deliveryStatistics answers GET /delivery/statistics: what became of the messages of the last hour and day.
func (s *server) deliveryStatistics(w http.ResponseWriter, r *http.Request) error {
	st, err := s.figures.get(r.Context(), "", func(ctx context.Context) (delivery.Statistics, error) {
		return s.Delivery.Statistics(ctx, allRealms)
	})
	if err != nil {
		return err
	}
	minutes := make([]object, len(st.Minutes))
	for i, m := range st.Minutes {
		minutes[i] = object{"minute": stamp(m.Begin), "accepted": m.Accepted, "failed": m.Failed, "expired": m.Expired, "dropped": m.Dropped,
			"unknown": m.Unknown}
	}
	servers := make(object, len(st.Servers))
	for identifier, at := range st.Servers {
		servers[identifier] = object{"accepted": at.Accepted, "failed": at.Failed, "last": renderLastResult(at.Last)}
	}
	failures := make([]object, len(st.Failures))
	for i, f := range st.Failures {
		failures[i] = object{
			"reason":    string(f.Reason),
			"server":    f.Server,
			"count":     f.Count,
			"phase":     "",
			"code":      0,
			"text":      "",
			"diagnosis": "",
		}
		if a := f.Last; a != nil {
			failures[i]["phase"], failures[i]["code"] = a.Phase, a.Code
			failures[i]["text"], failures[i]["diagnosis"] = a.Text, a.Diagnosis
		}
	}
	return answer(w, r, object{"minutes": minutes, "seconds": renderQuantiles(st.Took), "servers": servers, "failures": failures,
		"open": object{"waiting": st.Waiting, "oldest": stampOrNull(st.Oldest)}})
}

// renderQuantiles renders times from request to acceptance in seconds; null when nothing was accepted.
func renderQuantiles(q *delivery.Quantiles) any {
	if q == nil {
		return nil
	}
	seconds := func(d time.Duration) float64 { return float64(d.Milliseconds()) / 1000 }
	return object{"count": q.Count, "p50": seconds(q.P50), "p95": seconds(q.P95), "p99": seconds(q.P99)}
}

// renderLastResult renders the last message of a server in brief; null for none.
func renderLastResult(last *delivery.LastResult) any {
	if last == nil {
		return nil
	}
	one := object{"state": string(last.State), "at": stamp(last.At), "result": "", "phase": "", "code": 0, "text": "", "diagnosis": ""}
	if a := last.Attempt; a != nil {
		one["result"], one["phase"], one["code"], one["text"], one["diagnosis"] = a.Class, a.Phase, a.Code, a.Text, a.Diagnosis
	}
	return one
}
