// Package user finds users in realms and their resolvers.
//
// A resolver reads a store of users that belongs to somebody else; a realm is a named list of
// resolvers; Directory keeps both and finds users through them. It promises: a name finds the user
// of the first resolver of the realm that has it, in the order of priorities; a resolver that
// cannot be read is an error and never "no such user", so that no other person of that name takes
// the place. What it does not: write users, know tokens, decide about logins.
package user

import (
	"context"
	"errors"
	"strings"

	"otpost/internal/secret"
)

// ErrNotFound says that there is no such user, or no such realm or resolver to look in.
var ErrNotFound = errors.New("no such user")

// User is one person in one store. Realm is the realm that was searched, empty after ByUID; texts may be empty.
type User struct {
	Login       string
	Realm       string
	Resolver    string // the resolver's name
	UID         string // what the store calls the user for ever; tokens hold it
	Givenname   string
	Surname     string
	Email       string
	Phone       string
	Mobile      string
	Description string
	Editable    bool // the store takes changes from us
}

// Password is what somebody typed, and from where.
type Password struct {
	Plain  secret.Text
	Client string // address of the client: hashing is shared out between clients
}

// Resolver reads one store of users. The users that it returns have no Realm and no Resolver. It is
// safe for concurrent use. Every method may block for as long as the store needs, and ends with
// ctx.
type Resolver interface {
	// Find returns the user with exactly this login name, ErrNotFound when there is none.
	Find(ctx context.Context, login string) (User, error)
	// ByUID returns the user with exactly this UID, ErrNotFound when there is none.
	ByUID(ctx context.Context, uid string) (User, error)
	// List returns the users that match, in the store's order; never nil.
	List(ctx context.Context, f Filter) ([]User, error)
	// CheckPassword reports whether the user has this password. An empty password, a user without
	// one and an unknown UID are false without an error, an unknown UID as late as the slowest of
	// the known.
	CheckPassword(ctx context.Context, uid string, p Password) (bool, error)
}

// Checked is a Resolver that can say, before it is kept, which of its parameters can never work.
type Checked interface {
	// Check returns fault 905 with a sentence that names the parameter, nil when the store may work one day.
	Check(ctx context.Context) error
}

// Marked is a Resolver that can tell a user's password from the one before it.
type Marked interface {
	// PasswordMark returns a text that is another one after every change of the user's password. It is as secret as the
	// password's hash; empty for a user without a password and for an unknown UID.
	PasswordMark(ctx context.Context, uid string) (secret.Text, error)
}

// Type makes a resolver from its parameters, which are those of privacyIDEA's resolver of that type. It does no I/O.
type Type func(name string, parameters map[string]string) (Resolver, error)

// Filter holds a pattern for some of a user's properties, by the name that the REST API gives them:
// username, userid, email, givenname, surname, phone, mobile, description. Nobody has a property of
// another name.
type Filter map[string]string

// Match reports whether the user matches all patterns.
func (f Filter) Match(u User) bool {
	for property, pattern := range f {
		value, ok := u.property(property)
		if !ok || !MatchPattern(pattern, value) {
			return false
		}
	}
	return true
}

func (u User) property(name string) (value string, ok bool) {
	switch name {
	case "username":
		return u.Login, true
	case "userid":
		return u.UID, true
	case "email":
		return u.Email, true
	case "givenname":
		return u.Givenname, true
	case "surname":
		return u.Surname, true
	case "phone":
		return u.Phone, true
	case "mobile":
		return u.Mobile, true
	case "description":
		return u.Description, true
	}
	return "", false
}

// MatchPattern reports whether value is pattern, in which * stands for any text; case does not count.
func MatchPattern(pattern, value string) bool {
	parts := strings.Split(strings.ToLower(pattern), "*")
	value = strings.ToLower(value)
	if len(parts) == 1 {
		return value == parts[0]
	}
	first, last := parts[0], parts[len(parts)-1]
	if len(value) < len(first)+len(last) || !strings.HasPrefix(value, first) || !strings.HasSuffix(value, last) {
		return false
	}
	value = value[len(first) : len(value)-len(last)]
	for _, part := range parts[1 : len(parts)-1] {
		at := strings.Index(value, part)
		if at < 0 {
			return false
		}
		value = value[at+len(part):]
	}
	return true
}
