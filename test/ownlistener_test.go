package test

import (
	"net"
	"strings"
	"testing"

	"otpost/test/e2e"
)

// TestNobodySendsMailToOurOwnListener asks for test mails to the server's own address: inside the request, by a worker that is
// another process, and from a second server of the same database.
func TestNobodySendsMailToOurOwnListener(t *testing.T) {
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
	}{{first, "0"}, {first, "1"}, {second, "0"}} {
		a := c.by.Must(t, "POST", "/smtpserver/send_test_email", map[string]any{
			"identifier": "self", "server": "127.0.0.1", "port": port, "sender": "otpost@example.org", "recipient": "alice@example.org",
			"tls": "0", "timeout": "2", "enqueue_job": c.queued, "report": "1",
		})
		if !strings.Contains(a.Raw, "forbidden_address") {
			t.Errorf("by %s, enqueue_job=%s: %s", c.by.URL, c.queued, a)
		}
	}
	worker.Stop(t)
	second.Stop(t)
	first.Stop(t)
}
