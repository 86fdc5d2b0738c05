package test

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"otpost/test/e2e"
)

// TestSilentConnectionsLeaveFilesForLogins opens more connections than the server may have files open, and logs in
// beside them.
func TestSilentConnectionsLeaveFilesForLogins(t *testing.T) {
	t.Parallel()
	const files, silent = 300, 400
	site := e2e.NewSite(t, programs, true)
	serve := site.Otpost("serve", "--config", site.Config, "--listen", "127.0.0.1:0")
	bounded := fmt.Sprintf("ulimit -n %d", files) + ` && exec "$0" "$@"`
	serve.Args = append([]string{"-c", bounded, serve.Path}, serve.Args...)
	serve.Path = "/bin/sh"
	p := e2e.Start(t, serve)
	_, url, _ := strings.Cut(p.Line(t, "listening on "), "listening on ")
	url = strings.TrimSpace(url)
	w := &world{Site: site, sink: e2e.NewSink(t, e2e.SinkOptions{})}
	w.server = &e2e.Server{Process: p, Client: &e2e.Client{URL: url, HTTP: &http.Client{Timeout: time.Minute}}}
	t.Cleanup(w.server.HTTP.CloseIdleConnections)
	w.server.LogIn(t, "admin", e2e.AdminPassword)
	w.server.SMTPServer(t, "queued", w.sink.Port, map[string]any{"enqueue_job": true})
	w.server.Set(t, "email.identifier", "queued")
	l := w.enrol(t, "SILENT")
	for range silent {
		c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
	}
	l.begin(t, w.server.Client)
	l.finish(t, w.server.Client, w.oneCopy(t, l))
	if !strings.Contains(p.Err.String(), "raise it with LimitNOFILE") {
		t.Errorf("no warning of %d files:\n%s", files, p.Err)
	}
	p.Stop(t)
}
