package delivery

import (
	"context"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"otpost/internal/mail"
	"otpost/internal/queue"
	"otpost/internal/secret"
	"otpost/internal/store"
)

// Options are what a Service needs. DB, Keys, Servers and Sender are required.
type Options struct {
	DB      *store.DB
	Keys    *secret.Keys
	Servers Servers
	Sender  Sender
	Driver  queue.Driver // nil: no queue, everything is sent in the request
	// Fallback is what Dispatch does when a queue outside the database does not take a job; default WaitInOutbox.
	Fallback Fallback
	Log      *slog.Logger // of the server
	Queue    *slog.Logger // of the worker: the queue's log file; nil: Log
	// OnOutcome is called in the transaction that writes a final state, once per delivery: it ends the challenge of an
	// inline message that was not sent. nil: nothing.
	OnOutcome func(tx *store.Tx, o Outcome) error
	Keep      time.Duration       // how long ended deliveries are kept; 0: DefaultKeep, negative: for ever
	Jitter    func(n int64) int64 // a number in [0, n); math/rand/v2's Int64N
}

// Servers gives the definition of a mail server by its identifier, an error that wraps store.ErrNotFound when there
// is none, and one that wraps secret.ErrSealed beside the definition when a secret of it does not open.
type Servers interface {
	Server(ctx context.Context, identifier string) (mail.Server, error)
	// Routes returns the route of every mail server by its identifier. It opens no secret.
	Routes(r store.Reader) (map[string]mail.Route, error)
}

// Routes are all routes at one moment. They change with the settings' generation alone.
type Routes struct{ mail map[string]mail.Route }

// Routes reads all routes. It opens no secret.
func (s *Service) Routes(r store.Reader) (Routes, error) {
	found, err := s.Servers.Routes(r)
	if err != nil {
		return Routes{}, fmt.Errorf("read routes: %w", err)
	}
	return Routes{mail: found}, nil
}

// Service brings messages out. It is safe for concurrent use.
type Service struct {
	Options

	refusals      outage // of jobs by the queue, as requests see them
	interruptions outage // of handlings
	hands         hands
}

// New returns a Service; it does no I/O.
func New(o Options) *Service {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Queue == nil {
		o.Queue = o.Log
	}
	if o.Fallback == "" {
		o.Fallback = WaitInOutbox
	}
	if o.OnOutcome == nil {
		o.OnOutcome = func(*store.Tx, Outcome) error { return nil }
	}
	if o.Keep == 0 {
		o.Keep = DefaultKeep
	}
	if o.Jitter == nil {
		o.Jitter = randomBelow
	}
	return &Service{Options: o}
}

// Prepared is a message that is sealed and has its way, ready for the transaction.
type Prepared struct {
	id        uuid.UUID
	route     string
	sealed    []byte
	recipient string
	serial    string
	realm     string
	via       Via
	notAfter  time.Time
	created   time.Time
	messageID string
}

// content is what is sealed: everything that only the sender needs.
type content struct {
	Recipient string       `json:"recipient"`
	Subject   string       `json:"subject"`
	Body      string       `json:"body"`
	MIMEType  string       `json:"mime_type"`
	Code      string       `json:"code"`
	Server    *sealedRoute `json:"server,omitempty"` // of a test mail
}

// sealedRoute is a mail server whose password survives JSON: it is only ever written inside a sealed record.
type sealedRoute struct {
	mail.Server
	Password           string `json:"sealed_password"`
	PrivateKeyPassword string `json:"sealed_private_key_password"`
}

// Prepare seals m under id and decides whether a worker or the request sends it: a worker when there is a queue and the route
// is set to use it. It returns ErrNoRoute when routes has no such route or its row is damaged, and the error of an
// impossible recipient. It is called before the transaction, because it encrypts; it reads nothing.
func (s *Service) Prepare(id uuid.UUID, m Message, routes Routes) (Prepared, error) {
	route, err := routes.of(m)
	if err != nil {
		return Prepared{}, err
	}
	address, err := mail.ParseAddress(m.Recipient)
	if err != nil {
		return Prepared{}, fmt.Errorf("recipient: %w", err)
	}
	p := Prepared{id: id, route: m.Route, serial: m.Serial, realm: m.Realm, via: ViaInline, notAfter: m.NotAfter, created: s.DB.Now(),
		recipient: address.Masked()}
	if s.Driver != nil && route.EnqueueJob {
		p.via = ViaQueue
	}
	p.messageID = s.messageID(id, route)
	plain := content{Recipient: address.String(), Subject: m.Subject, Body: m.Body, MIMEType: m.MIMEType, Code: m.Code}
	if m.Server != nil {
		plain.Server = &sealedRoute{Server: *m.Server, Password: m.Server.Password.Reveal(), PrivateKeyPassword: m.Server.PrivateKeyPassword.Reveal()}
	}
	encoded, err := json.Marshal(plain)
	if err != nil {
		return Prepared{}, fmt.Errorf("encode message: %w", err)
	}
	p.sealed = s.Keys.Seal(secret.Delivery, place(row{id: id, channel: "mail", serial: p.serial, route: p.route, notAfter: p.notAfter}), encoded)
	return p, nil
}

// of returns the route of a message: that of its own server (test mail) or the configured one.
func (r Routes) of(m Message) (mail.Route, error) {
	if m.Server != nil {
		return m.Server.Route(), nil
	}
	route, ok := r.mail[m.Route]
	switch {
	case !ok:
		return route, fmt.Errorf("%w: %q: define it, or choose another one", ErrNoRoute, m.Route)
	case route.Damage != nil:
		return route, fmt.Errorf("%w that can be read: the row of %.64q in the database is damaged: save the server again (%w)",
			ErrNoRoute, m.Route, route.Damage)
	}
	return route, nil
}

// place is where a delivery's content is sealed for: moved to another row, route or end of life it does not open.
func place(d row) secret.Context {
	return secret.Place("delivery", "sealed", d.id.String(), d.channel, d.serial, d.route, strconv.FormatInt(store.Millis(d.notAfter), 10))
}

// messageID returns the Message-ID of a delivery, the same for all its attempts (RFC 5322 section 3.6.4). It tells nothing of
// the delivery's or the transaction's id.
func (s *Service) messageID(id uuid.UUID, route mail.Route) string {
	return s.messageIDLeft(id) + "@" + route.SenderDomain
}

func (s *Service) messageIDLeft(id uuid.UUID) string {
	mac := s.Keys.MAC(secret.MessageID, id[:])
	return strings.ToLower(base32.StdEncoding.EncodeToString(mac[:20]))
}

// named reports whether the left part of a row's Message-ID is what this key file makes of the row's id. Then the key
// file is that of the row.
func (s *Service) named(d row) bool {
	left, _, _ := strings.Cut(d.messageID, "@")
	return left == s.messageIDLeft(d.id)
}

// Put is row 1 of the table: it writes the delivery, who waits for it and, with a queue inside the database, the job, in the
// transaction of the caller.
func (s *Service) Put(tx *store.Tx, p Prepared, waiters ...Waiter) Ticket {
	insert(tx, p)
	for _, w := range waiters {
		insertWaiter(tx, p.id, w)
	}
	if driver, ok := s.Driver.(queue.TxDriver); ok && p.via == ViaQueue {
		driver.EnqueueTx(tx, job(p.id, p.route, p.notAfter, p.created))
	}
	return Ticket{ID: p.id, Via: p.via, route: p.route, notAfter: p.notAfter}
}

// job is the job of a delivery. The messages of one mail server share a lane, so that a slow one does not hold the
// others.
func job(id uuid.UUID, route string, notAfter, runAt time.Time) queue.Job {
	return queue.Job{ID: id, Kind: Kind, Lane: lane(route), Priority: queue.Urgent, RunAt: runAt, NotAfter: notAfter}
}

// lane is a mail server's identifier, cut to what a lane may be.
func lane(route string) string {
	return strings.ToValidUTF8(route[:min(len(route), queue.MostLane)], "")
}

// read opens the content of a row. why is the reason of an error: another key file, or a row that is damaged.
func (s *Service) read(d row) (c content, why Reason, err error) {
	c, err = s.open(d)
	switch {
	case err != nil && s.named(d):
		return c, Damaged, err
	case err != nil:
		return c, Unreadable, err
	case !s.named(d) || len(d.messageID) > longestMessageID || strings.ContainsFunc(d.messageID, breaksMessageID):
		return c, Damaged, errors.New("the Message-ID is not that of this delivery")
	}
	return c, "", nil
}

// longestMessageID is that of an address: 64 octets, "@" and 255 octets (RFC 5321 section 4.5.3.1).
const longestMessageID = 320

// breaksMessageID reports a character that would end the field Message-ID or its value (RFC 5322 section 3.6.4).
func breaksMessageID(r rune) bool { return r <= ' ' || r == 0x7f || r == '<' || r == '>' }

// open decrypts the content of a delivery.
func (s *Service) open(d row) (content, error) {
	var c content
	plain, err := s.Keys.Open(secret.Delivery, place(d), d.sealed)
	if err != nil {
		return c, err
	}
	if err := json.Unmarshal(plain, &c); err != nil {
		return c, fmt.Errorf("decode content: %w", err)
	}
	return c, nil
}

// server returns the definition that a delivery's content names, with the passwords back in their place.
func (r *sealedRoute) server() mail.Server {
	server := r.Server
	server.Password = secret.Text(r.Password)
	server.PrivateKeyPassword = secret.Text(r.PrivateKeyPassword)
	return server
}
