package app

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"
)

// DrainTime is how long a stop waits for running requests and for messages that are being sent.
const DrainTime = 30 * time.Second

// Listener is the socket of Serve and how it answers there.
type Listener struct {
	Listener    net.Listener
	Certificate *Certificate // nil: plain HTTP
	Proxied     bool         // a proxy before the server speaks TLS with the clients
	Limits      Limits
}

// URL returns the address at which Serve answers.
func (l Listener) URL() string {
	if l.Certificate != nil {
		return "https://" + l.Listener.Addr().String()
	}
	return "http://" + l.Listener.Addr().String()
}

// serve answers requests until the socket is closed.
func (l Listener) serve(s *http.Server) error {
	if l.Certificate == nil {
		return s.Serve(l.Listener)
	}
	s.TLSConfig = l.Certificate.tls()
	return s.ServeTLS(l.Listener, "", "")
}

// drain accepts no more connections and waits for the running requests.
func (l Listener) drain(hard context.Context, server *http.Server, h *drainHandler) error {
	l.Listener.Close() //nolint:errcheck // no client can connect either way
	within, cancel := context.WithTimeout(hard, DrainTime)
	defer cancel()
	h.linger(within)
	if err := server.Shutdown(within); within.Err() != nil {
		return errors.Join(errors.New("stopped before every request was answered"), server.Close())
	} else if err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}
