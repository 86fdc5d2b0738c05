package mail_test

import (
	"regexp"
	"strings"
	"testing"

	stdmail "net/mail"

	"otpost/internal/inbox"
	"otpost/internal/mail"
)

// The recipient's program reads the name that the administrator typed, whatever is in it.
func TestSendersNameArrivesAsTyped(t *testing.T) {
	t.Parallel()
	in := newInbox(t, inbox.Options{})
	sender := newSender(mail.SenderOptions{})
	for n, name := range []string{
		"Example IT", "Support (Billing)", "Company, Inc.", "Team [IT]", "IT: Support", "Info @ Shop", `Joe "Ace" Doe`,
		`back\slash`, "Zugang Köln 🔐",
		"Köln, GmbH (IT)", "müller@köln", "Ünï; <x> =?_", "=?utf-8?q?looks_encoded",
		strings.Repeat("länger, ", 30) + "Ende",
	} {
		server := serverAt(in)
		server.Sender = name + " <pi@example.com>"
		if r := sender.Send(t.Context(), server, message()); r.Class != mail.Accepted {
			t.Fatalf("%s: %+v", name, r)
		}
		raw := in.Messages()[n].Raw
		m, err := stdmail.ReadMessage(strings.NewReader(string(raw)))
		if err != nil {
			t.Fatal(err)
		}
		from, err := m.Header.AddressList("From")
		if err != nil || len(from) != 1 || from[0].Name != name || from[0].Address != "pi@example.com" {
			t.Errorf("%q arrived as %v, %v: %q", name, from, err, m.Header.Get("From"))
		}
		// RFC 2047 section 5 (3): what a word of the Q encoding may hold in a name.
		for _, word := range regexp.MustCompile(`=\?utf-8\?q\?(.*?)\?=`).FindAllStringSubmatch(m.Header.Get("From"),
			-1) {
			if strings.Trim(word[1], "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!*+-/=_") != "" {
				t.Errorf("%q is encoded as %q", name, word[0])
			}
		}
	}
}

func TestDomainBeyondASCIIGoesToAnyServer(t *testing.T) {
	t.Parallel()
	port := said(t, "220 mx", "250-mx\r\n250 8BITMIME", "250 ok", "250 ok",
		"550 5.1.1 no eva@xn--mller-kva.example here")
	server := mail.Server{
		Identifier: "s",
		Server:     "127.0.0.1",
		Port:       port,
		Sender:     "otp@köln.example",
		Timeout:    serverAt(newInbox(t, inbox.Options{})).Timeout,
	}
	m := message()
	m.Recipient = "eva@müller.example"
	r := newSender(mail.SenderOptions{}).Send(t.Context(), server, m)
	if r.Code != 550 || strings.Contains(r.Text, "eva") || strings.Contains(r.Text, "xn--mller") {
		t.Errorf("%+v", r)
	}
	in := newInbox(t, inbox.Options{})
	server.Port = in.Port()
	if r := newSender(mail.SenderOptions{}).Send(t.Context(), server, m); r.Class != mail.Accepted {
		t.Fatalf("%+v", r)
	}
	got := in.Messages()[0]
	if got.From != "otp@xn--kln-sna.example" || got.To[0] != "eva@xn--mller-kva.example" ||
		got.Header("To") != got.To[0] || got.Header("From") != got.From ||
		got.Header("Reply-To") != got.From {
		t.Errorf("from %q to %q, headers %q %q %q", got.From, got.To, got.Header("From"), got.Header("To"),
			got.Header("Reply-To"))
	}
}
