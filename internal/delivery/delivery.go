// Package delivery brings one message to one recipient.
//
// It does so from the outbox (outbox.go) to the outcome (outcome.go), and is the sole master of a delivery's
// state: "row n" in a comment is a row of the table in docs/states.md, each is one function of states.go, and
// each changes the delivery by compare-and-set on its epoch. It promises: no dot after not_after; at most one
// copy per message and fault that hit the moment between dot and reply; a final state never changes; the
// content is erased with it. It does not promise that the recipient reads the mail: accepted means that the
// next server answered 250.
package delivery

import (
	"cmp"
	"errors"
	"time"

	"github.com/google/uuid"
)

// State is where a delivery stands.
type State string

// The states. The last five are final.
const (
	Queued   State = "queued"   // waits for its first try
	Deferred State = "deferred" // waits for its next try
	Sending  State = "sending"  // a dot is committed, its outcome is not
	Accepted State = "accepted" // the next server took it
	Failed   State = "failed"   // it was not sent and will not be
	Expired  State = "expired"  // its time ended before it was sent
	Dropped  State = "dropped"  // no waiter is left
	Unknown  State = "unknown"  // it may have been sent; nothing more will be tried
)

// States lists all states, in the order of a delivery's life.
func States() []State {
	return []State{Queued, Deferred, Sending, Accepted, Failed, Expired, Dropped, Unknown}
}

// Final reports whether the state can change no more.
func (s State) Final() bool { return s != Queued && s != Deferred && s != Sending }

// Reason says why a delivery ended.
type Reason string

// The reasons.
const (
	Answered   Reason = "answered"   // dropped: the challenge was answered; unknown: so the message had come
	Superseded Reason = "superseded" // dropped: a newer challenge took its place
	Disabled   Reason = "disabled"   // dropped: the token was disabled or deleted
	Cancelled  Reason = "cancelled"  // dropped: by an administrator, or the token was enrolled anew or moved
	Refused    Reason = "refused"    // failed: the server refused it for good (5xx)
	NoTryLeft  Reason = "no try left before its end"
	NoRoute    Reason = "its SMTP server is not configured any more"
	Unreadable Reason = "its content does not open with this key file"
	Damaged    Reason = "its row in the database is damaged or was changed"
	NoSecret   Reason = "the password of its SMTP server does not open with this key file"
	NoServer   Reason = "its SMTP server could not be read from the database" // until no try was left
	// failed: its handling has killed too many workers
	Poison    Reason = "poisoned"
	TooLate   Reason = "too late"           // expired
	NoReply   Reason = "no reply"           // unknown: to the dot
	OneTry    Reason = "inline"             // failed: in the request there is one try
	QueueAway Reason = "queue out of reach" // failed: with the fallback "error"
	LostOwner Reason = "worker lost"        // unknown: the worker that sent the dot is gone
	NoWorker  Reason = "no worker"          // dropped: a test message, withdrawn
	// Interrupted: failed or expired, for the request that should have sent it ended without an outcome.
	Interrupted Reason = "request interrupted"
)

// String returns the reason as a log line and a table show it. REST and the database keep the value itself.
func (why Reason) String() string {
	if why == OneTry {
		return "inside a request there is one try"
	}
	return string(why)
}

// Via says who handles a delivery: a worker, or the request itself.
type Via string

// The ways.
const (
	ViaQueue  Via = "queue"
	ViaInline Via = "inline"
)

// Kind is the queue's name for the jobs of this package. A job's id is the delivery's; it has no payload.
const Kind = "delivery.send"

// ErrNoRoute says that a message names a route that does not exist, or whose row in the database is damaged
// (store.ErrDamaged).
var ErrNoRoute = errors.New("no such SMTP server")

// Message is what shall be delivered.
type Message struct {
	Channel   string    // name; empty: Mail
	Route     string    // identifier within the channel; for Mail of the SMTP server
	Own       *OwnRoute // a route that need not be saved, for a test; nil otherwise
	Recipient string    // an address of the channel; for Mail one addr-spec (RFC 5321)
	Subject   string
	Body      string
	MIMEType  string    // text subtype: plain (also for "") or html
	Code      string    // the one-time code in it: taken out of everything that a server answers
	Serial    string    // of the token; empty for a test message
	Realm     string    // of the token's owner; empty: none
	NotAfter  time.Time // no dot from then on
}

func (m Message) channel() string { return cmp.Or(m.Channel, Mail) }

// Waiter is a challenge whose code the message carries: it waits, or has waited, for the delivery.
type Waiter struct {
	TransactionID string
	Serial        string
	ChallengeID   uuid.UUID
	Ended         Reason // why it waits no more; empty while it does
}

// Ticket is a message that was put into the outbox.
type Ticket struct {
	ID       uuid.UUID
	Via      Via
	route    string
	notAfter time.Time
}

// Outcome is what is known of a delivery after Dispatch, and what OnOutcome gets.
type Outcome struct {
	ID     uuid.UUID
	Via    Via
	State  State
	Reason Reason
}

// Promising reports whether the answer may ask the user for the code of the message: it waits, is being sent
// or was accepted. After an inline try only accepted counts.
func (o Outcome) Promising() bool {
	if o.Via == ViaInline {
		return o.State == Accepted
	}
	return !o.State.Final() || o.State == Accepted
}
