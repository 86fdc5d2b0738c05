package httpapi

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"otpost/internal/access"
	"otpost/internal/store"
)

// guesses returns how many rows the table of wrong passwords has.
func (r *rig) guesses(where string, args ...any) (n int) {
	r.t.Helper()
	err := r.db.Read(r.t.Context(), func(reader store.Reader) error {
		return reader.Get([]any{&n}, `SELECT count(*) FROM auth_failure WHERE `+where, args...)
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return n
}

func (r *rig) auth(name, realm, password string) got {
	r.t.Helper()
	return r.do("POST", "/auth", "", url.Values{"username": {name}, "realm": {realm}, "password": {password}})
}

// A client that guesses at names without end neither fills the table nor delays the users of its address.
func TestGuessesAtNamesThatDoNotExistLeaveUsersAlone(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.makeRealm("pw", "realm1")
	if err := access.NewAdministrators(r.db, plainPasswords{}).Add(t.Context(), "root", "", "rootpw"); err != nil {
		t.Fatal(err)
	}
	for n := range 200 {
		r.auth(fmt.Sprint("nosuch", n), "", "wrong")
		r.auth("nosuch", fmt.Sprint("realm", n), "wrong")
	}
	if n := r.guesses("1 = 1"); n > 64 {
		t.Errorf("one client made %d rows with 400 guesses", n)
	}
	r.signIn("alice", "realm1")
	if g := r.auth("root", "", "rootpw"); g.status != http.StatusOK {
		t.Errorf("the administrator: %d %s", g.status, g.raw)
	}
}

// Each way to type a user's name leads to the same password, so the guesses of all ways count together.
func TestGuessesAtAUserCountTogetherHoweverTheNameIsTyped(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.makeRealm("pw", "realm1")
	for _, one := range []struct{ name, realm string }{
		{"alice", ""}, {"alice", "realm1"}, {"alice@realm1", ""}, {`realm1\alice`, ""}, {" alice ", "REALM1"},
		{"alice@realm1", ""},
	} {
		r.auth(one.name, one.realm, "wrong")
	}
	if n := r.guesses(`name = 'alice@realm1' AND known = 1`); n != 1 || r.guesses("1 = 1") != 1 {
		t.Errorf("six guesses at one user stand in %d rows", r.guesses("1 = 1"))
	}
	r.want(r.auth("alice", "", "userpw"), http.StatusUnauthorized, 4031, "try again")
}

// The log says whose password was wrong and who waits, and never a name that does not exist: it may be a password.
func TestWrongPasswordIsLoggedWithItsUser(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.makeRealm("pw", "realm1")
	r.auth("admin", "", "wr0ng")
	r.auth("alice", "realm1", "wr0ng")
	r.auth("mypassw0rd", "", "wr0ng")
	for range 4 {
		r.auth("admin", "", "wr0ng")
	}
	log := r.log.String()
	for _, line := range []string{`msg="wrong password" component=httpapi user=admin`,
		`msg="wrong password" component=httpapi user=alice`, `msg="unknown user" component=httpapi client`,
		`msg="held up" component=httpapi user=admin seconds=1`} {
		if !strings.Contains(log, line) {
			t.Errorf("the log lacks %s", line)
		}
	}
	for _, text := range []string{"no such user", "mypassw0rd", "wr0ng"} {
		if strings.Contains(log, text) {
			t.Errorf("the log has %q", text)
		}
	}
	if t.Failed() {
		t.Log(log)
	}
}
