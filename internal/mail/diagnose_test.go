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

// hangUp closes the connection instead of a reply.
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

// fieldReply is a line of testdata/replies.txt.
type fieldReply struct {
	want          mail.Diagnosis
	phase, source string
	wire          string // without the last line end
}

func fieldReplies(t *testing.T) []fieldReply {
	t.Helper()
	raw, err := os.ReadFile("testdata/replies.txt")
	if err != nil {
		t.Fatal(err)
	}
	var all []fieldReply
	for line := range strings.Lines(string(raw)) {
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		part := strings.SplitN(line, " | ", 4)
		if len(part) != 4 {
			t.Fatalf("%q has %d parts", line, len(part))
		}
		texts := strings.Split(part[3], `\n`)
		for i := range texts {
			code, text := part[3][:3], strings.TrimLeft(strings.TrimPrefix(texts[i], part[3][:3]), " -")
			texts[i] = code + "-" + text
			if i == len(texts)-1 {
				texts[i] = code + " " + text
			}
		}
		all = append(all, fieldReply{mail.Diagnosis(part[0]), part[1], part[2], strings.Join(texts, "\r\n")})
	}
	return all
}

// Each reply comes to the command where its server says it. No cause is better than a wrong one.
func TestRepliesFromTheFieldAreDiagnosed(t *testing.T) {
	t.Parallel()
	all := fieldReplies(t)
	if len(all) < 60 {
		t.Fatalf("%d replies, want 60", len(all))
	}
	at := map[string]int{"greeting": 0, "ehlo": 1, "tls": 2, "auth": 2, "mail": 3, "rcpt": 4, "data": 5, "reply": 6}
	for _, c := range all {
		t.Run(c.phase+" "+c.wire[:min(len(c.wire), 60)], func(t *testing.T) {
			t.Parallel()
			n, known := at[c.phase]
			if !known {
				t.Fatalf("there is no phase %q", c.phase)
			}
			replies := append([]string{"220 mx", "250-mx\r\n250-STARTTLS\r\n250 AUTH PLAIN", "235 ok", "250 ok",
				"250 ok",
				"354 go on"}[:n:n], c.wire)
			if c.phase == "ehlo" {
				replies = append(replies, c.wire) // to HELO
			}
			server := mail.Server{
				Identifier: "s",
				Server:     "127.0.0.1",
				Port:       said(t, replies...),
				Sender:     "pi@example.com",
				Timeout:    5 * time.Second,
				Username:   "mailuser",
				Password:   "hunter22",
				TLS:        c.phase == "tls",
			}
			r := newSender(mail.SenderOptions{}).Send(t.Context(), server, message())
			if r.Diagnosis != c.want || string(r.Phase) != c.phase {
				t.Errorf("%s: %s at %s, want %s", c.source, r.Diagnosis, r.Phase, c.want)
			}
		})
	}
}

// A row of the table that fits no reply of the file is a guess.
func TestEachDiagnosisOfAReplyHasAReply(t *testing.T) {
	t.Parallel()
	seen := map[mail.Diagnosis]bool{}
	for _, c := range fieldReplies(t) {
		seen[c.want] = true
	}
	for _, row := range mail.ReplyDiagnoses() {
		if !seen[row] {
			t.Errorf("testdata/replies.txt has no reply for %s", row)
		}
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
		"name without address": {func(_ *testing.T, s *mail.Server, _ *mail.Message) {
			s.Server = "no-such-host.invalid"
		}, nil, mail.NoDNS},
		"address never dialled": {nil, func(context.Context, string, string) (net.Conn, error) {
			return nil, &net.OpError{Op: "dial", Err: forbidden}
		},
			mail.ForbiddenAddress},
		"dropped by a firewall": {func(_ *testing.T, s *mail.Server, _ *mail.Message) {
			s.Timeout = 50 * time.Millisecond
		}, never, mail.Timeout},
		"no connection to port 465": {func(_ *testing.T, s *mail.Server, _ *mail.Message) {
			s.Port, s.Timeout = 465, 50*time.Millisecond
		}, never,
			mail.Timeout},
		"silent listener on port 465": {func(t *testing.T, s *mail.Server, _ *mail.Message) {
			s.Port, s.Timeout = 465, 200*time.Millisecond
		}, silent(t), mail.TLSElsewhere},
		"connected, no greeting": {func(t *testing.T, s *mail.Server, _ *mail.Message) {
			s.Timeout = 200 * time.Millisecond
		}, silent(t), mail.NoGreeting},
		"hung up at once":       {at(), nil, mail.Disconnected},
		"hung up after EHLO":    {at("220 mx", "250 mx"), nil, mail.Disconnected},
		"hung up after the dot": {at("220 mx", "250 mx", "250 ok", "250 ok", "354 go on", hangUp), nil, mail.NoReply},
		"a web server":          {at("HTTP/1.1 400 Bad Request"), nil, mail.NotSMTP},
		"talks out of turn":     {at("220 mx", "250 mx\r\n250 more"), nil, mail.NotSMTP},
		"log-in is not offered": {func(t *testing.T, s *mail.Server, m *mail.Message) {
			at("220 mx", "250 mx")(t, s, m)
			s.Username = "u"
		}, nil, mail.AuthUnavailable},
		"STARTTLS not offered": {func(t *testing.T, s *mail.Server, m *mail.Message) {
			at("220 mx", "250 mx")(t, s, m)
			s.TLS = true
		}, nil, mail.NoSTARTTLS},
		"STARTTLS refused": {func(t *testing.T, s *mail.Server, m *mail.Message) {
			at("220 mx", "250-mx\r\n250 STARTTLS", "454 no")(t, s, m)
			s.TLS = true
		}, nil, mail.STARTTLSRefused},
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
		"no UTF-8 there, for the sender": {func(t *testing.T, s *mail.Server, m *mail.Message) {
			at("220 mx", "250 mx")(t, s, m)
			s.Sender = "jürgen@example.com"
		}, nil, mail.SenderRefused},
		"no sender": {func(_ *testing.T, s *mail.Server, _ *mail.Message) {
			s.Sender = ""
		}, nil, mail.SenderRefused},
		"recipient that is none": {func(_ *testing.T, _ *mail.Server, m *mail.Message) {
			m.Recipient = "x"
		}, nil, mail.RecipientRefused},
		"server that is none": {func(_ *testing.T, s *mail.Server, _ *mail.Message) {
			s.Server = "http://x"
		}, nil, mail.NoDNS},
		"ca_file that is not there": {func(_ *testing.T, s *mail.Server, _ *mail.Message) {
			s.TLS, s.CAFile = true, "gone.pem"
		}, nil, mail.CertificateUntrusted},
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
			server, m := mail.Server{
				Identifier: "s",
				Server:     "127.0.0.1",
				Port:       25,
				Sender:     "pi@example.com",
				Timeout:    5 * time.Second,
				TLSVerify:  true,
			}, message()
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
			for _, text := range []string{"EOF", "i/o timeout", "deadline exceeded", "reset by peer", "broken pipe"} {
				if strings.Contains(r.Text, text) {
					t.Errorf("the text is Go's: %s", r.Text)
				}
			}
			if n := len(r.Phases); r.Phase != "" && c.want != "" &&
				(n == 0 || r.Phases[n-1].Phase != r.Phase || r.Phases[n-1].Text == "") {
				t.Errorf("ended at %s, phases %+v", r.Phase, r.Phases)
			}
		})
	}
}

// silent is a Dial to a listener that takes connections and says nothing.
func silent(t *testing.T) func(context.Context, string, string) (net.Conn, error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, l.Addr().String())
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
		want = append(want, "| `"+string(a.Diagnosis)+"` | "+a.Diagnosis.Sentence("at HOST:PORT", "REPLY")+" |")
		if seen[a.Sentence] || seen[string(a.Diagnosis)] ||
			!strings.HasSuffix(a.Sentence, ".") && !strings.HasSuffix(a.Sentence, "?") {
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
	smtps := mail.Server{Identifier: "s", Server: "smtps://mx.example.org"}
	if got := smtps.Sentence(mail.Refused, ""); !strings.Contains(got, "at mx.example.org:465 refused") {
		t.Error(got)
	}
	onPort := mail.Server{Server: "smtps://127.0.0.1", Port: 34115}
	if got := onPort.Sentence(mail.Refused, ""); !strings.Contains(got, "at 127.0.0.1:34115 refused") {
		t.Error(got)
	}
	if got := (mail.Server{Identifier: "s", Server: "http://x"}).Sentence(mail.NoDNS, ""); !strings.Contains(got,
		`"s"`) {
		t.Error(got)
	}
	for _, d := range []mail.Diagnosis{"", "nothing we know"} {
		if got := d.Sentence("x", "y"); got != "" {
			t.Errorf("%q: %s", d, got)
		}
	}
}
