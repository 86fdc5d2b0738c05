// Package challenge keeps the codes that wait for their answer.
//
// It promises: a code is never stored, only its MAC, bound to the message that carried it and to
// the token; comparing a code needs the receipt of a paid guess; a challenge is answered once, by
// compare-and-set in the transaction that accepts. login decides what an answer means, and delivery
// sends.
//
// A challenge is open while its state is Waiting and its end is ahead. Ended and expired rows are
// kept for Kept: they tell a code that was used before from a wrong one, and a transaction whose
// time is over from an unknown one.
package challenge

import (
	"crypto/hmac"
	"crypto/rand"
	"fmt"
	"math/big"
	"time"

	"github.com/google/uuid"

	"otpost/internal/secret"
)

// Kept is how long ended and expired challenges stay in the table: long enough to tell a used code from a wrong one.
const Kept = 10 * time.Minute

// State is the state of a challenge. The numbers are those of the column.
type State int

// The states.
const (
	Waiting  State = 0 // not answered; it is open until its end
	Answered State = 1 // the right code came, or came to another challenge of the same transaction or message
	Ended    State = 2 // superseded, or its token or message is gone
)

// Challenge is one code that was sent to one token. It has as many fields as the row has columns.
type Challenge struct {
	ID            uuid.UUID
	TransactionID string // 20 digits
	Serial        string
	DeliveryID    uuid.UUID // of the message that carries the code
	State         State
	Received      int // answers that were tried
	Created       time.Time
	ValidUntil    time.Time // the code is void from then on; it never moves

	mac []byte
}

// Code is what New makes a challenge of.
type Code struct {
	TransactionID string
	Serial        string
	DeliveryID    uuid.UUID
	Text          secret.Text // the digits
	Created       time.Time
	ValidUntil    time.Time
}

// New returns the challenge of a code, with a fresh id. Nothing of it leads back to the code without the key.
func New(keys *secret.Keys, c Code) Challenge {
	return Challenge{
		ID:            uuid.Must(uuid.NewV7()), // fails only without a random source, and crypto/rand ends the process then
		TransactionID: c.TransactionID,
		Serial:        c.Serial,
		DeliveryID:    c.DeliveryID,
		Created:       c.Created,
		ValidUntil:    c.ValidUntil,
		mac:           mac(keys, c.DeliveryID, c.Serial, c.Text),
	}
}

// Open reports whether the challenge can be answered at that time.
func (c Challenge) Open(now time.Time) bool { return c.State == Waiting && now.Before(c.ValidUntil) }

// Receipt says that a guess at a token was paid for (token.Guess).
type Receipt interface {
	// PaidFor reports whether the payment was for this token.
	PaidFor(serial string) bool
}

// Matches reports whether code is the one that was sent, whatever the state of the challenge.
// Without a receipt for the token it is false. It takes the same time for every code.
func (c Challenge) Matches(keys *secret.Keys, paid Receipt, code secret.Text) bool {
	return paid.PaidFor(c.Serial) && hmac.Equal(c.mac, mac(keys, c.DeliveryID, c.Serial, code))
}

func mac(keys *secret.Keys, delivery uuid.UUID, serial string, code secret.Text) []byte {
	return keys.MAC(secret.Challenge, delivery[:], []byte(serial), []byte(code.Reveal()))
}

// digits is the length of a transaction id.
const digits = 20

// NewTransactionID returns 20 decimal digits, uniformly drawn.
func NewTransactionID() string {
	limit := new(big.Int).Exp(big.NewInt(10), big.NewInt(digits), nil)
	n, err := rand.Int(rand.Reader, limit)
	if err != nil {
		panic(err) // crypto/rand ends the process before it fails
	}
	return fmt.Sprintf("%0*d", digits, n)
}

// WellFormed reports whether a text can be a transaction id: 20 ASCII digits. Any other text names no transaction.
func WellFormed(transactionID string) bool {
	if len(transactionID) != digits {
		return false
	}
	for i := range len(transactionID) {
		if transactionID[i] < '0' || transactionID[i] > '9' {
			return false
		}
	}
	return true
}
