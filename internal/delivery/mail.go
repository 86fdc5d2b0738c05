package delivery

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"otpost/internal/mail"
	"otpost/internal/secret"
	"otpost/internal/store"
)

// Mail is the name of the channel that sends mail. A route of it is an SMTP server.
const Mail = "mail"

// Servers gives the definition of a mail server by its identifier, an error that wraps store.ErrNotFound when there
// is none, and one that wraps secret.ErrSealed beside the definition when a secret of it does not open.
type Servers interface {
	Server(ctx context.Context, identifier string) (mail.Server, error)
	// Routes returns the route of every mail server by its identifier. It opens no secret.
	Routes(r store.Reader) (map[string]mail.Route, error)
}

// Sender hands a message to a mail server and says what happened.
type Sender interface {
	Send(ctx context.Context, server mail.Server, m mail.Message) mail.Result
}

// mailChannel implements Channel.
type mailChannel struct {
	servers Servers
	sender  Sender
}

// NewMail returns the channel that sends mail.
func NewMail(servers Servers, sender Sender) Channel { return &mailChannel{servers, sender} }

// Routes implements Channel.
func (c *mailChannel) Routes(r store.Reader) (map[string]Route, error) {
	servers, err := c.servers.Routes(r)
	if err != nil {
		return nil, err
	}
	routes := make(map[string]Route, len(servers))
	for identifier, route := range servers {
		routes[identifier] = mailRoute(route)
	}
	return routes, nil
}

func mailRoute(r mail.Route) Route {
	return Route{Queue: r.EnqueueJob, Domain: r.SenderDomain, Damage: r.Damage}
}

// Address implements Channel.
func (*mailChannel) Address(recipient string) (whole, masked string, err error) {
	address, err := mail.ParseAddress(recipient)
	return address.String(), address.Masked(), err
}

// Send implements Channel.
func (c *mailChannel) Send(ctx context.Context, m Outgoing, g *Gate) (Result, error) {
	server, err := c.server(ctx, m)
	if err != nil {
		return Result{}, &RouteError{err}
	}
	j := &journal{gate: g, wait: server.Timeout}
	r := c.sender.Send(ctx, server, mail.Message{
		ID:        m.ID,
		MessageID: m.MessageID,
		Recipient: m.Recipient,
		Subject:   m.Subject,
		Body:      m.Body,
		MIMEType:  m.MIMEType,
		Date:      m.Created,
		NotAfter:  m.NotAfter,
		ReplyBy:   func() time.Time { return j.replyBy },
		Journal:   j,
		MayWrite:  g.MayWrite,
		Secrets:   []string{m.Code},
	})
	if r.Class == mail.Unwanted {
		return Result{}, r.Err
	}
	return Result{
		Class:     mailClass(r.Class),
		Phase:     string(r.Phase),
		Code:      r.Code,
		Enhanced:  r.Enhanced,
		Text:      r.Text,
		Phases:    mailPhases(r.Phases),
		Diagnosis: Diagnosis(r.Diagnosis),
	}, nil
}

// server returns the definition of a message's mail server: its own one (a test mail) or the configured one.
func (c *mailChannel) server(ctx context.Context, m Outgoing) (mail.Server, error) {
	if m.Definition == nil {
		return c.servers.Server(ctx, m.Route)
	}
	var own sealedServer
	if err := json.Unmarshal(m.Definition, &own); err != nil {
		return mail.Server{}, fmt.Errorf("decode the mail server of a test mail: %w", err)
	}
	server := own.Server
	server.Password = secret.Text(own.Password)
	server.PrivateKeyPassword = secret.Text(own.PrivateKeyPassword)
	return server, nil
}

// sealedServer is a mail server whose passwords survive JSON: it is only ever written inside a sealed record.
type sealedServer struct {
	mail.Server
	Password           string `json:"sealed_password"`
	PrivateKeyPassword string `json:"sealed_private_key_password"`
}

// ownServer returns the route of a mail server that need not be saved.
func ownServer(server mail.Server) (*OwnRoute, error) {
	definition, err := json.Marshal(sealedServer{server, server.Password.Reveal(), server.PrivateKeyPassword.Reveal()})
	if err != nil {
		return nil, fmt.Errorf("encode the mail server of a test mail: %w", err)
	}
	return &OwnRoute{Route: mailRoute(server.Route()), Definition: definition}, nil
}

// TestMail is Test for a mail server that need not be saved.
func (s *Service) TestMail(ctx context.Context, server mail.Server, recipient, subject, body string) (Record, error) {
	channel, ok := s.Channels[Mail].(*mailChannel)
	if !ok {
		return Record{}, ErrNoRoute
	}
	own, err := ownServer(server)
	if err != nil {
		return Record{}, err
	}
	return s.Test(ctx, Message{
		Route:     channel.testRoute(ctx, server),
		Own:       own,
		Recipient: recipient,
		Subject:   subject,
		Body:      body,
	}, server.Timeout)
}

// testRoute is the route of a test mail: the server's identifier when its saved values are tested, otherwise
// empty, so that what becomes of other values does not count as a result of the saved server.
func (c *mailChannel) testRoute(ctx context.Context, server mail.Server) string {
	saved, err := c.servers.Server(ctx, server.Identifier)
	if err != nil { // there is none, or its password does not open
		return ""
	}
	// These fields decide nothing at the mail server.
	saved.Description, saved.Timeout, saved.EnqueueJob = server.Description, server.Timeout, server.EnqueueJob
	if saved != server {
		return ""
	}
	return server.Identifier
}

// journal asks the gate as SMTP needs it: before MAIL, and before the dot.
type journal struct {
	gate    *Gate
	wait    time.Duration
	replyBy time.Time // of the committed dot
}

// BeforeWrite implements smtp.Journal.
func (j *journal) BeforeWrite(ctx context.Context, w mail.Write) (err error) {
	if !w.Dot {
		return j.gate.Wanted(ctx)
	}
	j.replyBy, err = j.gate.Commit(ctx, j.wait)
	return err
}

// mailClass returns what a class of mail means for a delivery.
func mailClass(c mail.Class) Class {
	switch c {
	case mail.Accepted:
		return ClassAccepted
	case mail.Temporary:
		return ClassTemporary
	case mail.Permanent:
		return ClassPermanent
	case mail.Late:
		return ClassLate
	case mail.Unreachable:
		return ClassUnreachable
	}
	return ClassUnknown
}

// mailPhases returns the phases of an SMTP session; nil for none.
func mailPhases(all []mail.Phase) []Phase {
	var phases []Phase
	for _, p := range all {
		phase := Phase{Phase: string(p.Phase), MS: p.MS, Code: p.Code, Enhanced: p.Enhanced, Text: p.Text}
		if p.TLS != nil {
			phase.TLS = &Handshake{Version: p.TLS.Version, Cipher: p.TLS.Cipher}
			for _, c := range p.TLS.Chain {
				phase.TLS.Chain = append(phase.TLS.Chain, Certificate(c))
			}
		}
		phases = append(phases, phase)
	}
	return phases
}

// Sentence returns what is wrong and what to do; empty for no or an unknown diagnosis. server is how the mail
// server is called, such as "at mail.example.org:25"; reply is its reply, as mail.Words has it.
func (d Diagnosis) Sentence(server, reply string) string {
	return mail.Diagnosis(d).Sentence(server, reply)
}

var _ Channel = (*mailChannel)(nil)
