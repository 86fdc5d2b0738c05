package mail_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"otpost/internal/mail"
)

// hangUp is a reply that is none.
const hangUp = ""

// said is a server that answers the n-th thing that comes with the n-th reply, and closes after the last one.
func said(t *testing.T, replies ...string) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(5 * time.Second))
		buffer := make([]byte, 64<<10)
		for i, reply := range replies {
			if reply != hangUp {
				c.Write([]byte(reply + "\r\n"))
			}
			if i == len(replies)-1 {
				return
			}
			if _, err := c.Read(buffer); err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
	})
	return l.Addr().(*net.TCPAddr).Port
}

// The replies are those that Postfix, Exim, Exchange and the RFCs give.
func TestRepliesAreDiagnosed(t *testing.T) {
	t.Parallel()
	const hello = "250-mx\r\n250 AUTH PLAIN"
	for _, c := range []struct {
		at    int // the reply that is refused: greeting, EHLO, AUTH, MAIL, RCPT, DATA, dot
		reply string
		want  mail.Diagnosis
	}{
		{0, "554 5.7.1 No SMTP service for you", mail.RelayDenied},
		{0, "421 4.3.2 too many connections", mail.Throttled},
		{1, "550 5.7.1 go away", mail.RelayDenied},
		{2, "535 5.7.8 Error: authentication failed", mail.AuthFailed},
		{2, "534 5.7.9 Application-specific password required", mail.AuthFailed},
		{2, "530 5.7.0 Must issue a STARTTLS command first", mail.TLSElsewhere},
		{2, "538 5.7.11 Encryption required for requested authentication mechanism", mail.AuthUnencrypted},
		{2, "454 4.7.0 Temporary authentication failure", mail.AuthUnavailable},
		{2, "503 5.5.1 AUTH not available", mail.AuthUnavailable},
		{2, "504 5.5.4 Unrecognized authentication type", mail.AuthUnavailable},
		{3, "530 5.7.0 Authentication required", mail.AuthRequired},
		{3, "550 5.7.57 Client not authenticated to send mail", mail.AuthRequired},
		{3, "550 5.7.60 Client does not have permissions to send as this sender", mail.SenderRefused},
		{3, "552 5.3.4 Message size exceeds fixed limit", mail.TooLarge},
		{3, "452 4.3.1 Insufficient system storage", mail.Throttled},
		{4, "553 5.7.1 <pi@example.com>: Sender address rejected: not owned by user", mail.SenderRefused},
		{4, "550 5.1.8 <pi@example.com>: Sender address rejected: Domain not found", mail.SenderRefused},
		{4, "554 5.7.1 <alice@example.com>: Relay access denied", mail.RelayDenied},
		{4, "550 relay not permitted", mail.RelayDenied},
		{4, "554 no", mail.RelayDenied},
		{4, "550 5.1.1 <alice@example.com>: Recipient address rejected: User unknown", mail.RecipientRefused},
		{4, "554 5.1.1 unknown", mail.RecipientRefused},
		{4, "552 5.2.2 Mailbox full", mail.RecipientRefused},
		{4, "550 no such user here", mail.RecipientRefused},
		{4, "450 4.2.0 <alice@example.com>: Recipient address rejected: Greylisted", mail.Greylisted},
		{4, "451 4.7.1 Greylisting in action, please come back later", mail.Greylisted},
		{4, "451 graylisted", mail.Greylisted},
		{4, "451 4.3.0 local error", mail.Throttled},
		{5, "451 4.7.1 try again later", mail.Greylisted},
		{5, "554 5.5.1 no valid recipients", mail.MessageRefused},
		{6, "552 5.3.4 Error: message too large", mail.TooLarge},
		{6, "552 too big", mail.TooLarge},
		{6, "554 5.7.1 Spam message rejected", mail.MessageRefused},
		{6, "452 4.2.2 over quota", mail.Throttled},
		{6, "250 2.0.0 queued", ""},
		{5, "250 not what DATA is answered with", mail.NotSMTP},
	} {
		t.Run(c.reply, func(t *testing.T) {
			t.Parallel()
			replies := append([]string{"220 mx", hello, "235 ok", "250 ok", "250 ok", "354 go on"}[:c.at:c.at], c.reply)
			if c.at == 1 {
				replies = append(replies, c.reply) // to HELO
			}
			server := mail.Server{Identifier: "s", Server: "127.0.0.1", Port: said(t, replies...), Sender: "pi@example.com", Timeout: 5 * time.Second, Username: "mailuser", Password: "hunter22"}
			r := newSender(mail.SenderOptions{}).Send(t.Context(), server, message())
			if r.Diagnosis != c.want {
				t.Errorf("%q at %s: %s, want %s", r.Text, r.Phase, r.Diagnosis, c.want)
			}
		})
	}
}

func TestFailuresWithoutAReplyAreDiagnosed(t *testing.T) {
	t.Parallel()
	never := func(ctx context.Context, _, _ string) (net.Conn, error) { // as a firewall that drops
		<-ctx.Done()
		return nil, ctx.Err()
	}
	forbidden := errors.New("not dialled")
	at := func(replies ...string) func(*testing.T, *mail.Server, *mail.Message) {
		return func(t *testing.T, s *mail.Server, _ *mail.Message) { s.Port = said(t, replies...) }
	}
	for name, c := range map[string]struct {
		change func(*testing.T, *mail.Server, *mail.Message)
		dial   func(context.Context, string, string) (net.Conn, error)
		want   mail.Diagnosis
	}{
		"name without address": {func(_ *testing.T, s *mail.Server, _ *mail.Message) { s.Server = "no-such-host.invalid" }, nil, mail.NoDNS},
		"address never dialled": {nil, func(context.Context, string, string) (net.Conn, error) {
			return nil, &net.OpError{Op: "dial", Err: forbidden}
		},
			mail.ForbiddenAddress},
		"dropped by a firewall": {func(_ *testing.T, s *mail.Server, _ *mail.Message) { s.Timeout = 50 * time.Millisecond }, never, mail.Timeout},
		"silence on port 465": {func(_ *testing.T, s *mail.Server, _ *mail.Message) { s.Port, s.Timeout = 465, 50*time.Millisecond }, never,
			mail.TLSElsewhere},
		"hung up at once":       {at(), nil, mail.Disconnected},
		"hung up after EHLO":    {at("220 mx", "250 mx"), nil, mail.Disconnected},
		"hung up after the dot": {at("220 mx", "250 mx", "250 ok", "250 ok", "354 go on", hangUp), nil, mail.Disconnected},
		"a web server":          {at("HTTP/1.1 400 Bad Request"), nil, mail.NotSMTP},
		"talks out of turn":     {at("220 mx", "250 mx\r\n250 more"), nil, mail.NotSMTP},
		"log-in is not offered": {func(t *testing.T, s *mail.Server, m *mail.Message) { at("220 mx", "250 mx")(t, s, m); s.Username = "u" }, nil, mail.AuthUnavailable},
		"STARTTLS not offered":  {func(t *testing.T, s *mail.Server, m *mail.Message) { at("220 mx", "250 mx")(t, s, m); s.TLS = true }, nil, mail.NoSTARTTLS},
		"STARTTLS refused": {func(t *testing.T, s *mail.Server, m *mail.Message) {
			at("220 mx", "250-mx\r\n250 STARTTLS", "454 no")(t, s, m)
			s.TLS = true
		}, nil, mail.TLSFailed},
		"no TLS after STARTTLS": {func(t *testing.T, s *mail.Server, m *mail.Message) {
			at("220 mx", "250-mx\r\n250 STARTTLS", "220 ok", "no TLS")(t, s, m)
			s.TLS = true
		}, nil, mail.TLSFailed},
		"smtps:// to a plain port": {func(t *testing.T, s *mail.Server, m *mail.Message) {
			at("220 mx", "500 what")(t, s, m)
			s.Server = "smtps://" + net.JoinHostPort("127.0.0.1", port(s.Port))
		}, nil, mail.TLSElsewhere},
		"password in clear": {func(t *testing.T, s *mail.Server, m *mail.Message) {
			at("220 mx", "250 AUTH PLAIN")(t, s, m)
			s.Server, s.Username = "far.example.org", "u"
		}, nil, mail.AuthUnencrypted},
		"no UTF-8 there": {func(t *testing.T, s *mail.Server, m *mail.Message) {
			at("220 mx", "250 mx")(t, s, m)
			m.Recipient = "jürgen@example.com"
		}, nil, mail.RecipientRefused},
		"no sender":                 {func(_ *testing.T, s *mail.Server, _ *mail.Message) { s.Sender = "" }, nil, mail.SenderRefused},
		"recipient that is none":    {func(_ *testing.T, _ *mail.Server, m *mail.Message) { m.Recipient = "x" }, nil, mail.RecipientRefused},
		"server that is none":       {func(_ *testing.T, s *mail.Server, _ *mail.Message) { s.Server = "http://x" }, nil, mail.NoDNS},
		"ca_file that is not there": {func(_ *testing.T, s *mail.Server, _ *mail.Message) { s.TLS, s.CAFile = true, "gone.pem" }, nil, mail.CertificateUntrusted},
		"time over at the dot": {func(t *testing.T, s *mail.Server, m *mail.Message) {
			at("220 mx", "250 mx", "250 ok", "250 ok", "354 go on", "250 ok")(t, s, m)
			m.MayWrite = func() error { return errors.New("the message's time is over") }
		}, nil, mail.TooLate},
		"refused by the journal": {func(t *testing.T, s *mail.Server, m *mail.Message) {
			at("220 mx", "250 mx")(t, s, m)
			m.Journal = no{errors.New("x")}
		}, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, m := mail.Server{Identifier: "s", Server: "127.0.0.1", Port: 25, Sender: "pi@example.com", Timeout: 5 * time.Second, TLSVerify: true}, message()
			if c.change != nil {
				c.change(t, &server, &m)
			}
			o := mail.SenderOptions{
				Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
					return new(net.Dialer).DialContext(ctx, network, net.JoinHostPort("127.0.0.1", port(server.Port)))
				},
				Refused:  func(err error) bool { return errors.Is(err, forbidden) },
				ReadFile: func(string) ([]byte, error) { return nil, os.ErrNotExist },
				Lookup: func(ctx context.Context, host string) ([]netip.Addr, error) {
					if host == "far.example.org" {
						return []netip.Addr{netip.MustParseAddr("192.0.2.1")}, nil
					}
					return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
				},
			}
			if c.dial != nil {
				o.Dial = c.dial
			}
			r := mail.NewSender(o).Send(t.Context(), server, m)
			if r.Diagnosis != c.want {
				t.Errorf("%q at %s: %s, want %s", r.Text, r.Phase, r.Diagnosis, c.want)
			}
			if n := len(r.Phases); r.Phase != "" && c.want != "" && (n == 0 || r.Phases[n-1].Phase != r.Phase || r.Phases[n-1].Text == "") {
				t.Errorf("ended at %s, phases %+v", r.Phase, r.Phases)
			}
		})
	}
}

func port(n int) string { return strconv.Itoa(n) }

// The page for administrators has each sentence as the program says it.
func TestDocumentedDiagnosesAreTheProgramsOwn(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("../../docs/test-mail.md")
	if err != nil {
		t.Fatal(err)
	}
	var want, got []string
	seen := map[string]bool{}
	for _, a := range mail.Advices() {
		want = append(want, "| `"+string(a.Diagnosis)+"` | "+a.Diagnosis.Sentence("at HOST:PORT")+" |")
		if seen[a.Sentence] || seen[string(a.Diagnosis)] || !strings.HasSuffix(a.Sentence, ".") && !strings.HasSuffix(a.Sentence, "?") {
			t.Errorf("%s: %s", a.Diagnosis, a.Sentence)
		}
		seen[a.Sentence], seen[string(a.Diagnosis)] = true, true
	}
	_, table, _ := strings.Cut(string(raw), "\n## What to do\n")
	for line := range strings.Lines(table) {
		if strings.HasPrefix(line, "| `") {
			got = append(got, strings.TrimRight(line, "\n"))
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("docs/test-mail.md:\n%s", diff)
	}
}

func TestSentenceNamesTheServer(t *testing.T) {
	t.Parallel()
	if got := (mail.Server{Identifier: "s", Server: "smtps://mx.example.org"}).Sentence(mail.Refused); !strings.Contains(got, "at mx.example.org:465 refused") {
		t.Error(got)
	}
	if got := (mail.Server{Identifier: "s", Server: "http://x"}).Sentence(mail.NoDNS); !strings.Contains(got, `"s"`) {
		t.Error(got)
	}
	for _, d := range []mail.Diagnosis{"", "nothing we know"} {
		if got := d.Sentence("x"); got != "" {
			t.Errorf("%q: %s", d, got)
		}
	}
}
