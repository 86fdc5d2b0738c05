package login

import (
	"context"
	"errors"
	"fmt"

	"otpost/internal/delivery"
	"otpost/internal/fault"
	"otpost/internal/store"
	"otpost/internal/system"
	"otpost/internal/token"
	"otpost/internal/user"
)

// base is what a login needs of settings, realms and mail servers, as of one generation of them. It is immutable.
type base struct {
	users  *user.Catalogue
	values system.Values
	routes delivery.Routes
}

// subject is the user or token that a request is about.
type subject struct {
	*base
	user   user.User // zero: a token without user
	tokens []token.Token
}

// mostPasses bounds how often find begins again because a setting was changed meanwhile. After that
// the login is decided by settings that were replaced a moment ago.
const mostPasses = 3

// find returns the user with all tokens of the user, or the one token that the serial names. more reads what else the
// caller needs, in the snapshot of the tokens. An unknown user is fault 904, an unknown serial 601.
//
// The resolver is asked before the snapshot begins, because it may be a server in the network: by the settings of the
// login before, which the snapshot then confirms. A changed setting costs one more pass.
func (s *Service) find(
	ctx context.Context, r Request, unknown func(login, realm string) error, more func(store.Reader, subject) error,
) (subject, error) {
	if err := r.NamesSubject(); err != nil {
		return subject{}, err
	}
	known := s.known.Load()
	for pass := 1; ; pass++ {
		sub := subject{base: known}
		var missing error
		if known != nil && r.User != "" {
			sub.user, missing = known.findUser(ctx, r, unknown)
		}
		var current *base
		err := s.DB.Read(ctx, func(reader store.Reader) (err error) {
			current, err = s.current(reader, known)
			if err != nil || missing != nil || current != known && pass < mostPasses {
				return err
			}
			if err = sub.read(reader, r); err == nil {
				err = more(reader, sub)
			}
			return err
		})
		switch {
		case err != nil:
			return sub, err
		case current == known || pass == mostPasses:
			if missing == nil {
				missing = sub.nameOwner(ctx, r)
			}
			return sub, missing
		}
		s.known.Store(current)
		known = current
	}
}

// NamesSubject returns fault 905 unless the request names a user or a serial.
func (r Request) NamesSubject() error {
	if r.User == "" && r.Serial == "" {
		return fault.New(fault.Parameter, "no_subject", "ERR905: You need to specify a serial, user or credential_id.")
	}
	return nil
}

// current returns known while no setting was changed since it was read, and otherwise what the snapshot holds.
func (s *Service) current(reader store.Reader, known *base) (*base, error) {
	users, err := s.Users.Catalogue(reader)
	if err != nil || known != nil && users == known.users {
		return known, err
	}
	fresh := &base{users: users}
	if fresh.values, err = system.Read(reader); err != nil {
		return nil, err
	}
	fresh.routes, err = s.Deliveries.Routes(reader)
	return fresh, err
}

// findUser finds the user by the name, realm and resolver of the request.
func (b *base) findUser(ctx context.Context, r Request, unknown func(login, realm string) error) (user.User, error) {
	login, realm := b.users.Split(r.User, r.Realm, b.values.SplitAtSign())
	u, err := b.users.Find(ctx, login, realm)
	switch {
	case errors.Is(err, user.ErrNotFound), err == nil && r.Resolver != "" && u.Resolver != r.Resolver:
		return u, unknown(login, realm)
	case err != nil:
		return u, fmt.Errorf("find user: %w", err)
	}
	return u, nil
}

// read reads the tokens of the subject. A damaged token is left out; the store has logged it.
func (sub *subject) read(reader store.Reader, r Request) (err error) {
	if r.Serial == "" {
		sub.tokens, err = token.OfUser(reader, sub.user)
		return err
	}
	t, err := token.Load(reader, r.Serial)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return fault.New(fault.NotFound, "no_token", "The requested token could not be found.")
	case errors.Is(err, store.ErrDamaged):
		sub.tokens = nil
		return nil
	case err != nil:
		return err
	case r.User != "" && !t.Owned(sub.user):
		return fault.New(fault.Parameter, "token_of_other", "ERR905: The token does not belong to this user.")
	}
	sub.tokens = []token.Token{t}
	return nil
}

// nameOwner finds the user of the token that a serial names without a user.
func (sub *subject) nameOwner(ctx context.Context, r Request) error {
	if r.User != "" || len(sub.tokens) == 0 || !sub.tokens[0].HasUser() {
		return nil
	}
	t := sub.tokens[0]
	u, err := sub.users.ByUID(ctx, t.Resolver, t.UserID)
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

// unknownToCheck and unknownToTrigger are the recorded faults of testdata/rest/validate.json,
// "unknown user" and "trigger unknown user".
func unknownToCheck(login, realm string) error {
	return fault.Newf(fault.User, "no_user", "ERR904: User <%s@%s> does not exist.", login, realm)
}

func unknownToTrigger(string, string) error {
	return fault.New(fault.User, "no_user_in_realm", "ERR904: The user can not be found in any resolver in this realm!")
}

// usable returns the tokens that may be tried, and, when there is none, why: rows 1 and 2 of the
// table, or the recorded fault for a revoked token.
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
