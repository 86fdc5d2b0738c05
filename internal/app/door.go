package app

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"
)

// DrainTime is how long a stop waits for the requests that are being answered, and for the messages that are being sent.
const DrainTime = 30 * time.Second

// Door is where and how Serve answers.
type Door struct {
	Listener    net.Listener
	Certificate *Certificate // nil: plain HTTP
	Proxied     bool         // a proxy before it speaks TLS with the clients
	Limits      Limits
}

// URL returns the address that Serve answers at.
func (d Door) URL() string {
	if d.Certificate != nil {
		return "https://" + d.Listener.Addr().String()
	}
	return "http://" + d.Listener.Addr().String()
}

// serve answers until the listener is closed.
func (d Door) serve(s *http.Server) error {
	if d.Certificate == nil {
		return s.Serve(d.Listener)
	}
	s.TLSConfig = d.Certificate.tls()
	return s.ServeTLS(d.Listener, "", "")
}

// drain takes no more connections and waits for the requests that are under way.
func (d Door) drain(hard context.Context, server *http.Server, g *gate) error {
	d.Listener.Close() //nolint:errcheck // nobody comes in either way
	within, cancel := context.WithTimeout(hard, DrainTime)
	defer cancel()
	g.linger(within)
	if err := server.Shutdown(within); within.Err() != nil {
		return errors.Join(errors.New("stopped before every request was answered"), server.Close())
	} else if err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}
