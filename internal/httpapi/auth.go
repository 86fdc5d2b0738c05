package httpapi

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"otpost/internal/access"
	"otpost/internal/fault"
	"otpost/internal/user"
)

func (s *server) authRoutes() []route {
	return []route{
		{method: "POST", path: "/auth", who: anyone, right: open, handler: s.auth, empty: onAccess, client: true},
		{method: "GET", path: "/auth/rights", who: session, right: signedIn, handler: s.rights, empty: onAccess},
	}
}

// longestName is the length of the longest user name that is looked up, in bytes.
const longestName = 255

// auth answers POST /auth with a session. A local administrator gets in whatever realm is sent along: Java's client
// sends that of the users (docs/compatibility.md, "Clients"). Everybody else is a user of the realm and gives the
// password of the user store.
func (s *server) auth(w http.ResponseWriter, r *http.Request) error {
	p, c := paramsOf(r), callOf(r)
	name := p.Text("username")
	c.entry.Login, c.entry.Realm = name, p.Text("realm")
	if name == "" {
		return fault.New(fault.MissingUser, "no_username", "Authentication failure. Missing Username")
	}
	if p.Text("password") == "" || len(name) > longestName {
		return badCredentials(nil)
	}
	key, err := s.pay(r, name, p)
	if err != nil {
		return err
	}
	id, err := s.recognise(r, name, p)
	if errors.Is(err, user.ErrNotFound) {
		if c.guessed == "" {
			return badCredentials(errUnknownUser)
		}
		return badCredentials(errWrongPassword)
	}
	if err != nil {
		return errors.Join(err, s.Guard.Return(r.Context(), key, c.client)) // our fault
	}
	if err := s.Guard.Clear(r.Context(), key, c.client); err != nil {
		return err
	}
	return s.welcome(w, r, id)
}

// Why /auth refused a guess, for the log.
var (
	errWrongPassword = errors.New("wrong password")
	errUnknownUser   = errors.New("unknown user")
)

// pay counts the guess and returns the name that it counts for. A user's is the same however the name is typed, and an
// administrator's is without the parameter realm, which a guesser could vary. A user store that cannot be read
// knows no names here: recognise returns its error.
func (s *server) pay(r *http.Request, name string, p Params) (key string, err error) {
	ctx, client := r.Context(), callOf(r).client
	key = strings.ToLower(name)
	known, err := s.Administrators.Known(ctx, name)
	if err != nil {
		return "", err
	}
	if !known {
		if u, err := s.userOf(ctx, name, p); err == nil {
			key, known = strings.ToLower(u.Login+"@"+u.Realm), true
		}
	}
	if known {
		callOf(r).guessed = name
		return key, s.Guard.Pay(ctx, key, client)
	}
	return key, s.Guard.PayUnknown(ctx, key, client)
}

// userOf returns the user of a realm whom a typed name means. user.ErrNotFound: there is none.
func (s *server) userOf(ctx context.Context, name string, p Params) (user.User, error) {
	values, err := s.Settings.Load(ctx)
	if err != nil {
		return user.User{}, err
	}
	login, realm, err := s.Users.Split(ctx, name, p.Text("realm"), values.SplitAtSign())
	if err != nil {
		return user.User{}, err
	}
	return s.Users.Find(ctx, login, realm)
}

// recognise returns who name and password belong to. user.ErrNotFound: there is no such user, or the password is
// another.
func (s *server) recognise(r *http.Request, name string, p Params) (access.Identity, error) {
	ctx, c := r.Context(), callOf(r)
	// before the password is checked: one that changes meanwhile ends the session
	mark, err := s.Administrators.Mark(ctx, name)
	if err != nil {
		return access.Identity{}, err
	}
	ok, err := s.Administrators.CheckPassword(ctx, name, p.Secret("password"), c.client)
	if err != nil {
		return access.Identity{}, err
	}
	if ok {
		return access.Identity{Name: name, Role: access.Admin, Mark: mark}, nil
	}
	values, err := s.Settings.Load(ctx)
	if err != nil {
		return access.Identity{}, err
	}
	login, realm, err := s.Users.Split(ctx, name, p.Text("realm"), values.SplitAtSign())
	if err != nil {
		return access.Identity{}, err
	}
	mark, err = s.Users.Mark(ctx, login, realm) // likewise
	if err != nil {
		return access.Identity{}, err
	}
	u, err := s.Users.Authenticate(ctx, login, realm, user.Password{Plain: p.Secret("password"), Client: c.client})
	if err != nil {
		return access.Identity{}, err
	}
	c.entry.Resolver = u.Resolver
	id := access.Identity{Name: u.Login, Realm: u.Realm, Role: access.User, Mark: mark}
	if s.Sessions.Superuser(u.Realm) {
		id.Role = access.Admin
	}
	return id, nil
}

func badCredentials(cause error) error {
	return fault.Wrap(cause, fault.BadCredentials, "password", "Authentication failed.")
}

// welcome answers with a session token and what the web pages of the original read beside it (recorded: auth.json,
// "auth ok").
func (s *server) welcome(w http.ResponseWriter, r *http.Request, id access.Identity) error {
	rights := s.rightsOf(id.Role)
	token, _, err := s.Sessions.Issue(id, rights)
	if err != nil {
		return err
	}
	e := &callOf(r).entry
	e.Login, e.Realm = id.Name, id.Realm
	menus, rss := []string{"users", "tokens"}, 0
	if id.Role == access.Admin {
		e.Login, e.Administrator = "", id.Name
		menus, rss = []string{"tokens", "config", "users"}, 180
	}
	return succeed(w, r, success{authentication: "ACCEPT", detail: nil, value: object{
		"admin_dashboard": false, "audit_page_size": 10, "auth": true, "container_wizard": object{"enabled": false},
		"default_container_type": "generic", "default_tokentype": "hotp", "deletion_confirmation": false, "dialog_no_token": false,
		"hide_buttons": false, "hide_welcome": false, "log_level": 20, "logout_redirect_url": "", "logout_time": 120, "menus": menus,
		"policy_template_url": "/static/policy-templates/", "qr_image_android": nil, "qr_image_custom": nil, "qr_image_ios": nil,
		"realm": id.Realm, "require_description": []string{}, "rights": rights, "role": string(id.Role), "rss_age": rss,
		"search_on_enter": false, "session_persistence": "tab", "show_node": "", "show_seed": false, "subscription_status": 0,
		"timeout_action": "lockscreen", "token": token, "token_page_size": 15, "token_rollover": object{}, "token_wizard": false,
		"token_wizard_2nd": false, "user_details": false, "user_page_size": 15, "username": id.Name,
	}})
}

// rightsOf returns the rights that a role has here, by the table of routes, sorted. A user sees his own tokens
// without a right.
func (s *server) rightsOf(role access.Role) []string {
	rights := []string{}
	for i := range s.routes {
		rt := &s.routes[i]
		needless := rt.right == open || rt.right == signedIn || (role == access.User && rt.right == "tokenlist")
		if !needless && slices.Contains(rt.who.roles(), role) {
			rights = append(append(rights, rt.right), rt.more...)
		}
	}
	slices.Sort(rights)
	return slices.Compact(rights)
}

// require returns fault 303 when the caller lacks a right that a parameter asks for.
func (s *server) require(r *http.Request, right string) error {
	if !slices.Contains(s.rightsOf(callOf(r).identity.Role), right) {
		return fault.Newf(fault.Policy, "right", "You need the right %s for this.", right)
	}
	return nil
}

// rights answers GET /auth/rights: the types of token that the caller may enrol, with a description.
func (s *server) rights(w http.ResponseWriter, r *http.Request) error {
	types := object{}
	if callOf(r).identity.Role == access.Admin {
		types["email"] = "EMail: a one-time password goes to the user's e-mail address."
	}
	return answer(w, r, types)
}
