package proxy_test

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"testing"
	"time"

	"otpost/internal/inbox"
	"otpost/internal/mail"
	"otpost/internal/smtp"
	"otpost/test/proxy"
)

type yes struct{}

func (yes) BeforeWrite(context.Context, smtp.Write) error { return nil }

// Wherever the connection breaks, byte by byte: what the sender says of a message is true. A
// message that arrived was accepted or is unknown; one that is said to be sent in no case did not
// arrive.
func TestClassIsTrueWhereverTheConnectionIsCut(t *testing.T) {
	t.Parallel()
	cert, pem, err := inbox.NewCertificate("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	sender := mail.NewSender(mail.SenderOptions{
		Dial:     new(net.Dialer).DialContext,
		ReadFile: func(string) ([]byte, error) { return pem, nil },
		EHLOName: func(context.Context) string { return "client.example.com" },
	})
	for name, c := range map[string]struct {
		inbox inbox.Options
		tls   bool
		step  int64
	}{
		"plain": {inbox.Options{}, false, 1},
		"tls":   {inbox.Options{Certificate: cert}, true, 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in, err := inbox.Open(c.inbox)
			if err != nil {
				t.Fatal(err)
			}
			classes := map[string]mail.Class{}
			seen := map[mail.Class]int{}
			send := func(id string, f proxy.Faults) mail.Class {
				p, err := proxy.Open(in.Addr())
				if err != nil {
					t.Fatal(err)
				}
				p.Set(f)
				_, port, _ := net.SplitHostPort(p.Addr())
				n, _ := strconv.Atoi(port)
				r := sender.Send(t.Context(), mail.Server{
					Server:    "127.0.0.1",
					Port:      n,
					Sender:    "pi@example.com",
					TLS:       c.tls,
					TLSVerify: true,
					CAFile:    "ca.pem",
					Timeout:   10 * time.Second,
				}, mail.Message{
					ID:        id,
					MessageID: id + "@example.com",
					Recipient: "alice@example.com",
					Subject:   "s",
					Body:      "body",
					Journal:   yes{},
				})
				p.Close()
				classes["<"+id+"@example.com>"] = r.Class
				seen[r.Class]++
				return r.Class
			}
			for _, up := range []bool{true, false} {
				for n := int64(1); ; n += c.step {
					f := proxy.Faults{CutDown: n}
					if up {
						f = proxy.Faults{CutUp: n}
					}
					if send(fmt.Sprintf("cut-%t-%d", up, n), f) == mail.Accepted {
						break
					}
				}
			}
			if err := in.Close(); err != nil {
				t.Error(err)
			}
			copies := map[string]int{}
			for _, m := range in.Messages() {
				id := m.Header("Message-ID")
				copies[id]++
				if class := classes[id]; class != mail.Accepted && class != mail.Unknown {
					t.Errorf("%s arrived and is said to be %s", id, class)
				}
				if m.Text() != "body" || copies[id] > 1 {
					t.Errorf("%s arrived as %q, copy %d", id, m.Text(), copies[id])
				}
			}
			for id, class := range classes {
				if class == mail.Accepted && copies[id] != 1 {
					t.Errorf("%s was accepted and did not arrive", id)
				}
			}
			if seen[mail.Unreachable] == 0 || seen[mail.Unknown] == 0 || seen[mail.Accepted] != 2 {
				t.Errorf("the cuts did not come everywhere: %v", seen)
			}
			t.Log(seen)
		})
	}
}
