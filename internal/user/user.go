// Package user finds users in realms and their resolvers.
//
// A resolver reads a foreign store of users; a realm is a named list of resolvers; Directory keeps
// both and finds users through them. It promises: a name finds the user of the first resolver of
// the realm that has it, in the order of priorities. A resolver that cannot be read is an error and
// never "no such user", so that another person of that name cannot take the user's place. The
// package does not write users, know tokens or decide logins.
package user

import (
	"context"
	"errors"
	"math"
	"strings"

	"otpost/internal/secret"
)

// ErrNotFound says that the user, or the realm or resolver to search, does not exist.
var ErrNotFound = errors.New("no such user")

// User is one person in one store. Realm is the realm that was searched, empty after ByUID; texts may be empty.
type User struct {
	Login       string
	Realm       string
	Resolver    string // the resolver's name
	UID         string // the store's permanent key of the user; tokens hold it
	Givenname   string
	Surname     string
	Email       string
	Phone       string
	Mobile      string
	Description string
	Editable    bool // otpost may change the user in the store
}

// Password is a typed password and the client that sent it.
type Password struct {
	Plain  secret.Text
	Client string // address of the client: hashing slots are shared out between clients
}

// All asks a list for all users that match.
const All = math.MaxInt

// Resolver reads one store of users. The users that it returns have no Realm and no Resolver. It is
// safe for concurrent use. Every method may block for as long as the store needs, and ends with
// ctx.
type Resolver interface {
	// Find returns the user with exactly this login name, or ErrNotFound.
	Find(ctx context.Context, login string) (User, error)
	// ByUID returns the user with exactly this UID, or ErrNotFound.
	ByUID(ctx context.Context, uid string) (User, error)
	// List returns the first most users that match, in the store's order, and how many match in all. The
	// list is never nil. most is 0 for the count alone, and All for all of them.
	List(ctx context.Context, f Filter, most int) (list []User, count int, err error)
	// CheckPassword reports whether the user has this password. An empty password, a user without a
	// password and an unknown UID give false without an error. An unknown UID takes as long as the
	// slowest known one.
	CheckPassword(ctx context.Context, uid string, p Password) (bool, error)
}

// Checked is a Resolver that checks its parameters before they are stored.
type Checked interface {
	// Check returns fault 905 with a sentence that names a parameter that can never work; nil when
	// the store may work later.
	Check(ctx context.Context) error
}

// Marked is a Resolver that can tell that a user's password has changed.
type Marked interface {
	// PasswordMark returns a text that changes with every change of the user's password. It is as
	// secret as the password's hash; empty for a user without a password and for an unknown UID.
	PasswordMark(ctx context.Context, uid string) (secret.Text, error)
}

// Type makes a resolver from its parameters, which are those of privacyIDEA's resolver of that type. It does no I/O.
type Type func(name string, parameters map[string]string) (Resolver, error)

// Filter holds a pattern for some of a user's properties, by the name that the REST API gives them:
// username, userid, email, givenname, surname, phone, mobile, description. A property of another
// name is always empty.
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

// MatchPattern reports whether value matches pattern, in which * matches any text; case is ignored.
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
