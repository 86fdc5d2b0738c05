package token

import (
	"context"
	"unicode/utf8"

	"otpost/internal/delivery"
	"otpost/internal/fault"
	"otpost/internal/store"
	"otpost/internal/system"
	"otpost/internal/user"
)

// Changes is what POST /token/set may change; nil leaves a value as it is.
type Changes struct {
	PIN          *Text
	Description  *string
	MaxFailCount *int // 1 to system.MostFailCount
	OTPLen       *int // 4 to 10
	CountWindow  *int
	SyncWindow   *int
}

// check returns fault 905 for a value that does not fit.
func (c Changes) check() error {
	if c.PIN != nil && (len(*c.PIN) > longestPIN || !printable(c.PIN.Reveal())) {
		return fault.Wrong("pin", "pin", "write at most %d bytes of text without control characters.", longestPIN)
	}
	if d := c.Description; d != nil && (utf8.RuneCountInString(*d) > longestDescription || !printable(*d)) {
		return fault.Wrong("description", "description", "write one line of at most %d characters.", longestDescription)
	}
	for _, n := range []struct {
		name        string
		value       *int
		least, most int
	}{
		{"max_failcount", c.MaxFailCount, 1, system.MostFailCount},
		{"otplen", c.OTPLen, leastOTPLen, mostOTPLen},
		{"count_window", c.CountWindow, 1, 1_000_000},
		{"sync_window", c.SyncWindow, 1, 1_000_000},
	} {
		if n.value != nil && (*n.value < n.least || *n.value > n.most) {
			return fault.Wrong(n.name, "number", "write a number from %d to %d.", n.least, n.most)
		}
	}
	return nil
}

// Set changes values of a token and returns how many of PIN, max_failcount, count_window and
// sync_window were given (recorded: "set" answers 4, although description and otplen are changed
// too).
func (s *Service) Set(ctx context.Context, sel Selection, c Changes) (int, error) {
	if err := c.check(); err != nil {
		return 0, err
	}
	hash, err := s.newHash(ctx, sel, c.PIN)
	if err != nil {
		return 0, err
	}
	err = s.change(ctx, sel, func(tx *store.Tx, t Token) error {
		tx.Put(`UPDATE token SET pin_hash = COALESCE($2, pin_hash), description = COALESCE($3, description),
			max_failcount = COALESCE($4, max_failcount), failcount = CASE WHEN failcount > $4 THEN $4 ELSE failcount END,
			otplen = COALESCE($5, otplen), count_window = COALESCE($6, count_window), sync_window = COALESCE($7, sync_window)
			WHERE serial = $1`, t.Serial, hash, c.Description, c.MaxFailCount, c.OTPLen, c.CountWindow, c.SyncWindow)
		return nil
	})
	if err != nil {
		return 0, err
	}
	n := 0
	for _, set := range []bool{c.PIN != nil, c.MaxFailCount != nil, c.CountWindow != nil, c.SyncWindow != nil} {
		n += count(set)
	}
	return n, nil
}

// newHash returns the stored form of a new PIN, nil for none. It looks for the token first, because
// hashing is expensive.
func (s *Service) newHash(ctx context.Context, sel Selection, pin *Text) (*string, error) {
	if err := s.exists(ctx, sel); err != nil || pin == nil {
		return nil, err
	}
	hash, err := s.hash(ctx, *pin)
	return &hash, err
}

func (s *Service) exists(ctx context.Context, sel Selection) error {
	return s.DB.Read(ctx, func(r store.Reader) error {
		_, err := one(r, sel)
		return err
	})
}

// SetPIN sets the PIN and returns 1; without a PIN it changes nothing and returns 0 (recorded: "set pin missing").
func (s *Service) SetPIN(ctx context.Context, sel Selection, pin *Text) (int, error) {
	return s.Set(ctx, sel, Changes{PIN: pin})
}

// SetDescription sets the description.
func (s *Service) SetDescription(ctx context.Context, sel Selection, description string) error {
	_, err := s.Set(ctx, sel, Changes{Description: &description})
	return err
}

// Enable makes a token usable and returns 1, or 0 when it was.
func (s *Service) Enable(ctx context.Context, sel Selection) (n int, err error) {
	err = s.change(ctx, sel, func(tx *store.Tx, t Token) error {
		changed, err := tx.Changed(`UPDATE token SET active = 1 WHERE serial = $1 AND active = 0 RETURNING serial`, t.Serial)
		n = count(changed)
		return err
	})
	return n, err
}

// Disable ends the use of a token, its challenges and the mails that wait for them, and returns 1,
// or 0 when it was disabled.
func (s *Service) Disable(ctx context.Context, sel Selection) (n int, err error) {
	err = s.change(ctx, sel, func(tx *store.Tx, t Token) error {
		changed, err := tx.Changed(`UPDATE token SET active = 0 WHERE serial = $1 AND active = 1 RETURNING serial`, t.Serial)
		n = count(changed)
		if err != nil {
			return err
		}
		return s.endChallenges(tx, t.Serial, s.DB.Now(), delivery.Disabled)
	})
	return n, err
}

// Revoke ends the use of a token for good and returns 1. A revoked token can only be deleted.
func (s *Service) Revoke(ctx context.Context, sel Selection) (int, error) {
	err := s.change(ctx, sel, func(tx *store.Tx, t Token) error {
		tx.Put(`UPDATE token SET revoked = 1 WHERE serial = $1`, t.Serial)
		return s.endChallenges(tx, t.Serial, s.DB.Now(), delivery.Disabled)
	})
	return count(err == nil), err
}

// Delete removes a token with everything that belongs to it and returns 1.
func (s *Service) Delete(ctx context.Context, sel Selection) (int, error) {
	err := s.DB.Write(ctx, func(tx *store.Tx) error {
		t, err := one(tx, sel)
		if err != nil {
			return err
		}
		tx.Put(`DELETE FROM token_info WHERE serial = $1`, t.Serial)
		tx.Put(`DELETE FROM token_realm WHERE serial = $1`, t.Serial)
		tx.Put(`DELETE FROM token WHERE serial = $1`, t.Serial)
		return s.endChallenges(tx, t.Serial, s.DB.Now(), delivery.Disabled)
	})
	return count(err == nil), err
}

// Reset sets the fail counter to 0 and returns 1.
func (s *Service) Reset(ctx context.Context, sel Selection) (int, error) {
	err := s.change(ctx, sel, func(tx *store.Tx, t Token) error {
		tx.Put(`UPDATE token SET failcount = 0, failcounter_exceeded_ms = NULL WHERE serial = $1`, t.Serial)
		return nil
	})
	return count(err == nil), err
}

// Assign gives a token to a user and sets the PIN, if there is one. The token of another is refused
// with the recorded fault 1103 ("assign assigned").
func (s *Service) Assign(ctx context.Context, serial string, owner user.User, pin *Text) error {
	sel := Selection{Serial: serial}
	if err := (Changes{PIN: pin}).check(); err != nil {
		return err
	}
	hash, err := s.newHash(ctx, sel, pin)
	if err != nil {
		return err
	}
	former := s.formerLogin(ctx, serial)
	return s.change(ctx, sel, func(tx *store.Tx, t Token) error {
		if t.HasUser() && !t.Owned(owner) {
			return fault.Newf(fault.Assigned, "token_assigned",
				"ERR1103: Token already assigned to user User(login='%s', realm='%s', resolver='%s')",
				former, t.UserRealm, t.Resolver)
		}
		t.take(Enrolment{DynamicEmail: t.DynamicEmail, EmailIdentifier: t.EmailIdentifier, Owner: &owner}, s.DB.Now())
		tx.Put(`UPDATE token SET resolver = $2, user_id = $3, user_realm = $4, assigned_ms = $5,
			pin_hash = COALESCE($6, pin_hash)
			WHERE serial = $1`, t.Serial, t.Resolver, t.UserID, t.UserRealm, nullable(t.Assigned), hash)
		putRealm(tx, t)
		return nil
	})
}

// formerLogin returns the name of a token's user for a sentence; empty when it cannot be found.
func (s *Service) formerLogin(ctx context.Context, serial string) string {
	t, err := s.BySerial(ctx, serial)
	if err != nil || !t.HasUser() {
		return ""
	}
	u, err := s.Users.ByUID(ctx, t.Resolver, t.UserID)
	if err != nil {
		return ""
	}
	return u.Login
}

// Unassign takes a token from its user, ends its challenges and returns 1, also when it had no user
// (recorded: "unassign again").
func (s *Service) Unassign(ctx context.Context, sel Selection) (int, error) {
	err := s.change(ctx, sel, func(tx *store.Tx, t Token) error {
		tx.Put(`UPDATE token SET resolver = '', user_id = '', user_realm = '', assigned_ms = NULL
			WHERE serial = $1`, t.Serial)
		return s.endChallenges(tx, t.Serial, s.DB.Now(), delivery.Cancelled)
	})
	return count(err == nil), err
}

// SetRealms lists a token in these realms and in no other.
func (s *Service) SetRealms(ctx context.Context, sel Selection, realms []string) error {
	return s.change(ctx, sel, func(tx *store.Tx, t Token) error {
		tx.Put(`DELETE FROM token_realm WHERE serial = $1`, t.Serial)
		for _, realm := range sortedUnique(realms) {
			tx.Put(`INSERT INTO token_realm (serial, realm) VALUES ($1, $2)`, t.Serial, realm)
		}
		return nil
	})
}

// count is the number of changes that the API answers: 1 for a token that was changed, else 0.
func count(changed bool) int {
	if changed {
		return 1
	}
	return 0
}
