package login

import (
	"context"
	"errors"
	"fmt"

	"otpost/internal/fault"
	"otpost/internal/store"
	"otpost/internal/system"
	"otpost/internal/token"
	"otpost/internal/user"
)

// subject is whom a request is about.
type subject struct {
	user   user.User // zero: a token without user
	tokens []token.Token
	values system.Values
}

// find returns the user and all of his tokens, or the one token that the serial names. An unknown user is fault 904, an unknown
// serial 601; Trigger says the first in other words, and nothing about the second.
func (s *Service) find(ctx context.Context, r Request, unknown func(login, realm string) error) (subject, error) {
	values, err := s.Settings.Load(ctx)
	if err != nil {
		return subject{}, err
	}
	sub := subject{values: values}
	switch {
	case r.User == "" && r.Serial == "":
		return sub, fault.New(fault.Parameter, "ERR905: You need to specify a serial, user or credential_id.")
	case r.User != "":
		sub.user, err = s.findUser(ctx, r, values, unknown)
		if err != nil {
			return sub, err
		}
	}
	if r.Serial == "" {
		sub.tokens, err = s.Tokens.OfUser(ctx, sub.user)
		return sub, err
	}
	return sub, s.findToken(ctx, r, &sub)
}

// findUser finds the user by the name, realm and resolver of the request.
func (s *Service) findUser(ctx context.Context, r Request, values system.Values, unknown func(login, realm string) error) (user.User, error) {
	login, realm, err := s.Users.Split(ctx, r.User, r.Realm, values.SplitAtSign())
	if err != nil {
		return user.User{}, fmt.Errorf("find realm: %w", err)
	}
	u, err := s.Users.Find(ctx, login, realm)
	switch {
	case errors.Is(err, user.ErrNotFound), err == nil && r.Resolver != "" && u.Resolver != r.Resolver:
		return u, unknown(login, realm)
	case err != nil:
		return u, fmt.Errorf("find user: %w", err)
	}
	return u, nil
}

// findToken puts the token of the serial into the subject, and its user when none was named.
func (s *Service) findToken(ctx context.Context, r Request, sub *subject) error {
	t, err := s.Tokens.BySerial(ctx, r.Serial)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return fault.New(fault.NotFound, "The requested token could not be found.")
	case errors.Is(err, store.ErrDamaged):
		return nil // it was logged; as among the tokens of a user, it is left out
	case err != nil:
		return err
	case r.User != "" && !t.Owned(sub.user):
		return fault.New(fault.Parameter, "ERR905: The token does not belong to this user.")
	}
	sub.tokens = []token.Token{t}
	if r.User != "" || !t.HasUser() {
		return nil
	}
	u, err := s.Users.ByUID(ctx, t.Resolver, t.UserID)
	switch {
	case errors.Is(err, user.ErrNotFound):
		u = user.User{Resolver: t.Resolver, UID: t.UserID} // the token works all the same
	case err != nil:
		return fmt.Errorf("find a token's user: %w", err)
	}
	u.Realm = t.UserRealm
	sub.user = u
	return nil
}

// unknownToCheck and unknownToTrigger are the recorded faults of testdata/rest/validate.json, "unknown user" and "trigger
// unknown user".
func unknownToCheck(login, realm string) error {
	return fault.Newf(fault.User, "ERR904: User <%s@%s> does not exist.", login, realm)
}

func unknownToTrigger(string, string) error {
	return fault.New(fault.User, "ERR904: The user can not be found in any resolver in this realm!")
}

// usable returns the tokens that may be tried, and, when there is none, why: rows 1 and 2 of the table, or the recorded fault
// for a revoked token.
func (sub subject) usable() (tokens []token.Token, why string, err error) {
	why = noTokens
	for _, t := range sub.tokens {
		switch {
		case t.Usable():
			tokens = append(tokens, t)
		case t.Revoked:
			err = token.ErrLocked()
		case !t.Active:
			why = disabled
		case why == noTokens:
			why = notEnrolled
		}
	}
	if len(tokens) > 0 || why != noTokens {
		err = nil
	}
	return tokens, why, err
}

// unlocked returns the tokens whose fail counter is below its limit.
func unlocked(tokens []token.Token) []token.Token {
	var open []token.Token
	for _, t := range tokens {
		if !t.Locked() {
			open = append(open, t)
		}
	}
	return open
}
