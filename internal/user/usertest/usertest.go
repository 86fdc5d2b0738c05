// Package usertest is what every resolver promises.
//
// A resolver's test calls Run with a function that puts persons into a fresh store of its kind.
// What is compared are the properties that the REST API shows, but for the description, which each
// kind of store makes in its own way.
package usertest

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"otpost/internal/secret"
	"otpost/internal/user"
)

// Person is a user with his password; an empty one means that he has none.
type Person struct {
	user.User
	Password secret.Text
}

// Open fills a fresh store and returns its resolver.
type Open func(t *testing.T, persons []Person) user.Resolver

// Persons returns those whom the suite puts into the store, in this order.
func Persons() []Person {
	return []Person{
		{user.User{
			Login:     "alice",
			UID:       "1000",
			Givenname: "Alice",
			Surname:   "Liddell",
			Email:     "alice@example.com",
			Phone:     "+49 151 1",
			Mobile:    "+49 561 1",
		}, "userpw"},
		{user.User{
			Login:     "bob",
			UID:       "1001",
			Givenname: "Bob",
			Surname:   "Builder",
			Email:     "bob@example.com",
		}, "päss wörd"},
		{user.User{Login: "jürgen", UID: "1003", Givenname: "Jürgen", Surname: "Müller"}, ""},
		{user.User{Login: "carol@example.org", UID: "77", Givenname: "Carol", Surname: "van der Berg"}, "userpw"},
	}
}

// Run puts a resolver to the test.
func Run(t *testing.T, open Open) {
	t.Helper()
	t.Run("FindTakesLoginNamesExactly", func(t *testing.T) { find(t, open) })
	t.Run("ByUIDTakesUIDsExactly", func(t *testing.T) { byUID(t, open) })
	t.Run("ListMatchesPatterns", func(t *testing.T) { list(t, open) })
	t.Run("ListOfAnEmptyStoreIsEmpty", func(t *testing.T) {
		t.Parallel()
		users, count, err := open(t, nil).List(t.Context(), nil, user.All)
		if err != nil || users == nil || len(users) != 0 || count != 0 {
			t.Errorf("%v, %d, %v", users, count, err)
		}
	})
	t.Run("PasswordsAreChecked", func(t *testing.T) { passwords(t, open) })
	t.Run("ManyMayAskAtOnce", func(t *testing.T) { concurrently(t, open) })
}

// want fails the test unless got is the person, without realm and resolver. Descriptions are the store's own matter.
func want(t *testing.T, got user.User, err error, person Person) {
	t.Helper()
	got.Description, got.Editable = "", false
	if err != nil || got != person.User {
		t.Errorf("got %+v, %v; want %+v", got, err, person.User)
	}
}

func wantNotFound(t *testing.T, key string, got user.User, err error) {
	t.Helper()
	if !errors.Is(err, user.ErrNotFound) || got != (user.User{}) {
		t.Errorf("%q: got %+v, %v; want ErrNotFound", key, got, err)
	}
}

func find(t *testing.T, open Open) {
	t.Parallel()
	r := open(t, Persons())
	for _, person := range Persons() {
		u, err := r.Find(t.Context(), person.Login)
		want(t, u, err, person)
	}
	for _, login := range []string{"", "nosuch", "alic", "alice ", "a*", "*", "1000", "*)(uid=*", "' OR 1=1 --",
		"alice:x", "carol"} {
		u, err := r.Find(t.Context(), login)
		wantNotFound(t, login, u, err)
	}
}

func byUID(t *testing.T, open Open) {
	t.Parallel()
	r := open(t, Persons())
	for _, person := range Persons() {
		u, err := r.ByUID(t.Context(), person.UID)
		want(t, u, err, person)
	}
	for _, uid := range []string{"", "0", "100", "10000", "alice", "*"} {
		u, err := r.ByUID(t.Context(), uid)
		wantNotFound(t, uid, u, err)
	}
}

func list(t *testing.T, open Open) {
	t.Parallel()
	r := open(t, Persons())
	for _, c := range []struct {
		filter user.Filter
		want   string
	}{
		{nil, "alice bob jürgen carol@example.org"},
		{user.Filter{"username": "*"}, "alice bob jürgen carol@example.org"},
		{user.Filter{"username": "alice"}, "alice"},
		{user.Filter{"username": "ALICE"}, "alice"},
		{user.Filter{"username": "*l*"}, "alice carol@example.org"},
		{user.Filter{"username": "*ü*"}, "jürgen"},
		{user.Filter{"username": "al"}, ""},
		{user.Filter{"username": "*l*", "givenname": "a*"}, "alice"},
		{user.Filter{"userid": "100*"}, "alice bob jürgen"},
		{user.Filter{"surname": "van der*"}, "carol@example.org"},
		{user.Filter{"nosuchproperty": "*"}, ""},
	} {
		users, count, err := r.List(t.Context(), c.filter, user.All)
		if err != nil || count != len(users) {
			t.Errorf("%v: %d of %d, %v", c.filter, len(users), count, err)
			continue
		}
		for most := range len(users) {
			first, count, err := r.List(t.Context(), c.filter, most)
			if err != nil || first == nil || !slices.Equal(first, users[:most]) || count != len(users) {
				t.Errorf("%v, the first %d: %v of %d, %v", c.filter, most, first, count, err)
			}
		}
		logins := []string{}
		for _, u := range users {
			i := slices.IndexFunc(Persons(), func(p Person) bool { return p.Login == u.Login })
			if i < 0 {
				t.Errorf("%v: nobody is called %q", c.filter, u.Login)
				continue
			}
			want(t, u, nil, Persons()[i])
			logins = append(logins, u.Login)
		}
		if got := strings.Join(logins, " "); got != c.want {
			t.Errorf("%v: %q, want %q", c.filter, got, c.want)
		}
	}
}

func passwords(t *testing.T, open Open) {
	t.Parallel()
	r := open(t, Persons())
	check := func(uid string, plain secret.Text, want bool) {
		t.Helper()
		right, err := r.CheckPassword(t.Context(), uid, user.Password{Plain: plain, Client: "192.0.2.1"})
		if err != nil || right != want {
			t.Errorf("uid %q: %v, %v; want %v", uid, right, err, want)
		}
	}
	for _, person := range Persons() {
		check(person.UID, person.Password, person.Password != "")
		check(person.UID, person.Password+"x", false)
		check(person.UID, "", false)
	}
	check("1000", Persons()[1].Password, false)
	for _, uid := range []string{"", "nosuch", "alice"} {
		check(uid, Persons()[0].Password, false)
		check(uid, "", false)
	}
}

func concurrently(t *testing.T, open Open) {
	t.Parallel()
	r := open(t, Persons())
	var group sync.WaitGroup
	for range 8 {
		for _, person := range Persons() {
			group.Go(func() {
				if u, err := r.Find(t.Context(), person.Login); err != nil || u.UID != person.UID {
					t.Errorf("%s: %+v, %v", person.Login, u, err)
				}
			})
		}
	}
	group.Wait()
}
