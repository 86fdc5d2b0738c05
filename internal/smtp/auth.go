package smtp

import (
	"crypto/hmac"
	"crypto/md5" //nolint:gosec // CRAM-MD5 (RFC 2195) needs it
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"
)

// mechanism is a way to log in (RFC 4954). respond returns the n-th response of the client to a
// challenge, from 0 on; ok is false when the mechanism has no further response. initial: the first
// response goes with the command, before any challenge.
type mechanism struct {
	name    string
	initial bool
	respond func(n int, challenge string) (answer string, ok bool)
}

// mechanisms returns the client's mechanisms in order of preference. PLAIN and LOGIN ignore the
// challenge, because servers send any text there.
func mechanisms(o Options) []mechanism {
	return []mechanism{
		{"PLAIN", true, func(n int, _ string) (string, bool) {
			// a server that ignores the initial response asks for it
			return "\x00" + o.Username + "\x00" + o.Password, n < 2
		}},
		{"LOGIN", false, func(n int, _ string) (string, bool) {
			return []string{o.Username, o.Password, ""}[min(n, 2)], n < 2
		}},
		{"CRAM-MD5", false, func(n int, challenge string) (string, bool) {
			plain, err := base64.StdEncoding.DecodeString(challenge)
			mac := hmac.New(md5.New, []byte(o.Password))
			mac.Write(plain)
			return o.Username + " " + hex.EncodeToString(mac.Sum(nil)), n == 0 && err == nil
		}},
	}
}

// offered returns the mechanisms that the server announced and the client knows.
func (s *Session) offered(o Options) []mechanism {
	announced := strings.FieldsFunc(strings.ToUpper(s.ext["AUTH"]), func(r rune) bool {
		return r != '-' && r != '_' && notAlphanumeric(r)
	})
	var all []mechanism
	for _, m := range mechanisms(o) {
		for _, name := range announced {
			if name == m.name {
				all = append(all, m)
				break
			}
		}
	}
	return all
}

// authenticate tries the announced mechanisms until one is accepted: servers announce mechanisms
// that they do not have, or that do not know this account. When all are refused, the last refusal
// counts; a temporary refusal counts more than a mechanism that does not exist. A server that locks
// accounts counts wrong passwords, so Memory bounds how often a password is tried (notes.plan).
func (s *Session) authenticate(o Options) error {
	if o.Username == "" {
		return nil
	}
	_, secured := s.c.Conn.(*tls.Conn)
	if !secured && !s.remote.IsLoopback() {
		return s.fail(PhaseAuth, ErrPlaintext)
	}
	offered := s.offered(o)
	if len(offered) == 0 {
		return s.fail(PhaseAuth, ErrNoAuth)
	}
	order, once := s.notes.plan(offered)
	var counts *Error // the refusal that counts
	for i, m := range order {
		r, err := s.sasl(m)
		if err == nil {
			s.notes.worked(m.name)
			s.end(PhaseAuth, r, nil)
			return nil
		}
		var refusal *Error
		if !errors.As(err, &refusal) {
			return s.unanswered(err)
		}
		s.notes.refused(m.name, refusal.Reply.Code)
		if counts == nil || counts.Reply.Code/100 != 4 || !refusesMechanism(refusal.Reply.Code) {
			counts = refusal
		}
		if i == len(order)-1 && refusal.Reply.Code == 503 {
			// Python's smtplib reads 503 as "already authenticated" and goes on: the reply to MAIL
			// shows whether it is true.
			s.noAuth = refusal
			s.end(PhaseAuth, refusal.Reply, nil)
			return nil
		}
		if i == len(order)-1 || refusal.Reply.Code == 421 || once && !refusesMechanism(refusal.Reply.Code) {
			s.end(PhaseAuth, refusal.Reply, nil)
			return &Error{Phase: PhaseAuth, Reply: counts.Reply}
		}
		s.end(PhaseAuth, refusal.Reply, nil)
	}
	return nil // not reached: the last mechanism returns
}

// unanswered ends the phase without a reply. When this connection has refused a mechanism before,
// that refusal is the error: it explains more than the lost connection.
func (s *Session) unanswered(err error) error {
	failure := s.fail(PhaseAuth, err)
	if n := s.refusals(); n > 0 {
		return &Error{Phase: PhaseAuth, Reply: s.phases[len(s.phases)-2].Reply}
	}
	return failure
}

// refusals returns the number of refused mechanisms on this connection.
func (s *Session) refusals() (n int) {
	for _, p := range s.phases {
		if p.Phase == PhaseAuth && p.Reply.Code >= 400 {
			n++
		}
	}
	return n
}

// refusesMechanism reports whether a reply to AUTH refuses the mechanism, not user name and
// password: the command or its parameter is unknown or out of sequence (RFC 5321), the mechanism is
// too weak or needs encryption (RFC 4954).
func refusesMechanism(code int) bool {
	return code >= 500 && code <= 504 || code == 534 || code == 538
}

// sasl runs a mechanism (RFC 4954 section 4) and returns the accepting reply. A refusing reply is
// in an *Error.
func (s *Session) sasl(m mechanism) (Reply, error) {
	line, said := "AUTH "+m.name, 0
	if m.initial {
		answer, _ := m.respond(0, "")
		line += " " + base64.StdEncoding.EncodeToString([]byte(answer))
		said++
	}
	for {
		s.c.arm()
		r, err := s.c.command(line)
		if err != nil {
			return Reply{}, err
		}
		switch r.Code {
		case 235:
			return r, nil
		case 334:
		default:
			return Reply{}, &Error{Phase: PhaseAuth, Reply: r}
		}
		answer, ok := m.respond(said, r.text)
		if !ok {
			return Reply{}, errNoReply // the challenge stays out of the error
		}
		line = base64.StdEncoding.EncodeToString([]byte(answer))
		said++
	}
}
