package cli

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// probeTime is how long a probe waits for the answer.
const probeTime = 5 * time.Second

// probe asks the server at --listen whether it is ready. A probe prints the error.
func (f listenFlags) probe(ctx context.Context, s streams) error {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	host, port, err := net.SplitHostPort(f.Listen)
	if err != nil {
		return err
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	scheme, transport := "http", &http.Transport{} // without the environment's proxy
	if f.TLSCert != "" {
		scheme = "https"
		// The certificate is not verified: the host is this one, the request has no secret, and a
		// probe does not check certificates.
		transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: true} //nolint:gosec // see above
	}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet,
		scheme+"://"+net.JoinHostPort(host, port)+"/healthz/readyz", nil)
	if err != nil {
		return err
	}
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return fmt.Errorf("no server answers at %s: %w", f.Listen, errors.Unwrap(err))
	}
	response.Body.Close() //nolint:errcheck // only the status counts
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("the server at %s is not ready: %s", f.Listen, response.Status)
	}
	fmt.Fprintf(s.out, "the server at %s is ready\n", f.Listen)
	return nil
}
