package httpapi

import (
	"context"
	"errors"
	"net/http"

	"otpost/internal/fault"
	"otpost/internal/token"
	"otpost/internal/user"
)

func (s *server) tokenRoutes() []route {
	act := func(name, right string, h handler) []route { // the serial stands in the path or in the body
		return []route{
			{method: "POST", path: "/token/" + name, who: admins, right: right, handler: h},
			{method: "POST", path: "/token/" + name + "/{serial}", who: admins, right: right, handler: h},
		}
	}
	routes := []route{
		{method: "GET", path: "/token/{$}", who: session, right: "tokenlist", handler: s.tokens},
		{method: "POST", path: "/token/init", who: admins, right: "enrollEMAIL", handler: s.initToken},
		{method: "DELETE", path: "/token/{serial}", who: admins, right: "delete", handler: s.count((*token.Service).Delete)},
		{method: "POST", path: "/token/assign", who: admins, right: "assign", handler: s.assign},
		{method: "POST", path: "/token/info/{serial}/{key}", who: admins, right: "settokeninfo", handler: s.setInfo},
		{method: "DELETE", path: "/token/info/{serial}/{key}", who: admins, right: "settokeninfo", handler: s.deleteInfo},
		{method: "GET", path: "/token/challenges/{$}", who: admins, right: "getchallenges", handler: s.challenges},
		{method: "GET", path: "/token/challenges/{serial}", who: admins, right: "getchallenges", handler: s.challenges},
	}
	routes = append(routes, act("enable", "enable", s.count((*token.Service).Enable))...)
	routes = append(routes, act("disable", "disable", s.count((*token.Service).Disable))...)
	routes = append(routes, act("reset", "reset", s.count((*token.Service).Reset))...)
	routes = append(routes, act("revoke", "revoke", s.count((*token.Service).Revoke))...)
	routes = append(routes, act("unassign", "unassign", s.count((*token.Service).Unassign))...)
	routes = append(routes, act("setpin", "setpin", s.setPIN)...)
	routes = append(routes, act("set", "set", s.setToken)...)
	routes = append(routes, act("description", "setdescription", s.setDescription)...)
	return append(routes, act("realm", "tokenrealms", s.setRealms)...)
}

// count answers the acts that return how many tokens they changed.
func (s *server) count(act func(*token.Service, context.Context, token.Selection) (int, error)) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		sel, err := s.selection(r)
		if err != nil {
			return err
		}
		n, err := act(s.Tokens, r.Context(), sel)
		if err != nil {
			return err
		}
		return answer(w, r, n)
	}
}

// selection reads which token a request is about: by serial, in the path or not, or by user.
func (s *server) selection(r *http.Request) (token.Selection, error) {
	serial, err := pathOf(r, "serial")
	if err != nil {
		return token.Selection{}, err
	}
	if serial == "" {
		serial = paramsOf(r).Text("serial")
	}
	owner, err := s.owner(r)
	if err != nil {
		return token.Selection{}, err
	}
	callOf(r).entry.Serial = serial
	return token.Selection{Serial: serial, Owner: owner}, nil
}

// owner returns the user that the parameters user, realm and resolver name; nil when none is named. An unknown one
// is the recorded fault 904 (token.json, "init email unknown user").
func (s *server) owner(r *http.Request) (*user.User, error) {
	p := paramsOf(r)
	if p.Text("user") == "" {
		return nil, nil
	}
	values, err := s.Settings.Load(r.Context())
	if err != nil {
		return nil, err
	}
	login, realm, err := s.Users.Split(r.Context(), p.Text("user"), p.Text("realm"), values.SplitAtSign())
	if err != nil {
		return nil, err
	}
	e := &callOf(r).entry
	e.Login, e.Realm = login, realm
	u, err := s.Users.Find(r.Context(), login, realm)
	if errors.Is(err, user.ErrNotFound) || (err == nil && p.Text("resolver") != "" && p.Text("resolver") != u.Resolver) {
		return nil, fault.New(fault.User, "no_user_in_realm", "ERR904: The user can not be found in any resolver in this realm!")
	}
	if err != nil {
		return nil, err
	}
	e.Resolver = u.Resolver
	return &u, nil
}

// optional returns a text parameter, or nil when it was not given.
func optional(p Params, name string) *string {
	if !p.Has(name) {
		return nil
	}
	text := p.Text(name)
	return &text
}

// optionalInt returns a number parameter, or nil when it was not given. Its range is the token's to check.
func optionalInt(p Params, name string) (*int, error) {
	if p.Text(name) == "" {
		return nil, nil
	}
	n, err := p.Int(name, 0, -1<<31, 1<<31-1)
	return &n, err
}

// pinOf returns a PIN parameter, or nil when none of the names was given.
func pinOf(p Params, names ...string) *token.Text {
	for _, name := range names {
		if p.Has(name) {
			pin := p.Secret(name)
			return &pin
		}
	}
	return nil
}

// initToken answers POST /token/init. genkey and otpkey are taken and ignored: e-mail tokens have no seed, so that
// nothing that holds one is returned.
func (s *server) initToken(w http.ResponseWriter, r *http.Request) error {
	p := paramsOf(r)
	owner, err := s.owner(r)
	if err != nil {
		return err
	}
	digits, err := p.Int("otplen", 0, 0, 1000)
	if err != nil {
		return err
	}
	dynamic, err := p.Bool("dynamic_email", false)
	if err != nil {
		return err
	}
	kind := p.Text("type")
	if kind == "" {
		kind = "hotp" // the original's default
	}
	t, err := s.Tokens.Init(r.Context(), token.Enrolment{
		Type: kind, Serial: p.Text("serial"), Email: p.Text("email"), DynamicEmail: dynamic,
		EmailIdentifier: p.Text("email.identifier"), PIN: pinOf(p, "pin"), OTPLen: digits, Description: optional(p, "description"), Owner: owner,
	})
	if err != nil {
		return err
	}
	e := &callOf(r).entry
	e.Serial, e.TokenType = t.Serial, t.Type
	return succeed(w, r, success{value: true, detail: object{"serial": t.Serial, "rollout_state": t.RolloutState}})
}

// assign answers POST /token/assign.
func (s *server) assign(w http.ResponseWriter, r *http.Request) error {
	p := paramsOf(r)
	serial, err := p.Required("serial")
	if err != nil {
		return err
	}
	if _, err := p.Required("user"); err != nil {
		return err
	}
	owner, err := s.owner(r)
	if err != nil {
		return err
	}
	callOf(r).entry.Serial = serial
	if err := s.Tokens.Assign(r.Context(), serial, *owner, pinOf(p, "pin")); err != nil {
		return err
	}
	return answer(w, r, true)
}

// setPIN answers POST /token/setpin: 0 when there is no PIN in it.
func (s *server) setPIN(w http.ResponseWriter, r *http.Request) error {
	sel, err := s.selection(r)
	if err != nil {
		return err
	}
	n, err := s.Tokens.SetPIN(r.Context(), sel, pinOf(paramsOf(r), "otppin", "pin"))
	if err != nil {
		return err
	}
	return answer(w, r, n)
}

// setToken answers POST /token/set.
func (s *server) setToken(w http.ResponseWriter, r *http.Request) error {
	p := paramsOf(r)
	sel, err := s.selection(r)
	if err != nil {
		return err
	}
	changes := token.Changes{PIN: pinOf(p, "pin"), Description: optional(p, "description")}
	for name, field := range map[string]**int{"max_failcount": &changes.MaxFailCount, "otplen": &changes.OTPLen,
		"count_window": &changes.CountWindow, "sync_window": &changes.SyncWindow} {
		if *field, err = optionalInt(p, name); err != nil {
			return err
		}
	}
	n, err := s.Tokens.Set(r.Context(), sel, changes)
	if err != nil {
		return err
	}
	return answer(w, r, n)
}

// setDescription answers POST /token/description.
func (s *server) setDescription(w http.ResponseWriter, r *http.Request) error {
	sel, err := s.selection(r)
	if err != nil {
		return err
	}
	if !paramsOf(r).Has("description") {
		return fault.Missing("description")
	}
	if err := s.Tokens.SetDescription(r.Context(), sel, paramsOf(r).Text("description")); err != nil {
		return err
	}
	return answer(w, r, true)
}

// setRealms answers POST /token/realm.
func (s *server) setRealms(w http.ResponseWriter, r *http.Request) error {
	sel, err := s.selection(r)
	if err != nil {
		return err
	}
	if !paramsOf(r).Has("realms") {
		return fault.Missing("realms")
	}
	if err := s.Tokens.SetRealms(r.Context(), sel, paramsOf(r).List("realms")); err != nil {
		return err
	}
	return answer(w, r, true)
}

// setInfo answers POST /token/info/<serial>/<key>.
func (s *server) setInfo(w http.ResponseWriter, r *http.Request) error {
	sel, key, err := s.infoKey(r)
	if err != nil {
		return err
	}
	if !paramsOf(r).Has("value") {
		return fault.Missing("value")
	}
	if err := s.Tokens.SetInfo(r.Context(), sel, key, paramsOf(r).Text("value")); err != nil {
		return err
	}
	return answer(w, r, true)
}

// deleteInfo answers DELETE /token/info/<serial>/<key>.
func (s *server) deleteInfo(w http.ResponseWriter, r *http.Request) error {
	sel, key, err := s.infoKey(r)
	if err != nil {
		return err
	}
	if err := s.Tokens.DeleteInfo(r.Context(), sel, key); err != nil {
		return err
	}
	return answer(w, r, true)
}

func (s *server) infoKey(r *http.Request) (token.Selection, string, error) {
	sel, err := s.selection(r)
	if err != nil {
		return sel, "", err
	}
	key, err := pathOf(r, "key")
	callOf(r).entry.Info = key
	return sel, key, err
}
