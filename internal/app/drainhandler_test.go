package app

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// While the server stops, a client that still has a connection is answered, is told that it was the
// last answer, and learns from the readiness probe to go elsewhere.
func TestStoppingServerAnswersAndSaysGoodbye(t *testing.T) {
	t.Parallel()
	stop, begin := context.WithCancel(t.Context())
	defer begin()
	g := &drainHandler{handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "answered") //nolint:errcheck // into memory
	}), stop: stop, clients: newClients(Limits{}.orDefault(), alone, slog.New(slog.DiscardHandler))}
	paths := map[string]int{"/validate/check": 200, "/healthz/livez": 200, "/healthz/readyz": 503, "/healthz/": 503}
	for path := range paths {
		if got := ask(g, path); got.Code != http.StatusOK || got.Header().Get("Connection") != "" {
			t.Errorf("%s before the stop: %d, Connection: %q", path, got.Code, got.Header().Get("Connection"))
		}
	}
	begin()
	for path, want := range paths {
		got := ask(g, path)
		if got.Code != want || got.Header().Get("Connection") != "close" {
			t.Errorf("%s: %d, want %d; Connection: %q", path, got.Code, want, got.Header().Get("Connection"))
		}
		if want == 200 && got.Body.String() != "answered" {
			t.Errorf("%s: %q", path, got.Body)
		}
	}
}

func ask(h http.Handler, path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w
}

// A port scan must not fill the log that an administrator reads.
func TestPortScansAreNoWarnings(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	l := slog.NewLogLogger(serverLog{slog.NewTextHandler(&out, nil)}, slog.LevelWarn)
	l.Print("http: TLS handshake error from 192.0.2.1:4711: EOF")
	if out.Len() > 0 {
		t.Errorf("told: %s", &out)
	}
	l.Print("http: Accept error: too many open files")
	if !strings.Contains(out.String(), "level=WARN") {
		t.Errorf("not told: %s", &out)
	}
}
