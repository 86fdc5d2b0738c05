package mail_test

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	stdmail "net/mail"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"otpost/internal/inbox"
	"otpost/internal/mail"
	"otpost/internal/secret"
	"otpost/internal/smtp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// yes is a journal that agrees to everything.
type yes struct{}

func (yes) BeforeWrite(context.Context, smtp.Write) error { return nil }

type no struct{ err error }

func (n no) BeforeWrite(context.Context, smtp.Write) error { return n.err }

func newInbox(t *testing.T, o inbox.Options) *inbox.Inbox {
	t.Helper()
	i, err := inbox.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := i.Close(); err != nil {
			t.Error(err)
		}
	})
	return i
}

func newSender(o mail.SenderOptions) *mail.Sender {
	o.Dial = new(net.Dialer).DialContext
	return mail.NewSender(o)
}

func serverAt(i *inbox.Inbox) mail.Server {
	return mail.Server{
		Identifier: "s",
		Server:     "127.0.0.1",
		Port:       i.Port(),
		Sender:     "pi@example.com",
		Timeout:    5 * time.Second,
		TLSVerify:  true,
	}
}

func message() mail.Message {
	return mail.Message{
		ID:        "m1",
		MessageID: "abc@example.com",
		Recipient: "alice@example.com",
		Subject:   "Your OTP",
		Body:      "482913",
		Date:      time.Date(2026, 11, 24, 3, 47, 42, 0, time.UTC),
		NotAfter:  time.Now().Add(time.Minute),
		Journal:   yes{},
		Secrets:   []string{"482913"},
	}
}

// The mails that a real privacyIDEA sent: same fields in the same order, same body; two fields of
// ours are added behind them.
func TestMailsLookLikeTheRecordedOnes(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("testdata/mails.json")
	if err != nil {
		t.Fatal(err)
	}
	var recorded []struct{ Source, From, To, Raw string }
	if err := json.Unmarshal(raw, &recorded); err != nil || len(recorded) == 0 {
		t.Fatalf("%d mails, %v", len(recorded), err)
	}
	in := newInbox(t, inbox.Options{})
	for n, r := range recorded {
		want := inbox.Message{Raw: []byte(r.Raw)}
		date, err := stdmail.ParseDate(want.Header("Date"))
		if err != nil {
			t.Fatal(err)
		}
		m := message()
		m.Recipient, m.Subject, m.Body, m.Date = r.To, want.Header("Subject"), want.Text(), date
		if strings.Contains(r.Raw, "text/html") {
			m.MIMEType = "html"
		}
		if result := newSender(mail.SenderOptions{}).Send(t.Context(), serverAt(in), m); result.Class != mail.Accepted {
			t.Fatalf("%s: %+v", r.Source, result)
		}
		got := in.Messages()[n]
		added := "Message-ID: <abc@example.com>\r\nAuto-Submitted: auto-generated\r\n"
		if diff := cmp.Diff(r.Raw, strings.Replace(string(got.Raw), added, "", 1)); diff != "" || got.From != r.From {
			t.Errorf("%s: from %s\n%s", r.Source, got.From, diff)
		}
	}
}

func TestNoValueBeginsALineOfTheHeader(t *testing.T) {
	t.Parallel()
	in := newInbox(t, inbox.Options{})
	sender := newSender(mail.SenderOptions{})
	rapid.Check(t, func(r *rapid.T) {
		evil := rapid.SampledFrom([]string{"\r\nBcc: eve@example.com", "\nBcc: eve@example.com", "\r\n\r\nBcc: eve",
			"\u2028Bcc: eve", "=?utf-8?q?a?=", ""}).Draw(r, "evil")
		m := message()
		m.Subject = rapid.String().Draw(r, "before") + evil + rapid.StringN(0, 2000, -1).Draw(r, "after")
		m.Body = rapid.String().Draw(r, "body") + evil
		server := serverAt(in)
		if result := sender.Send(t.Context(), server, m); result.Class != mail.Accepted {
			r.Fatalf("%+v", result)
		}
		all := in.Messages()
		got := all[len(all)-1]
		parsed, err := stdmail.ReadMessage(strings.NewReader(string(got.Raw)))
		if err != nil {
			r.Fatal(err)
		}
		if len(parsed.Header) != 10 || got.Header("Bcc") != "" || got.Text() != m.Body {
			r.Fatalf("header %v", parsed.Header)
		}
		for line := range strings.SplitSeq(string(got.Raw), "\r\n") {
			if len(line) > 998 || strings.ContainsAny(line, "\r\n") {
				r.Fatalf("line %q", line)
			}
		}
	})
}

func TestSubjectArrivesAsItWas(t *testing.T) {
	t.Parallel()
	in := newInbox(t, inbox.Options{})
	for n, subject := range []string{
		"Your OTP", "Ihr Code für Jürgen", strings.Repeat("A long subject with words ", 20) + "end",
		strings.Repeat("x", 1200),
		"=?utf-8?q?not_encoded?=", "漢字 " + strings.Repeat("漢", 100), " leading and trailing ", "",
	} {
		m := message()
		m.Subject = subject
		if result := newSender(mail.SenderOptions{}).Send(t.Context(), serverAt(in), m); result.Class != mail.Accepted {
			t.Fatalf("%+v", result)
		}
		if got := in.Messages()[n].Header("Subject"); got != subject {
			t.Errorf("%q arrived as %q", subject, got)
		}
	}
}

func TestSenderWithNameIsQuotedOrEncoded(t *testing.T) {
	t.Parallel()
	in := newInbox(t, inbox.Options{})
	for n, name := range []string{"Example IT", `Say "hi", Bob`, "Jürgens IT"} {
		server := serverAt(in)
		quoted := `"` + strings.ReplaceAll(name, `"`, `\"`) + `"`
		server.Sender = quoted + " <pi@example.com>"
		if result := newSender(mail.SenderOptions{}).Send(t.Context(), server,
			message()); result.Class != mail.Accepted {
			t.Fatalf("%+v", result)
		}
		got := in.Messages()[n]
		parsed, err := stdmail.ReadMessage(strings.NewReader(string(got.Raw)))
		if err != nil {
			t.Fatal(err)
		}
		from, err := stdmail.ParseAddress(parsed.Header.Get("From"))
		if err != nil || from.Name != name || from.Address != "pi@example.com" || got.From != "pi@example.com" {
			t.Errorf("%q: %v, %v", name, from, err)
		}
	}
}

func TestEachClass(t *testing.T) {
	t.Parallel()
	refuse := func(at inbox.Step, code int) inbox.Options {
		return inbox.Options{Refuse: func(s inbox.Step, _ string) *inbox.Refusal {
			if s != at {
				return nil
			}
			return &inbox.Refusal{Code: code, Enhanced: [3]int{code / 100, 1, 1},
				Text: "not alice@example.com with 482913"}
		}}
	}
	type want struct {
		Class      mail.Class
		Phase      smtp.Phase
		Code       int
		DotWritten bool
	}
	refused := errors.New("nobody waits")
	for name, c := range map[string]struct {
		inbox  inbox.Options
		change func(*mail.Server, *mail.Message)
		want   want
	}{
		"accepted":       {inbox.Options{}, nil, want{mail.Accepted, smtp.PhaseReply, 250, true}},
		"4xx to RCPT":    {refuse(inbox.AtRcpt, 451), nil, want{mail.Temporary, smtp.PhaseRcpt, 451, false}},
		"5xx to RCPT":    {refuse(inbox.AtRcpt, 550), nil, want{mail.Permanent, smtp.PhaseRcpt, 550, false}},
		"4xx to the dot": {refuse(inbox.AtDot, 452), nil, want{mail.Temporary, smtp.PhaseReply, 452, true}},
		"5xx to the dot": {refuse(inbox.AtDot, 554), nil, want{mail.Permanent, smtp.PhaseReply, 554, true}},
		"dropped at the dot": {inbox.Options{Drop: func(string) bool {
			return true
		}}, nil, want{mail.Unknown, smtp.PhaseReply, 0, true}},
		"slow at the dot": {inbox.Options{Delay: time.Minute}, func(_ *mail.Server, m *mail.Message) {
			m.ReplyBy = func() time.Time { return time.Now().Add(100 * time.Millisecond) }
		}, want{mail.Unknown, smtp.PhaseReply, 0, true}},
		"dead port": {inbox.Options{}, func(s *mail.Server, _ *mail.Message) {
			s.Port = 1 // tcpmux: no free port that another test could be given meanwhile
		}, want{mail.Unreachable, smtp.PhaseConnect, 0, false}},
		"unknown host": {inbox.Options{}, func(s *mail.Server, _ *mail.Message) { s.Server = "no-such-host.invalid" },
			want{mail.Unreachable, smtp.PhaseDNS, 0, false}},
		"no STARTTLS": {inbox.Options{}, func(s *mail.Server, _ *mail.Message) {
			s.TLS = true
		}, want{mail.Unreachable, smtp.PhaseTLS, 0, false}},
		"no AUTH there": {inbox.Options{}, func(s *mail.Server, _ *mail.Message) {
			s.Username = "u"
		}, want{mail.Permanent, smtp.PhaseAuth, 0, false}},
		"wrong password": {inbox.Options{Username: "mailuser", Password: "right"},
			func(s *mail.Server, _ *mail.Message) {
				s.Username, s.Password = "mailuser", "wrong"
			}, want{mail.Permanent, smtp.PhaseAuth, 535, false}},
		"AUTH not given": {inbox.Options{Username: "mailuser", Password: "right"}, nil,
			want{mail.Permanent, smtp.PhaseMail, 530, false}},
		"refused by journal": {inbox.Options{}, func(_ *mail.Server, m *mail.Message) {
			m.Journal = no{refused}
		}, want{mail.Unwanted, smtp.PhaseMail, 0, false}},
		"late after journal": {inbox.Options{}, func(_ *mail.Server, m *mail.Message) {
			m.MayWrite = func() error { return refused }
		}, want{mail.Late, smtp.PhaseData, 0, false}},
		"S/MIME": {inbox.Options{}, func(s *mail.Server, _ *mail.Message) {
			s.SMIME, s.DontSendOnError = true, true
		}, want{mail.Permanent, "", 0, false}},
		"no sender": {inbox.Options{}, func(s *mail.Server, _ *mail.Message) {
			s.Sender = ""
		}, want{mail.Permanent, "", 0, false}},
		"two recipients": {inbox.Options{}, func(_ *mail.Server, m *mail.Message) {
			m.Recipient = "a@example.com,b@example.com"
		}, want{mail.Permanent, "", 0, false}},
		"recipient with break": {inbox.Options{}, func(_ *mail.Server, m *mail.Message) {
			m.Recipient = "a@example.com\r\nRCPT TO:<b@example.com>"
		}, want{mail.Permanent, "", 0, false}},
		"bad server": {inbox.Options{}, func(s *mail.Server, _ *mail.Message) {
			s.Server = "http://x"
		}, want{mail.Permanent, "", 0, false}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := newInbox(t, c.inbox)
			server, m := serverAt(in), message()
			if c.change != nil {
				c.change(&server, &m)
			}
			r := newSender(mail.SenderOptions{}).Send(t.Context(), server, m)
			if diff := cmp.Diff(c.want, want{r.Class, r.Phase, r.Code, r.DotWritten}); diff != "" {
				t.Fatalf("%s%+v", diff, r)
			}
			if (r.Class == mail.Unwanted) != errors.Is(r.Err, refused) || (r.Text == "" && r.Class != mail.Unwanted) {
				t.Errorf("text %q, err %v", r.Text, r.Err)
			}
			if strings.Contains(r.Text, "482913") || strings.Contains(r.Text, "alice") {
				t.Errorf("text %q tells code or recipient", r.Text)
			}
		})
	}
}

func TestPhasesAreMeasured(t *testing.T) {
	t.Parallel()
	cert, pem, err := inbox.NewCertificate("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	in := newInbox(t, inbox.Options{Delay: 50 * time.Millisecond, Certificate: cert, Username: "mailuser",
		Password: "pw"})
	server := serverAt(in)
	server.TLS, server.Username, server.Password, server.CAFile, server.EHLOName = true, "mailuser", secret.Text("pw"),
		"/ca.pem", "here.example.com"
	sender := newSender(mail.SenderOptions{ReadFile: func(name string) ([]byte, error) {
		if name != "/ca.pem" {
			t.Errorf("opened %s", name)
		}
		return pem, nil
	}})
	r := sender.Send(t.Context(), server, message())
	if r.Class != mail.Accepted {
		t.Fatalf("%+v", r)
	}
	var phases []smtp.Phase
	for _, p := range r.Phases {
		phases = append(phases, p.Phase)
	}
	want := []smtp.Phase{
		smtp.PhaseConnect, smtp.PhaseGreeting, smtp.PhaseEHLO, smtp.PhaseTLS, smtp.PhaseEHLO, smtp.PhaseAuth,
		smtp.PhaseMail, smtp.PhaseRcpt, smtp.PhaseData, smtp.PhaseData, smtp.PhaseReply,
	}
	if diff := cmp.Diff(want, phases); diff != "" {
		t.Fatal(diff)
	}
	if last := r.Phases[len(r.Phases)-1]; last.MS < 50 {
		t.Errorf("reply after %v ms, the server takes 50", last.MS)
	}
	if got := in.Messages()[0]; !got.TLS || got.Username != "mailuser" || got.EHLO != "here.example.com" {
		t.Errorf("arrived with %+v", got)
	}
}

func TestTLSIsVerifiedUnlessSwitchedOff(t *testing.T) {
	t.Parallel()
	cert, pem, err := inbox.NewCertificate("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	for _, implicit := range []bool{false, true} {
		in := newInbox(t, inbox.Options{Certificate: cert, Implicit: implicit})
		server := serverAt(in)
		server.TLS = true
		if implicit {
			server.Server = "smtps://" + in.Addr()
		}
		for name, c := range map[string]struct {
			verify bool
			ca     string
			want   mail.Class
		}{
			"unknown authority": {true, "", mail.Unreachable},
			"its ca_file":       {true, "ca.pem", mail.Accepted},
			"no such ca_file":   {true, "missing.pem", mail.Unreachable},
			"not verified":      {false, "", mail.Accepted},
		} {
			server.TLSVerify, server.CAFile = c.verify, c.ca
			r := newSender(mail.SenderOptions{ReadFile: func(name string) ([]byte, error) {
				if name == "ca.pem" {
					return pem, nil
				}
				return nil, os.ErrNotExist
			}}).Send(t.Context(), server, message())
			if r.Class != c.want || (c.want == mail.Unreachable && r.Phase != smtp.PhaseTLS) {
				t.Errorf("implicit %t, %s: %+v", implicit, name, r)
			}
		}
	}
}

func TestTimeoutOfZeroIsTheDefault(t *testing.T) {
	t.Parallel()
	in := newInbox(t, inbox.Options{})
	server := serverAt(in)
	server.Timeout = 0
	if r := newSender(mail.SenderOptions{}).Send(t.Context(), server, message()); r.Class != mail.Accepted {
		t.Fatalf("%+v", r)
	}
}

func TestHostWithoutFullNameSaysItsAddress(t *testing.T) {
	t.Parallel()
	in := newInbox(t, inbox.Options{})
	sender := newSender(mail.SenderOptions{EHLOName: func(context.Context) string { return "" }})
	if r := sender.Send(t.Context(), serverAt(in), message()); r.Class != mail.Accepted {
		t.Fatalf("%+v", r)
	}
	if r := newSender(mail.SenderOptions{}).Send(t.Context(), serverAt(in), message()); r.Class != mail.Accepted {
		t.Fatalf("%+v", r)
	}
	all := in.Messages()
	if all[0].EHLO != "[127.0.0.1]" || strings.Contains(all[1].EHLO, "localhost") {
		t.Fatalf("said %q and %q", all[0].EHLO, all[1].EHLO)
	}
}

func TestAddressBeyondASCIIGoesByMeansOfSMTPUTF8(t *testing.T) {
	t.Parallel()
	in := newInbox(t, inbox.Options{})
	m := message()
	m.Recipient = "jürgen@example.com"
	if r := newSender(mail.SenderOptions{}).Send(t.Context(), serverAt(in), m); r.Class != mail.Accepted {
		t.Fatalf("%+v", r)
	}
	if got := in.Messages()[0]; got.To[0] != m.Recipient || got.Header("To") != m.Recipient {
		t.Fatalf("to %q, header %q", got.To, got.Header("To"))
	}
}

func TestCodeIsNoEnhancedStatus(t *testing.T) {
	t.Parallel()
	in := newInbox(t, inbox.Options{Refuse: func(inbox.Step, string) *inbox.Refusal {
		return &inbox.Refusal{Code: 550, Enhanced: [3]int{5, 482, 913}, Text: "no"}
	}})
	m := message()
	m.Secrets = []string{"482913"}
	if r := newSender(mail.SenderOptions{}).Send(t.Context(), serverAt(in), m); r.Class != mail.Permanent ||
		r.Enhanced != "5.***" {
		t.Fatalf("%+v", r)
	}
}

func TestShortUserNameLeavesTheTextReadable(t *testing.T) {
	t.Parallel()
	server := mail.Server{
		Identifier: "s",
		Server:     "127.0.0.1",
		Port:       1,
		Sender:     "pi@example.com",
		Timeout:    5 * time.Second,
		Username:   "e",
		Password:   "p",
	}
	r := newSender(mail.SenderOptions{}).Send(t.Context(), server, message())
	if !strings.Contains(r.Text, "dial tcp 127.0.0.1:1: connect: connection refused") {
		t.Fatalf("%q", r.Text)
	}
}

// The server takes the connection and says nothing, and its time-out is longer than the life of the message.
func TestNoPhaseBeforeTheDotOutlastsTheMessage(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	server := serverAt(newInbox(t, inbox.Options{}))
	server.Port, server.Timeout = l.Addr().(*net.TCPAddr).Port, time.Minute
	m := message()
	m.NotAfter = time.Now().Add(200 * time.Millisecond)
	r := newSender(mail.SenderOptions{}).Send(t.Context(), server, m)
	if late := time.Since(m.NotAfter); r.Class != mail.Unreachable || r.Phase != smtp.PhaseGreeting || late < 0 ||
		late > 30*time.Second {
		t.Fatalf("%s after the end: %+v", late, r)
	}
}
