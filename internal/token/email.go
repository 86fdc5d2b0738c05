package token

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math/big"

	"github.com/google/uuid"

	"otpost/internal/challenge"
	"otpost/internal/delivery"
	"otpost/internal/secret"
	"otpost/internal/store"
	"otpost/internal/system"
)

// What the original sends and says without policies (testdata/rest/validate.json, "pin -> challenge"; mail_failure.json,
// "pin: inline, SMTP down").
const (
	subject       = "Your OTP"
	promptSent    = "Enter the OTP from the Email"
	promptNotSent = "The PIN was correct, but the EMail could not be sent!"
)

// Draft is a code that is about to be sent: its challenge, the message that carries it, and what the user is told when it was
// sent and when it was not.
type Draft struct {
	Serial        string
	Type          string
	DeliveryID    uuid.UUID
	Challenge     challenge.Challenge
	Message       delivery.Message
	Sendable      bool   // false: there is no address to send to; Message and Challenge are empty
	Why           string // there is none, for the log: no address in it
	PromptSent    string
	PromptNotSent string
}

// Asked is what a draft needs besides the token.
type Asked struct {
	Values        system.Values
	Users         Users // as of the login's snapshot
	TransactionID string
}

// Draft draws a code for a token that challenges. The code and its message live until the settings' validity is over. It fails
// only by a fault of ours (user store, key file).
func (s *Service) Draft(ctx context.Context, t Token, a Asked) (Draft, error) {
	d := Draft{Serial: t.Serial, Type: t.Type, PromptSent: promptSent, PromptNotSent: promptNotSent}
	recipient, err := s.email(ctx, t, a.Users)
	if errors.Is(err, secret.ErrSealed) {
		d.Why = "the token's address does not open with this key file (PI_ENCFILE): put the right key file back; if it is lost, enter the address again"
		return d, nil
	}
	if err != nil {
		return d, err
	}
	if s.ValidAddress(recipient) != nil {
		d.Why = t.withoutAddress(recipient)
		return d, nil
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
		TransactionID: a.TransactionID, Serial: t.Serial, DeliveryID: d.DeliveryID, Text: code, Created: now, ValidUntil: until,
	})
	d.Message = delivery.Message{
		Route: cmp.Or(t.EmailIdentifier, a.Values.EmailIdentifier()), Recipient: recipient, Subject: subject, Body: code.Reveal(),
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

// Challenged counts a challenge that the caller's transaction writes for a token, and reports whether it may: the token
// can still be used. The caller calls it before it ends the token's older challenges: the change of the token's row lets
// logins at one token run one after the other.
func Challenged(tx *store.Tx, serial string) (bool, error) {
	return tx.Changed(`UPDATE token SET challenge_count = challenge_count + 1
		WHERE serial = $1 AND active = 1 AND revoked = 0 AND rollout_state = $2 RETURNING serial`, serial, Enrolled)
}
