package webui

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// user is a row of GET /user/.
type user struct {
	Username, Realm, Givenname, Surname, Email string
}

// Name returns the name of the person.
func (u user) Name() string { return strings.TrimSpace(u.Givenname + " " + u.Surname) }

// usersPage is the data of the list of users.
type usersPage struct {
	Realms []option
	Realm  string
	Search string
	Users  []user
	More   int     // that match, too, and are not shown
	Above  string  // why there are none to show
	First  []field // the form of the first realm, while there is none and the visitor may make one
}

// unread is REST's number of the refusal that a resolver cannot be read.
const unread = 302

// mostUsers is how many users a page shows. A search by a part of the name finds the others.
const mostUsers = 50

// users lists the users of a realm. Users who are no administrators see their own tokens instead.
func (v *visit) users() error {
	if !v.session.Admin() {
		return v.ownTokens()
	}
	realms, err := v.realms()
	if err != nil {
		return err
	}
	q := v.r.URL.Query()
	p := usersPage{Realms: realms, Realm: q.Get("realm"), Search: strings.TrimSpace(q.Get("search"))}
	if p.Realm == "" && len(realms) > 0 {
		p.Realm = realms[max(0, slices.IndexFunc(realms, func(o option) bool { return o.Chosen }))].Value
	}
	for i := range p.Realms {
		p.Realms[i].Chosen = p.Realms[i].Value == p.Realm
	}
	if p.Realm == "" {
		if v.session.may("resolverwrite") {
			p.First = realmFields()
		}
		v.show(http.StatusOK, "users", p)
		return nil
	}
	asked := url.Values{"realm": {p.Realm}, "limit": {strconv.Itoa(mostUsers)}}
	if p.Search != "" {
		asked.Set("username", "*"+p.Search+"*")
	}
	p.Users, p.More, err = v.usersOf(asked)
	var refused *refusal
	switch {
	case errors.As(err, &refused) && refused.Code == unread:
		p.Above = v.text.say("users.unread", p.Realm)
		v.show(http.StatusOK, "users", p) // the page is whole, and says what is not
		return nil
	case err != nil:
		return err
	}
	v.show(http.StatusOK, "users", p)
	return nil
}

// usersOf asks for users, and returns how many more match.
func (v *visit) usersOf(asked url.Values) (found []user, more int, err error) {
	a, err := v.call(http.MethodGet, "/user/", asked)
	if err != nil {
		return nil, 0, err
	}
	var detail struct{ Count int }
	if err := errors.Join(json.Unmarshal(a.Value, &found), json.Unmarshal(a.Detail, &detail)); err != nil {
		return nil, 0, fmt.Errorf("read the answer of /user/: %w", err)
	}
	return found, detail.Count - len(found), nil
}

// realms returns the realms as choices, by name; the default realm is the chosen one.
func (v *visit) realms() ([]option, error) {
	var all map[string]struct{ Default bool }
	if err := v.get("/realm/", nil, &all); err != nil {
		return nil, err
	}
	choices := make([]option, 0, len(all))
	for name, realm := range all {
		choices = append(choices, option{Value: name, Text: name, Chosen: realm.Default})
	}
	slices.SortFunc(choices, func(a, b option) int { return strings.Compare(a.Value, b.Value) })
	return choices, nil
}

// ownerPage is the data of a user with his tokens.
type ownerPage struct {
	User   user
	Tokens []token
	Own    bool // the visitor's own
}

// userNamed returns a user of a realm. A star in the name is a pattern to the API, not here.
func (v *visit) userNamed(name, realm string) (user, error) {
	var found []user
	err := v.get("/user/", url.Values{"username": {name}, "realm": {realm}}, &found)
	var refused *refusal
	switch {
	case errors.As(err, &refused) && refused.Code == unread:
		return user{}, v.refusal(http.StatusInternalServerError, "users.unread", realm)
	case err != nil && status(err) != http.StatusBadRequest:
		return user{}, err
	}
	for _, u := range found {
		if u.Username == name && u.Realm == realm {
			return u, nil
		}
	}
	return user{}, v.refusal(http.StatusNotFound, "users.unknown", name, realm)
}

// owner shows a user and his tokens.
func (v *visit) owner() error {
	u, err := v.userNamed(v.r.URL.Query().Get("user"), v.r.URL.Query().Get("realm"))
	if err != nil {
		return err
	}
	tokens, err := v.tokensOf(url.Values{"user": {u.Username}, "realm": {u.Realm}})
	if err != nil {
		return err
	}
	v.show(http.StatusOK, "owner", ownerPage{User: u, Tokens: tokens})
	return nil
}

// ownTokens shows the tokens of a user who is no administrator.
func (v *visit) ownTokens() error {
	tokens, err := v.tokensOf(url.Values{})
	if err != nil {
		return err
	}
	v.show(http.StatusOK, "owner", ownerPage{User: user{Username: v.session.Name, Realm: v.session.Realm}, Tokens: tokens, Own: true})
	return nil
}
