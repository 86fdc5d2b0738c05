package inbox

import (
	"bytes"
	"crypto/subtle"
	"encoding/base64"
	"io"
	"mime"
	"net/mail"
	"strings"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// session is one connection. Its methods implement smtp.AuthSession.
type session struct {
	inbox *Inbox
	conn  *smtp.Conn
	user  string
	from  string
	to    []string
}

func (i *Inbox) session(c *smtp.Conn) (smtp.Session, error) {
	return &session{inbox: i, conn: c}, nil
}

// AuthMechanisms implements smtp.AuthSession.
func (s *session) AuthMechanisms() []string {
	if s.inbox.options.Username == "" {
		return nil
	}
	return []string{sasl.Plain, sasl.Login}
}

// Auth implements smtp.AuthSession.
func (s *session) Auth(mechanism string) (sasl.Server, error) {
	switch mechanism {
	case sasl.Plain:
		return sasl.NewPlainServer(func(_, username, password string) error { return s.check(username, password) }), nil
	case sasl.Login:
		return &loginServer{check: s.check}, nil
	}
	return nil, smtp.ErrAuthUnknownMechanism
}

func (s *session) check(username, password string) error {
	o := s.inbox.options
	if err := s.refused(AtAuth, username); err != nil {
		return err
	}
	if username != o.Username || subtle.ConstantTimeCompare([]byte(password), []byte(o.Password)) != 1 {
		return smtp.ErrAuthFailed
	}
	s.user = username
	return nil
}

// loginServer is the server's side of AUTH LOGIN: it asks for the name, then for the password.
type loginServer struct {
	check    func(username, password string) error
	asked    int
	username string
}

// Next implements sasl.Server. An initial response is the user name.
func (l *loginServer) Next(response []byte) (challenge []byte, done bool, err error) {
	switch {
	case l.asked == 0 && response == nil:
		l.asked = 1
		return []byte("Username:"), false, nil
	case l.asked < 2:
		l.username, l.asked = string(response), 2
		return []byte("Password:"), false, nil
	}
	return nil, true, l.check(l.username, string(response))
}

// Mail implements smtp.Session.
func (s *session) Mail(from string, _ *smtp.MailOptions) error {
	if s.inbox.options.Username != "" && s.user == "" {
		return &smtp.SMTPError{Code: 530, EnhancedCode: smtp.EnhancedCode{5, 7, 0}, Message: "Authentication required"}
	}
	s.from = from
	return nil
}

// Rcpt implements smtp.Session.
func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	if err := s.refused(AtRcpt, to); err != nil {
		return err
	}
	s.to = append(s.to, to)
	return nil
}

// Data implements smtp.Session: it keeps the message, waits for Options.Delay and answers as
// Options.Refuse and Drop say.
func (s *session) Data(r io.Reader) error {
	raw, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	o := s.inbox.options
	if o.Delay > 0 {
		wait := time.NewTimer(o.Delay)
		defer wait.Stop()
		select {
		case <-wait.C:
		case <-s.inbox.closing:
			return s.conn.Conn().Close()
		}
	}
	if err := s.refused(AtDot, s.to[0]); err != nil {
		return err
	}
	_, secured := s.conn.TLSConnectionState()
	s.inbox.keep(Message{
		From:     s.from,
		To:       s.to,
		Raw:      raw,
		At:       time.Now(),
		EHLO:     s.conn.Hostname(),
		TLS:      secured,
		Username: s.user,
	})
	if o.Drop != nil && o.Drop(s.to[0]) {
		return s.conn.Conn().Close()
	}
	return nil
}

// Reset implements smtp.Session.
func (s *session) Reset() { s.from, s.to = "", nil }

// Logout implements smtp.Session.
func (s *session) Logout() error { return nil }

func (s *session) refused(at Step, who string) error {
	if s.inbox.options.Refuse == nil {
		return nil
	}
	r := s.inbox.options.Refuse(at, who)
	if r == nil {
		return nil
	}
	enhanced := smtp.EnhancedCode(r.Enhanced)
	if enhanced == (smtp.EnhancedCode{}) {
		enhanced = smtp.NoEnhancedCode
	}
	return &smtp.SMTPError{Code: r.Code, EnhancedCode: enhanced, Message: r.Text}
}

// Header returns a field of the message's header, decoded (RFC 2047); empty when the field is
// missing.
func (m Message) Header(name string) string {
	parsed, err := mail.ReadMessage(bytes.NewReader(m.Raw))
	if err != nil {
		return ""
	}
	value := parsed.Header.Get(name)
	if decoded, err := new(mime.WordDecoder).DecodeHeader(value); err == nil {
		return decoded
	}
	return value
}

// Text returns the body of a message with one part, decoded; empty when it cannot be read.
func (m Message) Text() string {
	parsed, err := mail.ReadMessage(bytes.NewReader(m.Raw))
	if err != nil {
		return ""
	}
	body := parsed.Body
	if strings.EqualFold(parsed.Header.Get("Content-Transfer-Encoding"), "base64") {
		body = base64.NewDecoder(base64.StdEncoding, body)
	}
	text, err := io.ReadAll(body)
	if err != nil {
		return ""
	}
	return string(text)
}

var (
	_ smtp.AuthSession = (*session)(nil)
	_ sasl.Server      = (*loginServer)(nil)
)
