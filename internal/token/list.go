package token

import (
	"context"
	"encoding/json"
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
	SortBy                    string // serial (default), or another field of the answer
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
	Owner      user.User // zero: none, or a user that the resolver no longer has
	Realms     []string  // never nil
	Properties []Property
}

// Property is a property of a token as "info" shows it. Managed ones cannot be set or deleted by themselves.
type Property struct {
	Key, Value string
	Managed    bool
	Unreadable bool // a stored secret that does not open: another key file, or a damaged row. Value is empty
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
	var page Page
	err := s.DB.ReadInTurn(ctx, func(r store.Reader) error {
		page = Page{Tokens: []Listed{}, Prev: f.Page - 1}
		if err := r.Get([]any{&page.Count}, `SELECT count(*) FROM token WHERE `+where, args...); err != nil {
			return err
		}
		found, err := readAll(r, fmt.Sprintf(`SELECT %s FROM token WHERE %s ORDER BY %s LIMIT $%d OFFSET $%d`,
			columns, where, f.order(), len(args)+1, len(args)+2), append(args, f.PageSize, (f.Page-1)*f.PageSize)...)
		if err != nil {
			return err
		}
		page.Tokens, err = s.describe(r, found)
		return err
	})
	if err != nil {
		return Page{}, fmt.Errorf("list tokens: %w", err)
	}
	if f.Page*f.PageSize < page.Count {
		page.Next = f.Page + 1
	}
	return page, s.nameOwners(ctx, page.Tokens)
}

// describe adds realms and properties, with two statements for any number of tokens.
func (s *Service) describe(r store.Reader, tokens []Token) ([]Listed, error) {
	all, at := make([]Listed, len(tokens)), make(map[string]int, len(tokens))
	for i, t := range tokens {
		all[i] = Listed{Token: t, Realms: []string{}, Properties: s.properties(t)}
		at[t.Serial] = i
	}
	serials, err := json.Marshal(Serials(tokens))
	if err != nil {
		return nil, fmt.Errorf("encode serials: %w", err)
	}
	const among = ` WHERE serial IN (SELECT value FROM json_each($1)) ORDER BY serial, `
	err = store.List(r, func(scan store.Scan) error {
		var serial, realm string
		if err := scan(&serial, &realm); err != nil {
			return err
		}
		if i, ok := at[serial]; ok {
			all[i].Realms = append(all[i].Realms, realm)
		}
		return nil
	}, `SELECT serial, realm FROM token_realm`+among+`realm`, string(serials))
	if err != nil {
		return nil, err
	}
	err = store.List(r, func(scan store.Scan) error {
		var serial string
		var p Property
		if err := scan(&serial, &p.Key, &p.Value); err != nil {
			return err
		}
		if i, ok := at[serial]; ok {
			all[i].Properties = append(all[i].Properties, p)
		}
		return nil
	}, `SELECT serial, key, value FROM token_info`+among+`key`, string(serials))
	return all, err
}

// nameOwners looks the users up, each once. One who is gone leaves the name empty, as does a
// resolver that does not answer: a list must not fail over it. The log names the resolver.
func (s *Service) nameOwners(ctx context.Context, tokens []Listed) error {
	type id struct{ resolver, uid string }
	seen, unread := make(map[id]user.User), make(map[string]bool)
	for i := range tokens {
		t := &tokens[i]
		if !t.HasUser() {
			continue
		}
		key := id{t.Resolver, t.UserID}
		u, ok := seen[key]
		if !ok && !unread[t.Resolver] {
			var err error
			u, err = s.Users.ByUID(ctx, key.resolver, key.uid)
			switch {
			case ctx.Err() != nil:
				return ctx.Err()
			case err != nil && !errors.Is(err, user.ErrNotFound):
				unread[t.Resolver] = true // asked once for a list: it may take long to fail
				s.Log.Warn("users of listed tokens cannot be read", "resolver", t.Resolver, "err", err)
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
		{"serial", f.Serial},
		{"type", f.Type},
		{"description", f.Description},
		{"resolver", f.Resolver},
		{"rollout_state", f.RolloutState},
	} {
		switch {
		case one.text == "":
		case one.column == "serial" && !strings.Contains(one.text, "*"):
			parts = append(parts, f.exactSerial(arg))
		default:
			parts = append(parts, fmt.Sprintf(`lower(%s) LIKE lower(%s) ESCAPE '\'`, one.column, arg(store.Pattern(one.text))))
		}
	}
	if f.Realm != "" {
		parts = append(parts, `serial IN (SELECT serial FROM token_realm
			WHERE lower(realm) LIKE lower(`+arg(store.Pattern(f.Realm))+`) ESCAPE '\')`)
	}
	if f.Owner != nil {
		parts = append(parts, fmt.Sprintf("resolver = %s AND user_id = %s AND user_realm = %s",
			arg(f.Owner.Resolver), arg(f.Owner.UID), arg(f.Owner.Realm)))
	}
	if f.Active != nil {
		parts = append(parts, "active = "+arg(store.Flag(*f.Active)))
	}
	if f.Assigned != nil {
		parts = append(parts, map[bool]string{true: "user_id <> ''", false: "user_id = ''"}[*f.Assigned])
	}
	return strings.Join(parts, " AND "), args
}

// exactSerial is the condition of a serial without a wildcard. Case does not count, as with one, and the
// index token_serial_lower answers.
func (f Filter) exactSerial(arg func(any) string) string {
	return `lower(serial) = lower(` + arg(f.Serial) + `)`
}

// order returns the column that a field of the answer is sorted by.
func (f Filter) order() string {
	column, ok := map[string]string{
		"id":            "id",
		"tokentype":     "type",
		"description":   "description",
		"active":        "active",
		"failcount":     "failcount",
		"maxfail":       "max_failcount",
		"otplen":        "otplen",
		"resolver":      "resolver",
		"user_id":       "user_id",
		"user_realm":    "user_realm",
		"username":      "user_id",
		"rollout_state": "rollout_state",
		"revoked":       "revoked",
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
