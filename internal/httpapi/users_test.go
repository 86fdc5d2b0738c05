package httpapi

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"otpost/internal/secret"
	"otpost/internal/store"
	"otpost/internal/user"
)

// people is a store of users in memory, all with one password.
type people struct {
	list     []user.User
	password secret.Text
}

func (p people) pick(fits func(user.User) bool) (user.User, error) {
	for _, u := range p.list {
		if fits(u) {
			return u, nil
		}
	}
	return user.User{}, user.ErrNotFound
}

func (p people) Find(_ context.Context, login string) (user.User, error) {
	return p.pick(func(u user.User) bool { return u.Login == login })
}

func (p people) ByUID(_ context.Context, uid string) (user.User, error) {
	return p.pick(func(u user.User) bool { return u.UID == uid })
}

func (p people) List(_ context.Context, f user.Filter, most int) ([]user.User, int, error) {
	found := []user.User{}
	for _, u := range p.list {
		if f.Match(u) {
			found = append(found, u)
		}
	}
	return found[:min(most, len(found))], len(found), nil
}

func (p people) CheckPassword(ctx context.Context, uid string, typed user.Password) (bool, error) {
	_, err := p.ByUID(ctx, uid)
	return err == nil && typed.Plain == p.password, nil
}

func (p people) PasswordMark(context.Context, string) (secret.Text, error) { return p.password, nil }

// usersOf returns a directory whose resolvers of type passwdresolver hold alice and bob; the parameter "without" leaves one of
// them out, "password" is their password, else "userpw".
func usersOf(t *testing.T, db *store.DB) *user.Directory {
	t.Helper()
	open := func(_ string, parameters map[string]string) (user.Resolver, error) {
		if parameters["fileName"] == "refused" {
			return nil, errors.New("refused")
		}
		list := []user.User{{Login: "alice", UID: "1000", Email: "alice@example.com"}, {Login: "bob", UID: "1001"}}
		switch parameters["fileName"] {
		case "missing":
			return absent{}, nil
		case "empty":
			list = nil
		}
		list = slices.DeleteFunc(list, func(u user.User) bool { return u.Login == parameters["without"] })
		return people{list, secret.Text(cmp.Or(parameters["password"], "userpw"))}, nil
	}
	return user.New(db, user.Options{Types: map[string]user.Type{"passwdresolver": open}})
}

// absent are users whose file does not exist.
type absent struct{ people }

func (absent) List(context.Context, user.Filter, int) ([]user.User, int, error) {
	return nil, 0, fs.ErrNotExist
}

func TestResolverWithoutUsersIsSavedWithAWarning(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for file, want := range map[string]string{
		"missing":      "fileName: there is no such file yet",
		"empty":        "fileName: there is no line with a user in this file",
		"users.passwd": "",
		"":             "",
	} {
		g := r.do("POST", "/resolver/pw", r.admin, url.Values{"type": {"passwdresolver"}, "fileName": {file}})
		detail, _ := g.json["detail"].(map[string]any)
		if warning, _ := detail["warning"].(string); g.status != http.StatusOK || warning != want {
			t.Errorf("file %q: %d %s, want the warning %q", file, g.status, g.raw, want)
		}
	}
	if log := r.log.String(); strings.Count(log, "no user can be read") != 2 {
		t.Errorf("the log has not one line for each warning:\n%s", log)
	}
}

// A session of a realm's user, be he an administrator or not, rests on what the resolver says at each request.
func TestSessionOfARealmEndsWithWhatItRestsOn(t *testing.T) {
	t.Parallel()
	for _, realm := range []string{"realm1", "admins"} {
		for name, act := range map[string]struct {
			method, path string
			body         any
		}{
			"password": {"POST", "/resolver/pw", object{"type": "passwdresolver", "password": "another"}},
			"user":     {"POST", "/resolver/pw", object{"type": "passwdresolver", "without": "alice"}},
			"realm":    {"DELETE", "/realm/" + realm, nil},
			"resolver": {"POST", "/realm/" + realm, object{"resolvers": "pw2"}},
		} {
			t.Run(realm+" "+name, func(t *testing.T) {
				t.Parallel()
				r := newRig(t)
				r.makeRealm("pw", realm)
				r.do("POST", "/resolver/pw2", r.admin, object{"type": "passwdresolver"})
				session := r.signIn("alice", realm)
				paths := []string{"/token/", "/user/", "/auth/rights"}
				for _, path := range paths {
					if g := r.do("GET", path, session, nil); g.status != http.StatusOK {
						t.Fatalf("%s before: %d %s", path, g.status, g.raw)
					}
				}
				if g := r.do(act.method, act.path, r.admin, act.body); g.status != http.StatusOK {
					t.Fatalf("act: %s", g.raw)
				}
				for _, path := range paths {
					r.want(r.do("GET", path, session, nil), http.StatusUnauthorized, 4304, "the session has ended")
				}
			})
		}
	}
}

func TestSessionOfARealmOutlivesOtherChanges(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.makeRealm("pw", "realm1")
	session := r.signIn("alice", "realm1")
	r.do("POST", "/resolver/pw", r.admin, object{"type": "passwdresolver", "without": "bob"})
	r.do("POST", "/realm/realm1", r.admin, object{"resolvers": "pw", "priority.pw": 7})
	if g := r.do("GET", "/token/", session, nil); g.status != http.StatusOK {
		t.Errorf("answer: %d %s", g.status, g.raw)
	}
}

func TestUsersCanBeLimited(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.makeRealm("pw", "realm1")
	all := r.do("GET", "/user/", r.admin, nil)
	if list, _ := all.value().([]any); len(list) != 2 || all.json["detail"] != nil {
		t.Errorf("without a limit: %s", all.raw)
	}
	some := r.do("GET", "/user/?limit=1", r.admin, nil)
	if list, _ := some.value().([]any); len(list) != 1 || some.detail()["count"] != 2.0 {
		t.Errorf("with a limit: %s", some.raw)
	}
	r.want(r.do("GET", "/user/?limit=0", r.admin, nil), http.StatusBadRequest, 905, "limit")
}

func TestSecretsOfResolversAreNeverShown(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, name := range []string{"BINDPW", "Password", "client_secret"} {
		r.do("POST", "/resolver/pw", r.admin, object{"type": "passwdresolver", "fileName": "users", name: "hidden text"})
	}
	// as a form sends it back
	r.do("POST", "/resolver/pw", r.admin, object{"type": "passwdresolver", "BINDPW": user.Censored})
	g := r.do("GET", "/resolver/pw", r.admin, nil)
	if strings.Contains(g.raw, "hidden text") ||
		!strings.Contains(g.raw, `"censor_keys": ["BINDPW", "Password", "client_secret"]`) ||
		!strings.Contains(g.raw, `"fileName": "users"`) {
		t.Errorf("resolver: %s", g.raw)
	}
	list, err := usersOf(t, r.db).Resolvers(t.Context())
	if err != nil || len(list) != 1 || list[0].Parameters["BINDPW"] != "hidden text" {
		t.Errorf("the secret that was sent back censored is not kept: %v", err)
	}
}
