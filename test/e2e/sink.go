package e2e

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"mime/quotedprintable"
	"net"
	netmail "net/mail"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// Mail is a message that a Sink accepted.
type Mail struct {
	From, To  string
	Raw       []byte // headers and body as they came
	MessageID string
	Subject   string
	Body      string // decoded
	At        time.Time
	TLS       bool // it came over TLS
}

var digits = regexp.MustCompile(`\b[0-9]{4,10}\b`)

// Code returns the one-time code in the body; empty: none.
func (m Mail) Code() string { return digits.FindString(m.Body) }

// Stage is a point of an SMTP transaction at which a Sink calls its hook.
type Stage int

// The stages, in their order.
const (
	AtRcpt Stage = iota // RCPT TO has come, no reply yet
	AtData              // DATA was answered with 354, nothing of the message was read
	AtDot               // the message was read and is kept, no reply yet
)

// Hook is called at each stage of each message. While it blocks, the server stalls. Its error is
// the reply; Refuse makes one.
type Hook func(Stage, Mail) error

// Refuse returns an error that is a reply of an SMTP server.
func Refuse(code int, text string) error {
	return &smtp.SMTPError{Code: code, EnhancedCode: smtp.EnhancedCode{code / 100, 7, 1}, Message: text}
}

// SinkOptions are the requirements of a Sink.
type SinkOptions struct {
	Username, Password string      // empty: no AUTH
	TLS                *tls.Config // offered by STARTTLS; nil: no TLS
}

// Sink is an SMTP server on 127.0.0.1 that keeps its mails. It is safe for concurrent use.
type Sink struct {
	Port int

	options SinkOptions
	server  *smtp.Server
	closed  chan struct{}

	mu      sync.Mutex
	hook    Hook
	mails   []Mail
	arrived map[string]time.Time // by recipient: the first copy
	authed  int
}

// NewSink starts a server that lives until the end of the test.
func NewSink(t testing.TB, o SinkOptions) *Sink {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &Sink{Port: l.Addr().(*net.TCPAddr).Port, options: o, closed: make(chan struct{}),
		arrived: map[string]time.Time{}}
	s.server = smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) {
		_, secure := c.TLSConnectionState()
		if o.Username != "" {
			return &authSession{session{sink: s, secure: secure}}, nil
		}
		return &session{sink: s, secure: secure}, nil
	}))
	s.server.Domain, s.server.AllowInsecureAuth = "sink.example.org", true
	s.server.ErrorLog, s.server.TLSConfig = discard{}, o.TLS
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.server.Serve(l) //nolint:errcheck // it ends when it is closed
	}()
	t.Cleanup(func() {
		s.Close()
		<-ended
	})
	return s
}

// Close ends the server: its port refuses connections from then on.
func (s *Sink) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.closed:
	default:
		close(s.closed)
		s.server.Close() //nolint:errcheck // it serves no more
	}
}

// Use sets the hook; nil accepts everything at once.
func (s *Sink) Use(h Hook) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hook = h
}

func (s *Sink) ask(stage Stage, m Mail) error {
	s.mu.Lock()
	h := s.hook
	s.mu.Unlock()
	if h == nil {
		return nil
	}
	return h(stage, m)
}

func (s *Sink) keep(m Mail) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mails = append(s.mails, m)
	if _, ok := s.arrived[m.To]; !ok {
		s.arrived[m.To] = m.At
	}
}

// Mails returns the mails for a recipient; "": all mails.
func (s *Sink) Mails(to string) []Mail {
	s.mu.Lock()
	defer s.mu.Unlock()
	if to == "" {
		return slices.Clone(s.mails)
	}
	var found []Mail
	for _, m := range s.mails {
		if m.To == to {
			found = append(found, m)
		}
	}
	return found
}

// Count returns how many mails have come.
func (s *Sink) Count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.mails)
}

// Arrived returns when the first copy for a recipient came.
func (s *Sink) Arrived(to string) (at time.Time, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, ok = s.arrived[to]
	return at, ok
}

// LogIns returns the number of successful authentications.
func (s *Sink) LogIns() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.authed
}

// Mail waits for a recipient's n-th mail, from 1, and returns it.
func (s *Sink) Mail(t testing.TB, to string, n int) Mail {
	t.Helper()
	var got []Mail
	Eventually(t, fmt.Sprintf("mail %d for %s", n, to), func() bool {
		got = s.Mails(to)
		return len(got) >= n
	})
	return got[n-1]
}

// Gate is a hook that blocks at its stage until it is opened.
type Gate struct {
	Reached chan Mail // gets one value for each message that waits

	stage Stage
	open  chan struct{}
	once  sync.Once
	sink  *Sink
}

// Hold makes the server stall at a stage until the gate is opened; the test's end opens it.
func (s *Sink) Hold(t testing.TB, stage Stage) *Gate {
	g := &Gate{Reached: make(chan Mail, 1024), stage: stage, open: make(chan struct{}), sink: s}
	s.Use(func(at Stage, m Mail) error {
		if at != g.stage {
			return nil
		}
		select {
		case g.Reached <- m:
		case <-g.open: // not counted: no test reads the channel now, and a full one would block for ever
			return nil
		}
		select {
		case <-g.open:
		case <-s.closed:
		}
		return nil
	})
	t.Cleanup(g.Open)
	return g
}

// Wait waits until a message has reached the gate.
func (g *Gate) Wait(t testing.TB) Mail {
	t.Helper()
	select {
	case m := <-g.Reached:
		return m
	case <-time.After(Patience):
		t.Fatalf("no message came to the gate within %s", Patience)
		return Mail{}
	}
}

// Open lets all messages pass from now on.
func (g *Gate) Open() { g.once.Do(func() { close(g.open) }) }

// session is one connection.
type session struct {
	sink     *Sink
	from, to string
	secure   bool // over TLS
}

// Reset implements smtp.Session.
func (s *session) Reset() { s.from, s.to = "", "" }

// Logout implements smtp.Session.
func (s *session) Logout() error { return nil }

// Mail implements smtp.Session.
func (s *session) Mail(from string, _ *smtp.MailOptions) error {
	s.from = from
	return nil
}

// Rcpt implements smtp.Session.
func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.to = to
	return s.sink.ask(AtRcpt, Mail{From: s.from, To: to})
}

// Data implements smtp.Session.
func (s *session) Data(r io.Reader) error {
	if err := s.sink.ask(AtData, Mail{From: s.from, To: s.to}); err != nil {
		return err
	}
	raw, err := io.ReadAll(r)
	if err != nil {
		return err // cut before the dot, without a mail
	}
	m, err := ParseMail(raw)
	if err != nil {
		return Refuse(554, "no mail: "+err.Error())
	}
	m.From, m.To, m.At, m.TLS = s.from, s.to, time.Now(), s.secure
	s.sink.keep(m)
	return s.sink.ask(AtDot, m)
}

// ParseMail reads a message: its headers and its decoded body.
func ParseMail(raw []byte) (Mail, error) {
	message, err := netmail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		return Mail{}, err
	}
	body := message.Body
	switch strings.ToLower(message.Header.Get("Content-Transfer-Encoding")) {
	case "base64":
		body = base64.NewDecoder(base64.StdEncoding, body)
	case "quoted-printable":
		body = quotedprintable.NewReader(body)
	}
	text, err := io.ReadAll(body)
	return Mail{Raw: raw, MessageID: message.Header.Get("Message-Id"), Subject: message.Header.Get("Subject"),
		Body: string(text)}, err
}

// authSession is a connection of a server that asks for a password.
type authSession struct{ session }

// AuthMechanisms implements smtp.AuthSession.
func (s *authSession) AuthMechanisms() []string { return []string{sasl.Plain} }

// Auth implements smtp.AuthSession.
func (s *authSession) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, username, password string) error {
		if username != s.sink.options.Username || password != s.sink.options.Password {
			return Refuse(535, "wrong password "+password) // some servers repeat it
		}
		s.sink.mu.Lock()
		defer s.sink.mu.Unlock()
		s.sink.authed++
		return nil
	}), nil
}

// discard is a log without output: the tests break connections on purpose.
type discard struct{}

// Printf implements smtp.Logger.
func (discard) Printf(string, ...any) {}

// Println implements smtp.Logger.
func (discard) Println(...any) {}
