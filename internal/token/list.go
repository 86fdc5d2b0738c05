package token

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"otpost/internal/store"
	"otpost/internal/user"
)

// Filter chooses what List returns. Empty values choose all; an asterisk in a text stands for any characters.
// It has as many fields as the list has parameters.
type Filter struct {
	Serial, Type, Description string
	Resolver, Realm           string
	RolloutState              string
	Owner                     *user.User
	Active, Assigned          *bool
	Info                      map[string]string // free properties that must have these values
	SortBy                    string            // serial (default), or another field of the answer
	Descending                bool
	Page                      int // from 1; below: 1
	PageSize                  int // below 1: DefaultPageSize; at most MostPageSize
}

// Sizes of a page: the default of the recorded lists, and what one answer may cost.
const (
	DefaultPageSize = 15
	MostPageSize    = 1000
)

// Listed is a token with what belongs to it.
type Listed struct {
	Token
	Owner      user.User // zero: nobody, or somebody whom the resolver does not know any more
	Realms     []string  // never nil
	Properties []Property
}

// Property is a property of a token as "info" shows it. Managed ones cannot be set or deleted by themselves.
type Property struct {
	Key, Value string
	Managed    bool
}

// Page is one page of tokens.
type Page struct {
	Tokens     []Listed // never nil
	Count      int      // on all pages
	Next, Prev int      // 0: there is none
}

// List returns a page of tokens, with their users and properties.
func (s *Service) List(ctx context.Context, f Filter) (Page, error) {
	f.Page = max(f.Page, 1)
	if f.PageSize < 1 {
		f.PageSize = DefaultPageSize
	}
	f.PageSize = min(f.PageSize, MostPageSize)
	where, args := f.where()
	page := Page{Tokens: []Listed{}, Prev: f.Page - 1}
	err := s.DB.Read(ctx, func(r store.Reader) error {
		if err := r.Get([]any{&page.Count}, `SELECT count(*) FROM token WHERE `+where, args...); err != nil {
			return err
		}
		found, err := read(r, fmt.Sprintf(`SELECT %s FROM token WHERE %s ORDER BY %s LIMIT $%d OFFSET $%d`,
			columns, where, f.order(), len(args)+1, len(args)+2), append(args, f.PageSize, (f.Page-1)*f.PageSize)...)
		if err != nil {
			return err
		}
		for _, t := range found {
			one, err := s.describe(r, t)
			if err != nil {
				return err
			}
			page.Tokens = append(page.Tokens, one)
		}
		return nil
	})
	if err != nil {
		return Page{}, fmt.Errorf("list tokens: %w", err)
	}
	if f.Page*f.PageSize < page.Count {
		page.Next = f.Page + 1
	}
	return page, s.nameOwners(ctx, page.Tokens)
}

// describe adds realms and properties.
func (s *Service) describe(r store.Reader, t Token) (Listed, error) {
	one := Listed{Token: t, Realms: []string{}}
	err := r.Query(func(scan store.Scan) error {
		var realm string
		err := scan(&realm)
		one.Realms = append(one.Realms, realm)
		return err
	}, `SELECT realm FROM token_realm WHERE serial = $1 ORDER BY realm`, t.Serial)
	if err != nil {
		return one, err
	}
	one.Properties, err = s.properties(r, t)
	return one, err
}

// nameOwners looks the users up, each once. One who is gone leaves the name empty, as does a resolver that does not answer: a
// list must not fail over it.
func (s *Service) nameOwners(ctx context.Context, tokens []Listed) error {
	type id struct{ resolver, uid string }
	seen := make(map[id]user.User)
	for i := range tokens {
		t := &tokens[i]
		if !t.HasUser() {
			continue
		}
		key := id{t.Resolver, t.UserID}
		u, ok := seen[key]
		if !ok {
			var err error
			u, err = s.Users.ByUID(ctx, key.resolver, key.uid)
			if err != nil && !errors.Is(err, user.ErrNotFound) && ctx.Err() != nil {
				return ctx.Err()
			}
			seen[key] = u
		}
		u.Realm = t.UserRealm
		t.Owner = u
	}
	return nil
}

// where returns the filter as a condition with its arguments.
func (f Filter) where() (string, []any) {
	var args []any
	arg := func(value any) string {
		args = append(args, value)
		return fmt.Sprintf("$%d", len(args))
	}
	parts := []string{"1 = 1"}
	for _, one := range []struct{ column, text string }{
		{"serial", f.Serial}, {"type", f.Type}, {"description", f.Description}, {"resolver", f.Resolver}, {"rollout_state", f.RolloutState},
	} {
		if one.text != "" {
			parts = append(parts, fmt.Sprintf(`lower(%s) LIKE lower(%s) ESCAPE '\'`, one.column, arg(pattern(one.text))))
		}
	}
	if f.Realm != "" {
		parts = append(parts, `serial IN (SELECT serial FROM token_realm WHERE lower(realm) LIKE lower(`+arg(pattern(f.Realm))+`) ESCAPE '\')`)
	}
	if f.Owner != nil {
		parts = append(parts, fmt.Sprintf("resolver = %s AND user_id = %s AND user_realm = %s", arg(f.Owner.Resolver), arg(f.Owner.UID), arg(f.Owner.Realm)))
	}
	if f.Active != nil {
		parts = append(parts, "active = "+arg(store.Flag(*f.Active)))
	}
	if f.Assigned != nil {
		parts = append(parts, map[bool]string{true: "user_id <> ''", false: "user_id = ''"}[*f.Assigned])
	}
	for key, value := range f.Info {
		parts = append(parts, fmt.Sprintf("serial IN (SELECT serial FROM token_info WHERE key = %s AND value = %s)", arg(key), arg(value)))
	}
	return strings.Join(parts, " AND "), args
}

// pattern turns asterisks into LIKE's wildcard and takes the meaning from everything else.
func pattern(text string) string {
	return strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`, `*`, `%`).Replace(text)
}

// order returns the column that a field of the answer is sorted by.
func (f Filter) order() string {
	column, ok := map[string]string{
		"id": "id", "tokentype": "type", "description": "description", "active": "active", "failcount": "failcount",
		"maxfail": "max_failcount", "otplen": "otplen", "resolver": "resolver", "user_id": "user_id", "user_realm": "user_realm",
		"username": "user_id", "rollout_state": "rollout_state", "revoked": "revoked",
	}[f.SortBy]
	if !ok {
		column = "serial"
	}
	if f.Descending {
		column += " DESC"
	}
	if ok {
		column += ", serial"
	}
	return column
}
