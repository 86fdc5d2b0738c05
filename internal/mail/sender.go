package mail

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"time"

	"otpost/internal/smtp"
)

// SenderOptions are the options of a Sender. Dial is required.
type SenderOptions struct {
	Dial   func(ctx context.Context, network, address string) (net.Conn, error)
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error) // net.DefaultResolver
	// opens CAFile, Certificate and PrivateKey of a server; nil: servers with files are refused
	ReadFile func(name string) ([]byte, error)
	EHLOName func(ctx context.Context) string // of servers that name none; this host's full name, else ""
	Log      *slog.Logger                     // gets a warning for each unsigned mail; nil: none
	Refused  func(error) bool                 // reports whether an error of Dial means a refused address; nil: never
}

// Sender sends messages to mail servers. It is safe for concurrent use.
type Sender struct {
	options SenderOptions
	signers *signers
	memory  *smtp.Memory
}

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
	if o.Refused == nil {
		o.Refused = func(error) bool { return false }
	}
	if o.EHLOName == nil {
		o.EHLOName = newHostName(fullName)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Sender{options: o, signers: newSigners(o.ReadFile), memory: &smtp.Memory{}}
}

// Send sends m to the server by a connection of its own and returns the result. It blocks at most
// for the server's time-out in each phase, at most until m.NotAfter before the dot, and until
// m.ReplyBy for the reply to the dot. The end of ctx closes the connection at once.
func (s *Sender) Send(ctx context.Context, server Server, m Message) Result {
	p, err := s.prepare(server, m)
	if err != nil {
		return unprepared(err)
	}
	o := p.options
	if o.EHLOName == "" {
		o.EHLOName = s.options.EHLOName(ctx)
	}
	var outcome smtp.Outcome
	var phases []smtp.PhaseTime
	for range mostSessions {
		var story []smtp.PhaseTime
		outcome, story = deliver(ctx, o, p.message)
		if phases = append(phases, story...); !outcome.Again {
			break
		}
	}
	r := s.result(outcome, phases, server, m)
	if errors.Is(outcome.Err, smtp.ErrUTF8) {
		r.Text = fmt.Sprintf("the %s's address has letters beyond ASCII before the @: %s", p.beyond.whose, r.Text)
		r.Diagnosis = p.beyond.is
	}
	if p.unsigned != nil && r.Class == Accepted {
		s.options.Log.Warn("mail sent unsigned", "route", server.Identifier, "err", p.unsigned)
		r.Text, r.Diagnosis = smtp.Scrub("sent unsigned: S/MIME: "+p.unsigned.Error()+"; "+r.Text,
			secrets(server, m)...), SMIME
	}
	return r
}

// mostSessions is the maximum of sessions for one try of a message: a further session follows when
// the last one detected a wrong announcement.
const mostSessions = 3

// deliver sends a message by a session of its own.
func deliver(ctx context.Context, o smtp.Options, m smtp.Message) (smtp.Outcome, []smtp.PhaseTime) {
	session, err := smtp.Open(ctx, o)
	if err != nil {
		return unopened(err), session.Phases()
	}
	defer session.Close()
	outcome := session.Send(ctx, m)
	return outcome, session.Phases()
}

// prepared is a message before the first connection.
type prepared struct {
	options  smtp.Options
	message  smtp.Message
	beyond   beyondASCII
	unsigned error // why a message is not signed; nil: it is signed, or needs no signature
}

// beyondASCII names the address that needs SMTPUTF8; the zero value: none.
type beyondASCII struct {
	whose string
	is    Diagnosis // the diagnosis for a server without SMTPUTF8
}

func (h header) beyondASCII() beyondASCII {
	switch {
	case !h.recipient.ASCII():
		return beyondASCII{"recipient", RecipientRefused}
	case !h.sender.ASCII():
		return beyondASCII{"sender", SenderRefused}
	}
	return beyondASCII{}
}

// impossible is a reason why no connection is tried.
type impossible struct {
	class     Class
	phase     smtp.Phase
	diagnosis Diagnosis
	error
}

// unprepared returns the result for a message without a connection.
func unprepared(err error) Result {
	var e *impossible
	if !errors.As(err, &e) {
		return Result{Class: Permanent, Text: err.Error(), Diagnosis: Internal}
	}
	r := Result{Class: e.class, Phase: e.phase, Text: e.Error(), Diagnosis: e.diagnosis}
	if e.phase != "" {
		r.Phases = []Phase{{Phase: e.phase, Text: r.Text}}
	}
	return r
}

// prepare checks what does not need the server, and composes the message.
func (s *Sender) prepare(server Server, m Message) (prepared, error) {
	h, err := headerOf(server, m)
	if err != nil {
		return prepared{}, err
	}
	o, err := s.target(server)
	if err != nil {
		return prepared{}, err
	}
	content, unsigned := s.write(server, h, m)
	if unsigned != nil && server.DontSendOnError {
		return prepared{}, &impossible{Permanent, "", SMIME, fmt.Errorf("not signed, so not sent: S/MIME: %w",
			unsigned)}
	}
	o.NotAfter = m.NotAfter
	beyond := h.beyondASCII()
	return prepared{o, smtp.Message{
		ID:       m.ID,
		From:     h.sender.Wire(),
		To:       h.recipient.Wire(),
		UTF8:     beyond.whose != "",
		Content:  content,
		NotAfter: m.NotAfter,
		ReplyBy:  m.ReplyBy,
		Journal:  m.Journal,
		MayWrite: m.MayWrite,
	}, beyond, unsigned}, nil
}

// write composes the message, signed if the server is set to sign; unsigned says why it is not
// signed.
func (s *Sender) write(server Server, h header, m Message) (content []byte, unsigned error) {
	if !server.SMIME {
		return compose(h, m), nil
	}
	signer, err := s.signers.of(server)
	if err == nil {
		content, err = composeSigned(h, m, signer)
	}
	if err != nil {
		return compose(h, m), err
	}
	return content, nil
}

// headerOf reads the addresses of a message. Its errors are sentences for administrators.
func headerOf(server Server, m Message) (header, error) {
	h := header{subject: m.Subject}
	var err error
	if h.recipient, err = ParseAddress(m.Recipient); err != nil {
		return h, &impossible{Permanent, "", RecipientRefused, fmt.Errorf("recipient: %w", err)}
	}
	if server.Sender == "" {
		return h, &impossible{Permanent, "", SenderRefused, errors.New("the SMTP server has no sender address")}
	}
	if h.senderName, h.sender, err = ParseSender(server.Sender); err != nil {
		return h, &impossible{Permanent, "", SenderRefused, fmt.Errorf("sender: %w", err)}
	}
	return h, nil
}

// target returns the options of a session to the server.
func (s *Sender) target(server Server) (smtp.Options, error) {
	e, err := server.Endpoint()
	if err != nil {
		return smtp.Options{}, &impossible{Permanent, "", NoDNS, err}
	}
	o := smtp.Options{
		Host:     e.Host,
		Port:     e.Port,
		Implicit: e.Implicit,
		STARTTLS: server.TLS,
		TLS: &tls.Config{MinVersion: tls.VersionTLS12,
			InsecureSkipVerify: !server.TLSVerify}, //nolint:gosec // tls_verify = off, set by an administrator per server
		Username: server.Username,
		Password: server.Password.Reveal(),
		EHLOName: server.EHLOName,
		Timeout:  server.Timeout,
		Lookup:   s.options.Lookup,
		Dial:     s.options.Dial,
		Memory:   s.memory,
	}
	if o.Timeout <= 0 {
		o.Timeout = DefaultTimeout // 0 is the default in the recorded system, too
	}
	if server.CAFile != "" && (o.STARTTLS || o.Implicit) {
		o.TLS.RootCAs, err = s.roots(server.CAFile)
	}
	return o, err
}

// roots reads the certificates of a CAFile. A missing file may be back at the next try, so it
// counts as a TLS error.
func (s *Sender) roots(name string) (*x509.CertPool, error) {
	pem, err := s.options.ReadFile(name)
	if err != nil {
		return nil, &impossible{Unreachable, smtp.PhaseTLS, CertificateUntrusted, fmt.Errorf("ca_file: %w", err)}
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, &impossible{Unreachable, smtp.PhaseTLS, CertificateUntrusted,
			errors.New("ca_file: there is no certificate in it (PEM)")}
	}
	return pool, nil
}

// unopened returns the outcome of a session that did not open.
func unopened(err error) smtp.Outcome {
	var e *smtp.Error
	if !errors.As(err, &e) {
		return smtp.Outcome{Err: err}
	}
	return smtp.Outcome{Phase: e.Phase, Reply: e.Reply, Err: e.Err}
}

// secrets returns the strings that are removed from the server's texts.
func secrets(server Server, m Message) []string {
	password := server.Password.Reveal()
	remove := append([]string{m.Recipient, server.Username, password}, m.Secrets...)
	if a, err := ParseAddress(m.Recipient); err == nil {
		remove = append(remove, a.Wire())
	}
	if server.Username != "" {
		remove = append(remove, "\x00"+server.Username+"\x00"+password) // AUTH PLAIN sends this in Base64
	}
	return remove
}

// lasted returns the duration of the phase that ended a session without a reply; 0: unknown.
func lasted(phases []smtp.PhaseTime, o smtp.Outcome) time.Duration {
	for _, p := range slices.Backward(phases) {
		if p.Phase == o.Phase && p.Err != nil {
			return time.Duration(p.MS * float64(time.Millisecond))
		}
	}
	return 0
}

// result returns the end of a session as a Result, without secrets.
func (s *Sender) result(o smtp.Outcome, phases []smtp.PhaseTime, server Server, m Message) Result {
	remove := secrets(server, m)
	r := Result{
		Class:      classify(o),
		Phase:      o.Phase,
		Code:       o.Reply.Code,
		Text:       o.Reply.Text(remove...),
		Enhanced:   smtp.Scrub(o.Reply.Enhanced, m.Secrets...), // 5.482.913 may be a code
		DotWritten: o.DotWritten,
		Diagnosis:  s.diagnose(server, o),
		Phases:     smtp.Reports(phases, remove...),
	}
	if r.Class == Unwanted {
		r.Err = o.Err
		return r
	}
	if r.Code == 0 && o.Err != nil {
		r.Text = smtp.Scrub(smtp.Words(o.Err, lasted(phases, o)), remove...)
	}
	return r
}
