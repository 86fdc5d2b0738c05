package httpapi

import (
	"context"
	"errors"
	"testing"

	"otpost/internal/store"
	"otpost/internal/user"
)

// people is a store of users in memory; every password is "userpw".
type people []user.User

func (p people) Find(_ context.Context, login string) (user.User, error) {
	for _, u := range p {
		if u.Login == login {
			return u, nil
		}
	}
	return user.User{}, user.ErrNotFound
}

func (p people) ByUID(_ context.Context, uid string) (user.User, error) {
	for _, u := range p {
		if u.UID == uid {
			return u, nil
		}
	}
	return user.User{}, user.ErrNotFound
}

func (p people) List(_ context.Context, f user.Filter) ([]user.User, error) {
	found := []user.User{}
	for _, u := range p {
		if f.Match(u) {
			found = append(found, u)
		}
	}
	return found, nil
}

func (p people) CheckPassword(_ context.Context, uid string, typed user.Password) (bool, error) {
	_, err := p.ByUID(context.Background(), uid)
	return err == nil && typed.Plain == "userpw", nil
}

// usersOf returns a directory whose resolvers of type passwdresolver hold alice and bob.
func usersOf(t *testing.T, db *store.DB) *user.Directory {
	t.Helper()
	open := func(_ string, parameters map[string]string) (user.Resolver, error) {
		if parameters["fileName"] == "refused" {
			return nil, errors.New("refused")
		}
		return people{{Login: "alice", UID: "1000", Email: "alice@example.com"}, {Login: "bob", UID: "1001"}}, nil
	}
	return user.New(db, user.Options{Types: map[string]user.Type{"passwdresolver": open}})
}
