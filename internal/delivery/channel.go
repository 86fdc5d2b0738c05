package delivery

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"otpost/internal/store"
)

// Channel is one way out for messages. Mail is the first one (mail.go). All methods are safe for concurrent use.
type Channel interface {
	// Routes returns every route of the channel by its identifier. It opens no secret.
	Routes(r store.Reader) (map[string]Route, error)
	// Address checks a recipient. It returns the address as Send takes it, and masked for lists and logs.
	Address(recipient string) (whole, masked string, err error)
	// Send makes one attempt and returns what happened. It asks g before each write that cannot be taken
	// back, and writes nothing more when g returns an error. An error of Send is that of g, a *RouteError, or
	// a fault of the channel. Send blocks until the attempt has ended; the end of ctx ends it.
	Send(ctx context.Context, m Outgoing, g *Gate) (Result, error)
}

// Channels are channels by their names.
type Channels map[string]Channel

// Route is what the outbox asks of a route: no secret, and nothing that needs a connection.
type Route struct {
	Queue  bool   // a worker sends its messages; else the request does
	Domain string // what follows the @ in the id of a message
	Damage error  // wraps store.ErrDamaged: the row cannot be read; nil: it can
}

// OwnRoute is a route that is not saved: that of a test.
type OwnRoute struct {
	Route
	Definition json.RawMessage // for the channel alone; it may hold secrets, and is sealed with the content
}

// RouteError says that Send could not read the route of a message. It wraps store.ErrNotFound when there is
// no such route, and secret.ErrSealed when a secret of it does not open; both end the delivery. After any
// other error it is tried again.
type RouteError struct{ Err error }

// Error implements error.
func (e *RouteError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *RouteError) Unwrap() error { return e.Err }

// Content is the part of a message that is sealed: everything that only its channel needs.
type Content struct {
	Recipient  string          `json:"recipient"`
	Subject    string          `json:"subject"`
	Body       string          `json:"body"`
	MIMEType   string          `json:"mime_type"`
	Code       string          `json:"code"`             // taken out of every text of a Result
	Definition json.RawMessage `json:"server,omitempty"` // of an OwnRoute
}

// Outgoing is a message as its channel gets it.
type Outgoing struct {
	Content
	ID        string // of the delivery
	MessageID string // the same for all attempts: left@Route.Domain
	Route     string // identifier; without use when Definition is set
	Created   time.Time
	NotAfter  time.Time // the message is committed before it or not at all; nothing before the commit outlasts it
}

// Class is what a server, or its silence, says about a message.
type Class string

// The classes. Only ClassTemporary and ClassPermanent may come both before and after the commit.
const (
	ClassAccepted    Class = "accepted"    // the server took it
	ClassTemporary   Class = "temporary"   // refused for now
	ClassPermanent   Class = "permanent"   // refused for good, or it can never be sent by this route
	ClassUnreachable Class = "unreachable" // no answer before the commit
	ClassUnknown     Class = "unknown"     // committed and perhaps written; no reply came
	ClassLate        Class = "late"        // committed and not written: MayWrite refused, or the connection broke
)

// Result is what one attempt came to. Every text in it is scrubbed of code, recipient and secrets.
type Result struct {
	Class     Class
	Phase     string // where it ended; empty: before the first phase
	Code      int    // of the reply; 0: none
	Enhanced  string // a finer code, such as that of RFC 3463
	Text      string // of the reply or of what went wrong
	Phases    []Phase
	Diagnosis Diagnosis // what an administrator should look at; empty: nothing
}

// Phase is one step of an attempt, for administrators. Texts are scrubbed and at most 256 bytes long.
type Phase struct {
	Phase    string     `json:"phase"`
	MS       float64    `json:"ms"`
	Code     int        `json:"code"` // of the reply; 0: none came
	Enhanced string     `json:"enhanced"`
	Text     string     `json:"text"` // of the reply, else of what went wrong
	TLS      *Handshake `json:"tls"`  // null: there was no handshake in this phase
}

// Handshake says what a TLS handshake came to. Of one that failed, empty fields are what it did not come to.
type Handshake struct {
	Version string        `json:"version"` // such as TLS 1.3
	Cipher  string        `json:"cipher"`
	Chain   []Certificate `json:"chain"` // as the server presented it, its own first; verified or not
}

// Certificate is what a certificate says of itself. Times are RFC 3339, UTC, with milliseconds.
type Certificate struct {
	Subject   string   `json:"subject"`
	Issuer    string   `json:"issuer"`
	Names     []string `json:"names"` // hosts and addresses that it is for
	NotBefore string   `json:"not_before"`
	NotAfter  string   `json:"not_after"`
}

// Diagnosis says in one word what an administrator should look at. A channel has its own words beside these.
type Diagnosis string

// The diagnoses that delivery makes.
const (
	DiagnosisTimeout  Diagnosis = "timeout"         // the reply is still awaited
	DiagnosisTooLate  Diagnosis = "too_late"        // its time was over before it was committed or written
	DiagnosisNoWorker Diagnosis = "no_worker"       // withdrawn, because no worker runs
	DiagnosisSecret   Diagnosis = "sealed_password" // a secret of the route does not open with this key file
	DiagnosisContent  Diagnosis = "sealed_mail"     // the content does not open with this key file
	DiagnosisNoRoute  Diagnosis = "no_server"       // there is no such route
	DiagnosisInternal Diagnosis = "internal"        // an error of this program
)

// Routes are all routes of all channels at one moment. They change with the settings' generation alone.
type Routes struct{ by map[string]map[string]Route }

// Routes reads all routes. It opens no secret.
func (s *Service) Routes(r store.Reader) (Routes, error) {
	all := Routes{by: make(map[string]map[string]Route, len(s.Channels))}
	for name, c := range s.Channels {
		routes, err := c.Routes(r)
		if err != nil {
			return Routes{}, fmt.Errorf("read routes of the channel %s: %w", name, err)
		}
		all.by[name] = routes
	}
	return all, nil
}

// of returns the route of a message: its own one (a test) or the configured one.
func (r Routes) of(m Message) (Route, error) {
	if m.Own != nil {
		return m.Own.Route, nil
	}
	route, ok := r.by[m.channel()][m.Route]
	switch {
	case !ok:
		return route, fmt.Errorf("%w: %q: define it, or choose another one", ErrNoRoute, m.Route)
	case route.Damage != nil:
		return route, fmt.Errorf("%w that can be read: the row of %.64q in the database is damaged: save it again (%w)",
			ErrNoRoute, m.Route, route.Damage)
	}
	return route, nil
}
