package webui

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"net/http"
	"time"
)

const (
	mostStreams  = 200              // open at once; each asks the API once a second
	streamLife   = 10 * time.Minute // then the browser comes back by itself, with a session that may have ended
	lookInterval = time.Second
	keepAlive    = 15 // looks without news after which something is sent, so that a proxy holds the line
)

// news is what an event stream tells: a text for the element that listens, or only that the page has changed.
type news struct {
	State string `json:"state"` // a word for the style sheet
	Text  string `json:"text"`
	Final bool   `json:"final"` // nothing follows
}

// stream sends server-sent events (HTML Living Standard, section 9.2): what look returns, each time it differs from the time
// before, once a second, until it is final. It blocks until the browser is gone, the server stops, or ten minutes are over.
func (v *visit) stream(event string, look func() (news, error)) error {
	select {
	case v.site.streams <- struct{}{}:
		defer func() { <-v.site.streams }()
	default:
		return &apiError{Status: http.StatusServiceUnavailable, Message: v.text.say("error.streams")}
	}
	first, err := look()
	if err != nil {
		return err
	}
	control := http.NewResponseController(v.w)
	if err := control.SetReadDeadline(time.Time{}); err != nil { // the server's time-out for reading would end the stream
		return fmt.Errorf("open event stream: %w", err)
	}
	v.w.Header().Set("Content-Type", "text/event-stream")
	v.w.Header().Set("X-Accel-Buffering", "no") // nginx would wait for more
	end := time.NewTimer(streamLife)
	defer end.Stop()
	tick := time.NewTicker(lookInterval)
	defer tick.Stop()
	for last, quiet := (news{}), 0; ; {
		switch {
		case first != last:
			last, quiet = first, 0
			data, err := json.Marshal(last)
			if err != nil {
				return err
			}
			fmt.Fprintf(v.w, "event: %s\ndata: %s\n\n", event, data)
		case quiet >= keepAlive:
			quiet = 0
			fmt.Fprint(v.w, ":\n\n")
		}
		if err := control.Flush(); err != nil || last.Final {
			return nil //nolint:nilerr // the browser is gone
		}
		select {
		case <-v.r.Context().Done():
			return nil
		case <-v.site.stopping.Done():
			return nil
		case <-end.C:
			return nil
		case <-tick.C:
		}
		quiet++
		if first, err = look(); err != nil {
			return nil //nolint:nilerr // the page finds out when it is loaded again
		}
	}
}

// watch streams that the answers of paths of the API have changed; the page then loads itself again.
func (v *visit) watch(paths ...string) error {
	return v.stream("changed", func() (news, error) {
		sum := fnv.New64a()
		for _, path := range paths {
			a, err := v.call(http.MethodGet, path, nil)
			if err != nil {
				return news{}, err
			}
			sum.Write(a.Value) //nolint:errcheck // a hash takes everything
		}
		return news{State: fmt.Sprintf("%x", sum.Sum64())}, nil
	})
}
