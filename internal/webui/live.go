package webui

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"io"
	"net/http"
	"sync"
	"time"
)

const (
	mostStreams  = 200              // open at once, of each kind; each asks the API once a second
	mostOfGuest  = 10               // of those without a session, from one client network
	streamLife   = 10 * time.Minute // then the browser comes back by itself, with a session that may have ended
	lookInterval = time.Second
	sendWithin   = 10 * time.Second // a browser that takes nothing gives its place back
	keepAlive    = 15               // looks without news after which something is sent, so that a proxy holds the line
)

// news is what an event stream tells: a text for the element that listens, or only that the page has changed.
type news struct {
	State string `json:"state"` // a word for the style sheet
	Text  string `json:"text"`
	More  string `json:"more"`  // stands behind the text, and is not read out when it changes
	Final bool   `json:"final"` // nothing follows

	until, next *time.Time // of the message of a login: its code's end, and when it is tried again
}

// Until returns when the code of a message ends, nil when that is not known.
func (n news) Until() *time.Time { return n.until }

// Ended reports whether there is no code to type in.
func (n news) Ended() bool { return n.State == "over" || n.State == "not_sent" }

// stream sends server-sent events (HTML Living Standard, section 9.2): what look returns, each time it differs from
// the time before, once a second, until it is final. It blocks until the browser is gone, the server stops, look
// fails (a session that has ended), or ten minutes are over.
func (v *visit) stream(event string, look func() (news, error)) error {
	if v.r.Method == http.MethodHead { // its stream would take a place, and no client reads it
		v.w.Header().Set("Content-Type", "text/event-stream")
		return nil
	}
	places := v.site.streams
	if v.screen.open {
		places = v.site.guests
		network := v.site.options.Network(v.r.RemoteAddr)
		if !v.site.guestsOf.take(network) {
			return v.refusal(http.StatusServiceUnavailable, "error.streams")
		}
		defer v.site.guestsOf.give(network)
	}
	select {
	case places <- struct{}{}:
		defer func() { <-places }()
	default:
		return v.refusal(http.StatusServiceUnavailable, "error.streams")
	}
	now, err := look()
	if err != nil {
		return err
	}
	control := http.NewResponseController(v.w)
	if err := control.SetReadDeadline(time.Time{}); err != nil { // the server's time-out for reading would end the stream
		return fmt.Errorf("open event stream: %w", err)
	}
	v.w.Header().Set("Content-Type", "text/event-stream")
	v.w.Header().Set("X-Accel-Buffering", "no") // nginx would wait for more
	return v.follow(control, event, now, look)
}

// follow sends what look returns each time that it differs, until it is final, streamLife is over or the browser is
// gone.
func (v *visit) follow(control *http.ResponseController, event string, now news, look func() (news, error)) error {
	end := time.NewTimer(streamLife)
	defer end.Stop()
	tick := time.NewTicker(lookInterval)
	defer tick.Stop()
	told, quiet := "", 0
	for {
		data, err := json.Marshal(now)
		if err != nil {
			return err
		}
		switch {
		case string(data) != told:
			told, quiet = string(data), 0
			err = send(v.w, control, "event: "+event+"\ndata: "+told+"\n\n")
		case quiet >= keepAlive:
			quiet = 0
			err = send(v.w, control, ":\n\n")
		}
		if err != nil || now.Final {
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
		if now, err = look(); err != nil {
			return nil //nolint:nilerr // the page finds out when it is loaded again
		}
	}
}

// networks counts the streams of client networks. It is safe for concurrent use.
type networks struct {
	mu   sync.Mutex
	held map[string]int // none that holds nothing
}

// take takes a place and reports whether there was one. The network "" has no bound of its own.
func (n *networks) take(network string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if network == "" {
		return true
	}
	if n.held[network] >= mostOfGuest {
		return false
	}
	n.held[network]++
	return true
}

// give gives the place back.
func (n *networks) give(network string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.held[network]--; n.held[network] <= 0 {
		delete(n.held, network)
	}
}

// send writes a part of a stream and sees that it leaves. The deadline ends with it: over HTTP/2 it would reset a
// stream that has no news (net/http resets at the deadline, also when nothing is being written).
func send(w io.Writer, control *http.ResponseController, part string) error {
	if err := control.SetWriteDeadline(time.Now().Add(sendWithin)); err != nil {
		return err
	}
	defer control.SetWriteDeadline(time.Time{}) //nolint:errcheck // the one before was taken
	if _, err := io.WriteString(w, part); err != nil {
		return err
	}
	return control.Flush()
}

// watch streams that the answers of paths of the API have changed; the page then loads itself again.
func (v *visit) watch(paths ...string) error {
	v.aged = true
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
