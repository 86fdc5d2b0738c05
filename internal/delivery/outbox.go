package delivery

import (
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"otpost/internal/queue"
	"otpost/internal/secret"
	"otpost/internal/store"
)

// Options are what a Service needs. DB, Keys and Channels are required.
type Options struct {
	DB       *store.DB
	Keys     *secret.Keys
	Channels Channels     // such as Mail
	Driver   queue.Driver // nil: no queue, everything is sent in the request
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

// Service brings messages out. It is safe for concurrent use.
type Service struct {
	Options

	refusals      outage          // of jobs by the queue, as requests see them
	interruptions outage          // of handlings
	background    backgroundGroup // hands jobs to the queue
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
	channel   string
	route     string
	sealed    []byte
	recipient string // masked
	serial    string
	realm     string
	via       Via
	notAfter  time.Time
	created   time.Time
	messageID string
}

// Prepare seals m under id and decides whether a worker or the request sends it: a worker when there is a
// queue and the route is set to use it. It returns ErrNoRoute when routes has no such route or its row is
// damaged, and the error of an impossible recipient. It is called before the transaction, because it
// encrypts; it reads nothing.
func (s *Service) Prepare(id uuid.UUID, m Message, routes Routes) (Prepared, error) {
	route, err := routes.of(m)
	if err != nil {
		return Prepared{}, err
	}
	channel, ok := s.Channels[m.channel()]
	if !ok {
		return Prepared{}, fmt.Errorf("%w: there is no channel %q", ErrNoRoute, m.channel())
	}
	whole, masked, err := channel.Address(m.Recipient)
	if err != nil {
		return Prepared{}, fmt.Errorf("recipient: %w", err)
	}
	content := Content{Recipient: whole, Subject: m.Subject, Body: m.Body, MIMEType: m.MIMEType, Code: m.Code}
	if m.Own != nil {
		content.Definition = m.Own.Definition
	}
	encoded, err := json.Marshal(content)
	if err != nil {
		return Prepared{}, fmt.Errorf("encode message: %w", err)
	}
	p := Prepared{
		id:        id,
		channel:   m.channel(),
		route:     m.Route,
		recipient: masked,
		serial:    m.Serial,
		realm:     m.Realm,
		via:       ViaInline,
		notAfter:  m.NotAfter,
		created:   s.DB.Now(),
		messageID: s.messageIDLeft(id) + "@" + route.Domain,
	}
	if s.Driver != nil && route.Queue {
		p.via = ViaQueue
	}
	p.sealed = s.Keys.Seal(secret.Delivery,
		place(row{id: id, channel: p.channel, serial: p.serial, route: p.route, notAfter: p.notAfter}), encoded)
	return p, nil
}

// place is where a delivery's content is sealed for: moved to another row, route or end of life it does not open.
func place(d row) secret.Context {
	end := strconv.FormatInt(store.Millis(d.notAfter), 10)
	return secret.Place("delivery", "sealed", d.id.String(), d.channel, d.serial, d.route, end)
}

// messageIDLeft returns the left part of a delivery's Message-ID, which is the same for all its attempts (RFC
// 5322 section 3.6.4). It tells nothing of the delivery's or the transaction's id.
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

// Put is row 1 of the table: it writes the delivery, who waits for it and, with a queue inside the database,
// the job, in the transaction of the caller.
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

// job is the job of a delivery. The messages of one route share a lane, so that a slow route does not hold the others.
func job(id uuid.UUID, route string, notAfter, runAt time.Time) queue.Job {
	return queue.Job{ID: id, Kind: Kind, Lane: lane(route), Priority: queue.Urgent, RunAt: runAt, NotAfter: notAfter}
}

// lane is a route's identifier, cut to what a lane may be.
func lane(route string) string {
	return strings.ToValidUTF8(route[:min(len(route), queue.MostLane)], "")
}

// read opens the content of a row. why is the reason of an error: another key file, or a row that is damaged.
func (s *Service) read(d row) (c Content, why Reason, err error) {
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
func (s *Service) open(d row) (Content, error) {
	var c Content
	plain, err := s.Keys.Open(secret.Delivery, place(d), d.sealed)
	if err != nil {
		return c, err
	}
	if err := json.Unmarshal(plain, &c); err != nil {
		return c, fmt.Errorf("decode content: %w", err)
	}
	return c, nil
}
