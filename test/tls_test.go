package test

import (
	"crypto/tls"
	"testing"

	"otpost/test/e2e"
)

// TestTLSIsVerified sends to a mail server with a self-signed certificate: refused, unless the
// administrator names its CA or switches the check off.
func TestTLSIsVerified(t *testing.T) {
	t.Parallel()
	pair, ca := e2e.Certificate(t)
	w := newWorld(t)
	secure := e2e.NewSink(t, e2e.SinkOptions{TLS: &tls.Config{Certificates: []tls.Certificate{pair}}, Username: "relay",
		Password: "Silberdistel-93"})
	file := w.Write(t, "ca.pem", ca)
	cases := []struct {
		name string
		port int
		more map[string]any
		sent bool
	}{
		{"UNTRUSTED", secure.Port, map[string]any{"tls": true}, false},
		{"NAMEDCA", secure.Port, map[string]any{"tls": true, "ca_file": file}, true},
		{"SWITCHEDOFF", secure.Port, map[string]any{"tls": true, "tls_verify": false}, true},
		{"NOSTARTTLS", w.sink.Port, map[string]any{"tls": true, "ca_file": file}, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if c.port == secure.Port {
				c.more["username"], c.more["password"] = "relay", "Silberdistel-93"
			}
			w.server.SMTPServer(t, c.name, c.port, c.more)
			l := w.enrol(t, c.name, "email.identifier", c.name)
			if !c.sent {
				w.server.MustCheck(t, "REJECT", l.serial, l.pin)
				if n := len(secure.Mails(l.address)) + len(w.sink.Mails(l.address)); n != 0 {
					t.Errorf("%d mails were sent", n)
				}
				return
			}
			l.begin(t, w.server.Client)
			m := secure.Mail(t, l.address, 1)
			if !m.TLS {
				t.Error("the mail came in clear")
			}
			l.finish(t, w.server.Client, m)
		})
	}
	if n := secure.LogIns(); n != 2 {
		t.Errorf("the password was given %d times, want 2: never before the certificate was checked", n)
	}
}
