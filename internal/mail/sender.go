package mail

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"otpost/internal/smtp"
)

// SenderOptions are what a Sender needs. Dial is required, the others may stay zero.
type SenderOptions struct {
	Dial     func(ctx context.Context, network, address string) (net.Conn, error)
	Lookup   func(ctx context.Context, host string) ([]netip.Addr, error) // net.DefaultResolver
	ReadFile func(name string) ([]byte, error)                            // opens a server's CAFile; nil: such servers are refused
	EHLOName func(ctx context.Context) string                             // of servers that name none; this host's full name, else ""
}

// Sender hands messages to mail servers. It is safe for concurrent use.
type Sender struct{ options SenderOptions }

// NewSender returns a Sender; it does no I/O.
func NewSender(o SenderOptions) *Sender {
	if o.Lookup == nil {
		o.Lookup = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	if o.ReadFile == nil {
		o.ReadFile = func(string) ([]byte, error) { return nil, errors.New("files are not opened here") }
	}
	if o.EHLOName == nil {
		o.EHLOName = newHostName()
	}
	return &Sender{options: o}
}

// Send brings m to the server s by a connection of its own and says what happened. It blocks for at most the server's time-out
// in each phase, and for the reply to the dot until m.ReplyBy. The end of ctx closes the connection at once.
func (s *Sender) Send(ctx context.Context, server Server, m Message) Result {
	o, letter, err := s.prepare(server, m)
	if err != nil {
		var e *impossible
		if errors.As(err, &e) {
			return Result{Class: e.class, Phase: e.phase, Text: e.Error()}
		}
		return Result{Class: Permanent, Text: err.Error()}
	}
	if o.EHLOName == "" {
		o.EHLOName = s.options.EHLOName(ctx)
	}
	session, err := smtp.Open(ctx, o)
	if err != nil {
		return result(unopened(err), session.Phases(), secrets(server, m))
	}
	defer session.Close()
	outcome := session.Send(ctx, letter)
	return result(outcome, session.Phases(), secrets(server, m))
}

// impossible is a reason why no connection is tried.
type impossible struct {
	class Class
	phase smtp.Phase
	error
}

// prepare checks everything that can be known without the server, and composes the message.
func (s *Sender) prepare(server Server, m Message) (smtp.Options, smtp.Letter, error) {
	var none smtp.Letter
	if server.SMIME {
		return smtp.Options{}, none, errors.New("S/MIME signing is not available yet, and a server that is set to sign sends nothing unsigned")
	}
	h, err := letterheadOf(server, m)
	if err != nil {
		return smtp.Options{}, none, err
	}
	o, err := s.target(server)
	if err != nil {
		return smtp.Options{}, none, err
	}
	return o, smtp.Letter{
		ID: m.ID, From: h.sender.String(), To: h.recipient.String(), UTF8: !h.sender.ASCII() || !h.recipient.ASCII() || !h.replyTo.ASCII(),
		Content:  compose(h, m),
		NotAfter: m.NotAfter, ReplyBy: m.ReplyBy, Journal: m.Journal, MayWrite: m.MayWrite,
	}, nil
}

// letterheadOf reads the addresses of a message. Its errors are sentences for administrators.
func letterheadOf(server Server, m Message) (letterhead, error) {
	h := letterhead{subject: m.Subject}
	var err error
	if h.recipient, err = ParseAddress(m.Recipient); err != nil {
		return h, fmt.Errorf("recipient: %w", err)
	}
	if server.Sender == "" {
		return h, errors.New("the SMTP server has no sender address")
	}
	if h.senderName, h.sender, err = ParseSender(server.Sender); err != nil {
		return h, fmt.Errorf("sender: %w", err)
	}
	h.replyTo = h.sender
	if m.ReplyTo != "" {
		if h.replyTo, err = ParseAddress(m.ReplyTo); err != nil {
			return h, fmt.Errorf("reply-to: %w", err)
		}
	}
	return h, nil
}

// target returns how the server is reached.
func (s *Sender) target(server Server) (smtp.Options, error) {
	e, err := server.Endpoint()
	if err != nil {
		return smtp.Options{}, err
	}
	o := smtp.Options{
		Host: e.Host, Port: e.Port, Implicit: e.Implicit, STARTTLS: server.TLS,
		TLS:      &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: !server.TLSVerify}, //nolint:gosec // tls_verify = off, set by an administrator per server
		Username: server.Username, Password: server.Password.Reveal(), EHLOName: server.EHLOName, Timeout: server.Timeout,
		Lookup: s.options.Lookup, Dial: s.options.Dial,
	}
	if o.Timeout <= 0 {
		o.Timeout = DefaultTimeout // 0 is the default in the recorded system too
	}
	if server.CAFile != "" && (o.STARTTLS || o.Implicit) {
		o.TLS.RootCAs, err = s.roots(server.CAFile)
	}
	return o, err
}

// roots reads the certificates of a CAFile. A file that is missing now may be back at the next try: it counts as TLS trouble.
func (s *Sender) roots(name string) (*x509.CertPool, error) {
	pem, err := s.options.ReadFile(name)
	if err != nil {
		return nil, &impossible{Unreachable, smtp.PhaseTLS, fmt.Errorf("ca_file: %w", err)}
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, &impossible{Unreachable, smtp.PhaseTLS, errors.New("ca_file: there is no certificate in it (PEM)")}
	}
	return pool, nil
}

// unopened is the outcome of a session that did not come to its first message.
func unopened(err error) smtp.Outcome {
	var e *smtp.Error
	if !errors.As(err, &e) {
		return smtp.Outcome{Err: err}
	}
	return smtp.Outcome{Phase: e.Phase, Reply: e.Reply, Err: e.Err}
}

// secrets are the strings that no text of the server may carry out of here.
func secrets(server Server, m Message) []string {
	password := server.Password.Reveal()
	remove := append([]string{m.Recipient, server.Username, password}, m.Secrets...)
	if server.Username != "" {
		remove = append(remove, "\x00"+server.Username+"\x00"+password) // what AUTH PLAIN sends in Base64
	}
	return remove
}

// result says in the words of this package how a session ended, without the strings to remove.
func result(o smtp.Outcome, phases []smtp.PhaseTime, remove []string) Result {
	r := Result{
		Class: classify(o), Phase: o.Phase, Code: o.Reply.Code, Enhanced: o.Reply.Enhanced, Text: o.Reply.Text(remove...),
		DotWritten: o.DotWritten, Phases: phases,
	}
	if r.Class == Unwanted {
		r.Err = o.Err
		return r
	}
	if r.Code == 0 && o.Err != nil {
		r.Text = smtp.Scrub(o.Err.Error(), remove...)
	}
	return r
}
