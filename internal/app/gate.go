package app

import (
	"context"
	"io"
	"net/http"
	"time"
)

// lastRequests is how long a stop leaves connections open on which nothing is under way: a client that is just writing a request
// to one still gets an answer, and is told that it is the connection's last.
const lastRequests = 500 * time.Millisecond

// strictTransport is the value of Strict-Transport-Security (RFC 6797): a year, for this host alone.
const strictTransport = "max-age=31536000"

// gate stands before the handler and keeps the limits of requests and answers. While the server stops, each answer
// ends its connection, readiness is denied (a load balancer that still has a connection learns it there).
type gate struct {
	handler http.Handler
	strict  bool            // clients come by TLS: tell them to do so always
	stop    context.Context //nolint:containedctx // an end, not a call's context
	clients *clients
}

// ServeHTTP implements http.Handler.
func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	t := newTimed(w, r, g.clients.limits)
	defer t.end()
	network := g.clients.network(r.RemoteAddr)
	if !g.clients.begin(network) {
		busy(t)
		return
	}
	defer g.clients.end(network)
	g.serve(t, r)
}

// busy answers a request beyond the limits as the API answers when it lacks a slot (fault.Busy).
func busy(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Retry-After", "2")
	w.WriteHeader(http.StatusServiceUnavailable)
	const answer = `{"detail":null,"id":1,"jsonrpc":"2.0","result":{"status":false,"error":{"code":5003,` +
		`"message":"The server is busy with other requests. Please try again."}}}`
	io.WriteString(w, answer) //nolint:errcheck // the client may be gone
}

func (g *gate) serve(w http.ResponseWriter, r *http.Request) {
	if g.strict {
		w.Header().Set("Strict-Transport-Security", strictTransport)
	}
	stopping := g.stop.Err() != nil
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
	g.handler.ServeHTTP(w, r)
}

// linger waits lastRequests, but not for nobody and not past ctx.
func (g *gate) linger(ctx context.Context) {
	if g.clients.count() == 0 {
		return
	}
	select {
	case <-time.After(lastRequests):
	case <-ctx.Done():
	}
}
