package app

import (
	"context"
	"io"
	"net/http"
	"time"
)

// lastRequests is how long a stop keeps idle connections open: a client that is just writing a
// request still gets an answer, with the header that ends the connection.
const lastRequests = 500 * time.Millisecond

// strictTransport is the value of Strict-Transport-Security (RFC 6797): a year, for this host only.
const strictTransport = "max-age=31536000"

// drainHandler wraps the handler and enforces the limits of requests and answers. While the server
// stops, each answer ends its connection, and readiness is denied, for load balancers with an open
// connection.
type drainHandler struct {
	handler http.Handler
	strict  bool            // clients use TLS: ask them to use it always
	stop    context.Context //nolint:containedctx // signals the stop; not a call's context
	clients *clients
}

// ServeHTTP implements http.Handler.
func (h *drainHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	t := newTimed(w, r, h.clients.limits)
	defer t.end()
	network := h.clients.network(r.RemoteAddr)
	if !h.clients.begin(network) {
		busy(t)
		return
	}
	defer h.clients.end(network)
	h.serve(t, r)
}

// busy answers a request beyond the limits as the API does without a free slot (fault.Busy).
func busy(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Retry-After", "2")
	w.WriteHeader(http.StatusServiceUnavailable)
	const answer = `{"detail":null,"id":1,"jsonrpc":"2.0","result":{"status":false,"error":{"code":5003,` +
		`"message":"The server is busy with other requests. Please try again."}}}`
	io.WriteString(w, answer) //nolint:errcheck // the client may be gone
}

func (h *drainHandler) serve(w http.ResponseWriter, r *http.Request) {
	if h.strict {
		w.Header().Set("Strict-Transport-Security", strictTransport)
	}
	stopping := h.stop.Err() != nil
	if stopping {
		w.Header().Set("Connection", "close") // over HTTP/2 it sends GOAWAY
	}
	if stopping && (r.URL.Path == "/healthz/readyz" || r.URL.Path == "/healthz/") {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusServiceUnavailable)
		const answer = `{"id":1,"jsonrpc":"2.0","result":{"status":false,"value":{"hsm":"OK","status":"stopping"}}}`
		io.WriteString(w, answer) //nolint:errcheck // the client may be gone
		return
	}
	h.handler.ServeHTTP(w, r)
}

// linger waits for lastRequests if clients are connected, at most until ctx ends.
func (h *drainHandler) linger(ctx context.Context) {
	if h.clients.count() == 0 {
		return
	}
	select {
	case <-time.After(lastRequests):
	case <-ctx.Done():
	}
}
