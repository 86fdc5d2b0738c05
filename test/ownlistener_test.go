package test

import (
	"net"
	"strings"
	"testing"

	"otpost/test/e2e"
)

// TestTestMailToTheServersOwnListenerIsRefused asks for test mails to the server's own address. The
// server refuses to dial itself. A worker and a second server dial, get no greeting, and write
// nothing.
func TestTestMailToTheServersOwnListenerIsRefused(t *testing.T) {
	t.Parallel()
	site := e2e.NewSite(t, programs, true)
	first := site.Serve(t, "--workers", "0")
	second := site.Serve(t, "--workers", "0")
	worker := site.Worker(t)
	_, port, err := net.SplitHostPort(strings.TrimPrefix(first.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		by     *e2e.Server
		queued string
		want   string
	}{{first, "0", "forbidden_address"}, {first, "1", "greeting"}, {second, "0", "greeting"}} {
		a := c.by.Must(t, "POST", "/smtpserver/send_test_email", map[string]any{
			"identifier": "self", "server": "127.0.0.1", "port": port, "sender": "otpost@example.org",
			"recipient": "alice@example.org",
			"tls":       "0", "timeout": "2", "enqueue_job": c.queued, "report": "1",
		})
		if !strings.Contains(a.Raw, c.want) {
			t.Errorf("by %s, enqueue_job=%s: %s", c.by.URL, c.queued, a)
		}
	}
	worker.Stop(t)
	second.Stop(t)
	first.Stop(t)
}
