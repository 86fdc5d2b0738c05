package user

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"otpost/internal/fault"
	"otpost/internal/pinhash"
	"otpost/internal/secret"
	"otpost/internal/store"
)

// Split is Catalogue.Split on what is stored now.
func (d *Directory) Split(ctx context.Context, name, realm string,
	splitAtSign bool) (login, realmName string, err error) {
	c, err := d.catalogue(ctx)
	if err != nil {
		return "", "", err
	}
	login, realmName = c.Split(name, realm, splitAtSign)
	return login, realmName, nil
}

// Split splits a typed name. With splitAtSign, "login@realm" and "realm\login" name the realm if it
// exists; an address whose domain is not a realm is a login name. A given realm wins over the
// name's. Without either, the realm is the default realm, or empty when there is none.
func (c *Catalogue) Split(name, realm string, splitAtSign bool) (login, realmName string) {
	login = strings.TrimSpace(name)
	if splitAtSign {
		login, realmName = c.split(login)
	}
	if realm != "" {
		realmName = normal(realm)
	}
	if realmName == "" {
		realmName = c.defaultRealm()
	}
	return login, realmName
}

func (c *Catalogue) split(name string) (login, realm string) {
	if at := strings.LastIndexByte(name, '@'); at > 0 {
		if r, ok := c.realm(normal(name[at+1:])); ok {
			return name[:at], r.Name
		}
	}
	if before, after, ok := strings.Cut(name, `\`); ok && after != "" {
		if r, ok := c.realm(normal(before)); ok {
			return after, r.Name
		}
	}
	return name, ""
}

// Find is Catalogue.Find on what is stored now.
func (d *Directory) Find(ctx context.Context, login, realm string) (User, error) {
	c, err := d.catalogue(ctx)
	if err != nil {
		return User{}, err
	}
	return c.Find(ctx, login, realm)
}

// Find returns the user of this login name in a realm: from the first resolver, by priority, that
// has the name. ErrNotFound: no resolver has it, or the realm does not exist. A resolver that
// cannot be read ends the search with its error.
func (c *Catalogue) Find(ctx context.Context, login, realm string) (User, error) {
	r, ok := c.realm(normal(realm))
	if !ok || login == "" {
		return User{}, ErrNotFound
	}
	for _, member := range r.Resolvers {
		u, err := c.find(member.Name, func(r Resolver) (User, error) { return r.Find(ctx, login) })
		if !errors.Is(err, ErrNotFound) {
			u.Realm = r.Name
			return u, err
		}
	}
	return User{}, ErrNotFound
}

// ByUID is Catalogue.ByUID on what is stored now.
func (d *Directory) ByUID(ctx context.Context, resolver, uid string) (User, error) {
	c, err := d.catalogue(ctx)
	if err != nil {
		return User{}, err
	}
	return c.ByUID(ctx, resolver, uid)
}

// ByUID returns the user that a token's record names, without a realm. ErrNotFound: the resolver
// does not exist, or it does not have the UID.
func (c *Catalogue) ByUID(ctx context.Context, resolver, uid string) (User, error) {
	return c.find(resolver, func(r Resolver) (User, error) { return r.ByUID(ctx, uid) })
}

func (c *Catalogue) find(resolver string, ask func(Resolver) (User, error)) (User, error) {
	reads, err := c.resolver(resolver)
	if err != nil {
		return User{}, err
	}
	u, err := ask(reads)
	switch {
	case errors.Is(err, ErrNotFound):
		return User{}, ErrNotFound
	case err != nil:
		return User{}, fmt.Errorf("ask resolver %s: %w", resolver, err)
	}
	u.Resolver = resolver
	return u, nil
}

// List returns the first most users that match (All: all of them), of one realm and one resolver, and
// how many match in all; an empty name means all. Realms come in the order in which they were made,
// and a user in two realms comes twice, as recorded (testdata/rest/user.json, "list no parameters").
// Unknown realms and resolvers have no users. The list is never nil. Fault 302: a resolver cannot be read.
func (d *Directory) List(ctx context.Context, realm, resolver string, f Filter, most int) ([]User, int, error) {
	c, err := d.catalogue(ctx)
	if err != nil {
		return nil, 0, err
	}
	list, count := []User{}, 0
	for _, r := range c.realms {
		if realm != "" && r.Name != normal(realm) {
			continue
		}
		for _, member := range r.Resolvers {
			if resolver != "" && member.Name != resolver {
				continue
			}
			reads, err := c.resolver(member.Name)
			if errors.Is(err, store.ErrDamaged) && realm == "" && resolver == "" {
				continue // it was logged; a list of all users leaves it out
			}
			if err != nil {
				return nil, 0, cannotRead(err, member.Name, "")
			}
			users, n, err := reads.List(ctx, f, most-len(list))
			if err != nil {
				return nil, 0, cannotRead(err, member.Name, "")
			}
			for _, u := range users {
				u.Realm, u.Resolver = r.Name, member.Name
				list = append(list, u)
			}
			count += n
		}
	}
	return list, count, nil
}

// CheckPassword reports whether this is the user's password in his own store. Fault 5003: out of hashing slots.
func (d *Directory) CheckPassword(ctx context.Context, u User, p Password) (bool, error) {
	c, err := d.catalogue(ctx)
	if err != nil {
		return false, err
	}
	reads, err := c.resolver(u.Resolver)
	if err != nil {
		return false, err
	}
	right, err := reads.CheckPassword(ctx, u.UID, p)
	if err != nil {
		return false, fmt.Errorf("check password in resolver %s: %w", u.Resolver, busy(err))
	}
	return right, nil
}

// Mark returns a text that changes when this login name in the realm means another user and, where
// the resolver is Marked, when the password changes; empty when user or realm does not exist. It
// must not be shown.
func (d *Directory) Mark(ctx context.Context, login, realm string) (secret.Text, error) {
	u, err := d.Find(ctx, login, realm)
	if errors.Is(err, ErrNotFound) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	c, err := d.catalogue(ctx)
	if err != nil {
		return "", err
	}
	reads, err := c.resolver(u.Resolver)
	if errors.Is(err, ErrNotFound) { // it was deleted a moment ago
		return "", nil
	}
	if err != nil {
		return "", err
	}
	var password secret.Text
	if marked, ok := reads.(Marked); ok {
		if password, err = marked.PasswordMark(ctx, u.UID); err != nil {
			return "", fmt.Errorf("read the password's mark in resolver %s: %w", u.Resolver, err)
		}
	}
	return secret.Text(fmt.Sprintf("%q %q %q", u.Resolver, u.UID, password.Reveal())), nil
}

// busy turns the lack of a hashing slot into the fault that asks the client to try again.
func busy(err error) error {
	if errors.Is(err, pinhash.ErrBusy) {
		return fault.NoSlot(err)
	}
	return err
}

// Authenticate returns the user of this login name in the realm if this is his password;
// ErrNotFound means an unknown user, an unknown realm or a wrong password. All three take the same
// time: without a user, the realm's first resolver spends the time of a check. Fault 5003: out of
// hashing slots.
func (d *Directory) Authenticate(ctx context.Context, login, realm string, p Password) (User, error) {
	u, err := d.Find(ctx, login, realm)
	if errors.Is(err, ErrNotFound) {
		if err := d.pretend(ctx, realm, p); err != nil {
			return User{}, err
		}
		return User{}, ErrNotFound
	}
	if err != nil {
		return User{}, err
	}
	right, err := d.CheckPassword(ctx, u, p)
	switch {
	case err != nil:
		return User{}, err
	case !right:
		return User{}, ErrNotFound
	}
	return u, nil
}

// pretend spends the time of a password check, for a user that does not exist.
func (d *Directory) pretend(ctx context.Context, realm string, p Password) error {
	c, err := d.catalogue(ctx)
	if err != nil {
		return err
	}
	if r, ok := c.realm(normal(realm)); ok && len(r.Resolvers) > 0 {
		_, err := d.CheckPassword(ctx, User{Resolver: r.Resolvers[0].Name}, p)
		return err
	}
	if d.options.Verifier == nil {
		return nil
	}
	return busy(d.options.Verifier.Dummy(ctx, p.Client, "", p.Plain.Reveal()))
}

// cannotRead returns fault 302 for a resolver whose users cannot be read; why is empty, or begins with a colon.
func cannotRead(cause error, resolver, why string) error {
	return fault.Newf(fault.Config, "users_unread", "ERR302: The users of the resolver '%s' cannot be read%s.",
		clean(resolver), why).Because(cause)
}
