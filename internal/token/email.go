package token

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/google/uuid"

	"otpost/internal/challenge"
	"otpost/internal/delivery"
	"otpost/internal/fault"
	"otpost/internal/secret"
	"otpost/internal/store"
	"otpost/internal/system"
)

// What the original sends and says without policies (testdata/rest/validate.json, "pin ->
// challenge"; mail_failure.json, "pin: inline, SMTP down").
const (
	subject       = "Your OTP"
	promptSent    = "Enter the OTP from the Email"
	promptNotSent = "The PIN was correct, but the EMail could not be sent!"
)

// mostOpen is how many challenges of a token stay open with email.concurrent_challenges, the new one included.
const mostOpen = 5

// Draft is a code that is about to be sent: its challenge, the message that carries it, and what
// the user is told when it was sent and when it was not.
type Draft struct {
	Serial        string
	Type          string
	DeliveryID    uuid.UUID
	Challenge     challenge.Challenge
	Message       delivery.Message
	Keep          int    // how many older challenges of the token stay open beside this one
	Sendable      bool   // false: there is no address or no way to send to; Message and Challenge are empty
	Why           string // it is not sendable, for the log: no address in it
	PromptSent    string
	PromptNotSent string
}

// Asked is what a draft needs besides the token.
type Asked struct {
	Values        system.Values
	Users         Users // as of the login's snapshot
	TransactionID string
}

// email is the Type of tokens whose codes go out by mail.
type email struct{ s *Service }

var _ interface {
	Type
	Challenger
} = email{}

// Enrol implements Type.
func (e email) Enrol(asked Enrolment) error {
	switch {
	case !asked.DynamicEmail && asked.Email == "":
		return fault.Missing("email")
	case !asked.DynamicEmail && e.s.ValidAddress(asked.Email) != nil:
		return fault.Wrong("email", "email", "write one address that mail can be sent to, such as alice@example.com.")
	case len(asked.EmailIdentifier) > 255 || !printable(asked.EmailIdentifier):
		return fault.Wrong("email.identifier", "email_identifier", "write the identifier of an SMTP server.")
	}
	return nil
}

// Compare implements Type: the code is that of a challenge, and valid while the challenge is open.
func (e email) Compare(a Attempt) Match {
	var m Match
	for _, one := range a.Challenges {
		switch {
		case !one.Matches(e.s.Keys, a.Guess, a.Code):
		case one.Open(a.Now):
			return Match{Validity: Valid, Challenge: one}
		case one.State == challenge.Answered:
			m.Validity = UsedBefore
		}
	}
	return m
}

// Accept implements Type: it closes the challenge and those that share its message, and drops what waits to be sent for
// them.
func (e email) Accept(tx *store.Tx, now time.Time, m Match) error {
	ok, err := challenge.Answer(tx, now, m.Challenge.ID)
	if err != nil {
		return err
	}
	if !ok {
		return ErrUsed
	}
	ended, err := challenge.AnswerSharing(tx, now, m.Challenge.DeliveryID)
	if err != nil {
		return err
	}
	return e.s.Deliveries.Drop(tx, now, delivery.Answered, append(ended, m.Challenge.ID)...)
}

// Draft implements Challenger. The code and its message live until the settings' validity is over.
func (e email) Draft(ctx context.Context, t Token, a Asked) (Draft, error) {
	s := e.s
	d := Draft{Serial: t.Serial, Type: t.Type, PromptSent: promptSent, PromptNotSent: promptNotSent}
	recipient, err := s.address(ctx, t, a.Users)
	if errors.Is(err, secret.ErrSealed) {
		d.Why = "the token's address does not open with this key file (PI_ENCFILE): " + putBack
		return d, nil
	}
	if err != nil {
		return d, err
	}
	if s.ValidAddress(recipient) != nil {
		d.Why = t.withoutAddress(recipient)
		return d, nil
	}
	route := cmp.Or(t.EmailIdentifier, a.Values.EmailIdentifier())
	if route == "" {
		d.Why = "no SMTP server is chosen: set email.identifier"
		return d, nil
	}
	if a.Values.EmailConcurrent() {
		d.Keep = mostOpen - 1
	}
	code, err := s.code(t.OTPLen)
	if err != nil {
		return d, err
	}
	now := s.DB.Now()
	until := now.Add(a.Values.EmailValidTime())
	d.Sendable = true
	d.DeliveryID = uuid.Must(uuid.NewV7()) // fails only without a random source, and crypto/rand ends the process then
	d.Challenge = challenge.New(s.Keys, challenge.Code{
		TransactionID: a.TransactionID,
		Serial:        t.Serial,
		DeliveryID:    d.DeliveryID,
		Text:          code,
		Created:       now,
		ValidUntil:    until,
	})
	d.Message = delivery.Message{
		Route: route, Recipient: recipient, Subject: subject, Body: code.Reveal(),
		Code: code.Reveal(), Serial: t.Serial, Realm: t.UserRealm, NotAfter: until,
	}
	return d, nil
}

// withoutAddress says why there is no address to send to.
func (t Token) withoutAddress(found string) string {
	switch {
	case found != "" && t.DynamicEmail:
		return "the user's address is no e-mail address: correct it in the user store"
	case found != "":
		return "the token's address is no e-mail address: enter it again"
	case t.DynamicEmail && !t.HasUser():
		return "the token takes its user's address, and has no user"
	case t.DynamicEmail:
		return "the token takes its user's address, and the user store has none"
	}
	return "the token has no address"
}

// code draws n decimal digits, uniformly.
func (s *Service) code(n int) (secret.Text, error) {
	limit := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil)
	drawn, err := rand.Int(s.Rand, limit)
	if err != nil {
		return "", fmt.Errorf("draw code: %w", err)
	}
	return secret.Text(fmt.Sprintf("%0*d", n, drawn)), nil
}

// Challenged counts a challenge that the caller's transaction writes for a token, and reports
// whether it may: the token can still be used. The caller calls it before it ends the token's older
// challenges: the change of the token's row lets logins at one token run one after the other.
func Challenged(tx *store.Tx, serial string) (bool, error) {
	return tx.Changed(`UPDATE token SET challenge_count = challenge_count + 1
		WHERE serial = $1 AND active = 1 AND revoked = 0 AND rollout_state = $2 RETURNING serial`, serial, Enrolled)
}
