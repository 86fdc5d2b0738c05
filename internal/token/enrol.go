package token

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"otpost/internal/challenge"
	"otpost/internal/delivery"
	"otpost/internal/fault"
	"otpost/internal/secret"
	"otpost/internal/store"
	"otpost/internal/system"
	"otpost/internal/user"
)

// What fits into a token.
const (
	leastOTPLen        = 4
	mostOTPLen         = 10
	longestSerial      = 40  // characters, as in the original's table
	longestDescription = 250 // characters
	longestPIN         = 256 // bytes
	serialPrefix       = "PIEM"
)

// Enrolment is what POST /token/init asks for. genkey and otpkey have no place in it: these tokens have no seed.
type Enrolment struct {
	Type            string // TypeEmail, or one of Options.Types
	Serial          string // empty: a new one is drawn
	Email           string
	DynamicEmail    bool   // use the address of the user, whatever it is then
	EmailIdentifier string // own SMTP server; empty: that of /system/
	PIN             *Text  // nil: none, or the former
	OTPLen          int    // 0: the default of /system/, or the former
	Description     *string
	Owner           *user.User // nil: none, or the former
}

// Init makes a token, or enrols an existing one of the same type anew: what is given replaces what
// was, the fail counter starts at 0, open challenges end. It returns the token as it is now.
// Faults: 905 for a missing or wrong parameter, 301 when the serial belongs to another type
// (recorded: "init existing serial again (other type)"), 1007 when it is revoked.
func (s *Service) Init(ctx context.Context, e Enrolment) (Token, error) {
	e.Email = strings.TrimSpace(e.Email)
	if err := s.checkEnrolment(e); err != nil {
		return Token{}, err
	}
	values, err := s.Settings.Load(ctx)
	if err != nil {
		return Token{}, err
	}
	var hash *string
	if e.PIN != nil {
		h, err := s.hash(ctx, *e.PIN)
		if err != nil {
			return Token{}, err
		}
		hash = &h
	}
	for {
		serial := e.Serial
		if serial == "" {
			serial = newSerial()
		}
		t, err := s.write(ctx, serial, e, hash, values)
		if errors.Is(err, store.ErrUnique) && e.Serial == "" {
			continue // drawn twice: draw again
		}
		return t, err
	}
}

func (s *Service) checkEnrolment(e Enrolment) error {
	kind, err := s.typeOf(e.Type)
	switch {
	case err != nil:
		return err
	case e.Serial != "" && !validSerial(e.Serial):
		return fault.Wrong("serial", "serial", "write at most 40 letters, digits, hyphens and underscores.")
	}
	if err := kind.Enrol(e); err != nil {
		return err
	}
	return Changes{PIN: e.PIN, Description: e.Description, OTPLen: given(e.OTPLen)}.check()
}

// write makes or changes the row of an enrolment.
func (s *Service) write(
	ctx context.Context, serial string, e Enrolment, hash *string, values system.Values,
) (made Token, err error) {
	var sealed []byte
	if e.Email != "" && !e.DynamicEmail {
		sealed = s.Keys.Seal(secret.Seed, place(serial), []byte(e.Email))
	}
	now := s.DB.Now()
	err = s.DB.Write(ctx, func(tx *store.Tx) error {
		t, err := Load(tx, serial)
		fresh := errors.Is(err, store.ErrNotFound)
		switch {
		case fresh:
			t = blank(serial, e.Type, now, values)
		case err != nil:
			return err
		case e.Serial == "":
			return store.ErrUnique
		case t.Type != e.Type:
			return fault.Newf(fault.TokenAdmin, "token_other_type",
				"ERR301: init token failed: Token %s already exists with type %s. "+
					"Can not initialize token with new type %s", serial, t.Type, e.Type)
		case t.Revoked:
			return ErrLocked()
		}
		t.take(e, now)
		t.emailSealed = sealed
		if hash != nil {
			t.pinHash = *hash
		}
		if fresh {
			if err := insert(tx, t); err != nil {
				return err
			}
		} else {
			update(tx, t)
			if err := s.endChallenges(tx, serial, now, delivery.Cancelled); err != nil {
				return err
			}
		}
		putRealm(tx, t)
		made, err = Load(tx, serial)
		return err
	})
	return made, err
}

// blank returns a new token with the defaults of /system/.
func blank(serial, kind string, now time.Time, values system.Values) Token {
	return Token{
		Serial:       serial,
		Type:         kind,
		Active:       true,
		RolloutState: Enrolled,
		OTPLen:       max(values.DefaultOTPLen(), leastOTPLen),
		MaxFailCount: values.DefaultMaxFailCount(),
		CountWindow:  values.DefaultCountWindow(),
		SyncWindow:   values.DefaultSyncWindow(),
		Created:      now,
	}
}

// take puts what an enrolment names into the token.
func (t *Token) take(e Enrolment, now time.Time) {
	t.DynamicEmail, t.EmailIdentifier = e.DynamicEmail, e.EmailIdentifier
	if e.OTPLen != 0 {
		t.OTPLen = e.OTPLen
	}
	if e.Description != nil {
		t.Description = *e.Description
	}
	if e.Owner != nil && !t.Owned(*e.Owner) {
		t.Resolver, t.UserID, t.UserRealm, t.Assigned = e.Owner.Resolver, e.Owner.UID, e.Owner.Realm, now
	}
}

// putRealm lists a token in the realm of its user.
func putRealm(tx *store.Tx, t Token) {
	if t.UserRealm != "" {
		tx.Put(`INSERT INTO token_realm (serial, realm) VALUES ($1, $2) ON CONFLICT (serial, realm) DO NOTHING`,
			t.Serial, t.UserRealm)
	}
}

// endChallenges ends a token's challenges and what waits to be sent for them.
func (s *Service) endChallenges(tx *store.Tx, serial string, now time.Time, why delivery.Reason) error {
	ended, err := challenge.EndSerial(tx, now, serial)
	if err != nil {
		return err
	}
	return s.Deliveries.Drop(tx, now, why, ended...)
}

// newSerial draws a serial: PIEM and 8 hexadecimal digits.
func newSerial() string {
	var b [4]byte
	rand.Read(b[:]) // never fails (crypto/rand)
	return fmt.Sprintf("%s%08X", serialPrefix, b)
}

func validSerial(s string) bool {
	if len(s) > longestSerial {
		return false
	}
	for _, r := range s {
		if r != '-' && r != '_' && !(r < utf8.RuneSelf && (unicode.IsLetter(r) || unicode.IsDigit(r))) {
			return false
		}
	}
	return true
}

// printable reports whether a text is valid and holds nothing that could end a line or a header.
func printable(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return false
		}
	}
	return true
}

// clip returns the beginning of a text that a client sent, for a sentence.
func clip(s string) string {
	if len(s) > 32 {
		return s[:32]
	}
	return s
}

func given(n int) *int {
	if n == 0 {
		return nil
	}
	return &n
}
