package user_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"otpost/internal/fault"
	"otpost/internal/fault/faulttest"
	"otpost/internal/pinhash"
	"otpost/internal/secret"
	"otpost/internal/store"
	"otpost/internal/store/storetest"
	"otpost/internal/user"
)

// memory is a resolver of users in a parameter: "alice bob". A user's UID is his login with a !
// behind it, his password his login. The word "broken" makes every question fail, "busy" every
// password check, and "refused" may not be kept.
type memory string

var errBroken = errors.New("the store is broken")

func (m memory) Find(ctx context.Context, login string) (user.User, error) {
	return m.ByUID(ctx, login+"!")
}

func (m memory) ByUID(ctx context.Context, uid string) (user.User, error) {
	list, _, err := m.List(ctx, nil, user.All)
	if err != nil {
		return user.User{}, err
	}
	for _, u := range list {
		if u.UID == uid {
			return u, nil
		}
	}
	return user.User{}, user.ErrNotFound
}

func (m memory) List(_ context.Context, f user.Filter, most int) ([]user.User, int, error) {
	list := []user.User{}
	for login := range strings.FieldsSeq(string(m)) {
		if login == "broken" {
			return nil, 0, errBroken
		}
		if u := (user.User{Login: login, UID: login + "!"}); f.Match(u) {
			list = append(list, u)
		}
	}
	return list[:min(most, len(list))], len(list), nil
}

func (m memory) Check(context.Context) error {
	if m == "refused" {
		return fault.Wrong("users", "refused", "refused.")
	}
	return nil
}

func (m memory) CheckPassword(ctx context.Context, uid string, p user.Password) (bool, error) {
	if strings.Contains(string(m), "busy") {
		return false, fmt.Errorf("check: %w", pinhash.ErrBusy)
	}
	u, err := m.ByUID(ctx, uid)
	return err == nil && u.Login == p.Plain.Reveal(), nil
}

// home is a directory over a fresh database.
type home struct {
	t  *testing.T
	db *store.DB
	*user.Directory
}

func newHome(t *testing.T) home {
	t.Helper()
	db := storetest.Open(t, nil)
	return home{t, db, directoryOf(db)}
}

func directoryOf(db *store.DB) *user.Directory {
	return user.New(db, user.Options{Types: memories(),
		Verifier: pinhash.New(pinhash.Options{Params: pinhash.Params{Passes: 1, MemoryKiB: 8}})})
}

func memories() map[string]user.Type {
	return map[string]user.Type{"memory": func(_ string, parameters map[string]string) (user.Resolver, error) {
		return memory(parameters["users"]), nil
	}}
}

func (h home) resolver(name, users string) int64 {
	h.t.Helper()
	id, err := h.SaveResolver(h.t.Context(), user.Definition{Name: name, Type: "memory",
		Parameters: map[string]string{"users": users}})
	if err != nil {
		h.t.Fatal(err)
	}
	return id
}

func (h home) realm(name string, resolvers ...string) {
	h.t.Helper()
	var members []user.Member
	for _, r := range resolvers {
		members = append(members, user.Member{Name: r})
	}
	if _, _, err := h.SaveRealm(h.t.Context(), name, members); err != nil {
		h.t.Fatal(err)
	}
}

func password(plain string) user.Password {
	return user.Password{Plain: secret.Text(plain), Client: "192.0.2.1"}
}

func (h home) find(login, realm string) string {
	h.t.Helper()
	u, err := h.Find(h.t.Context(), login, realm)
	switch {
	case errors.Is(err, user.ErrNotFound):
		return "nobody"
	case err != nil:
		h.t.Fatal(err)
	}
	return u.Login + " of " + u.Resolver + " in " + u.Realm
}

// wantFault checks number and sentence.
func wantFault(t *testing.T, err error, code fault.Code, message string) {
	t.Helper()
	faulttest.Check(t, err)
	var f *fault.Error
	if !errors.As(err, &f) || f.Code != code || !strings.Contains(f.Message, message) {
		t.Errorf("got %v; want %d %q", err, code, message)
	}
}

func TestFirstResolverByPriorityWins(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	h.resolver("a", "alice zoe")
	h.resolver("b", "alice bob")
	h.resolver("c", "alice carol")
	high, low := int64(1), int64(5)
	_, _, err := h.SaveRealm(t.Context(), "Realm1", []user.Member{{Name: "a"}, {Name: "b", Priority: &low},
		{Name: "c", Priority: &high}})
	if err != nil {
		t.Fatal(err)
	}
	for login, want := range map[string]string{
		"alice": "alice of c in realm1", "bob": "bob of b in realm1", "zoe": "zoe of a in realm1", "nosuch": "nobody",
		"": "nobody", "Alice": "nobody",
	} {
		if got := h.find(login, "REALM1"); got != want {
			t.Errorf("%q: %s, want %s", login, got, want)
		}
	}
	if got := h.find("alice", "nosuch"); got != "nobody" {
		t.Errorf("unknown realm: %s", got)
	}
	if got := h.find("alice", ""); got != "nobody" {
		t.Errorf("no realm: %s", got)
	}
}

func TestBrokenResolverIsNoUnknownUser(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	h.resolver("down", "broken")
	h.resolver("up", "alice")
	h.realm("r", "down", "up")
	if u, err := h.Find(t.Context(), "alice", "r"); !errors.Is(err, errBroken) || errors.Is(err, user.ErrNotFound) {
		t.Errorf("%+v, %v", u, err)
	}
	if _, _, err := h.List(t.Context(), "r", "", nil, user.All); !errors.Is(err, errBroken) {
		t.Errorf("the list: %v", err)
	} else {
		wantFault(t, err, fault.Config, "The users of the resolver 'down' cannot be read.")
	}
	if _, err := h.TestResolver(t.Context(), user.Definition{Type: "memory",
		Parameters: map[string]string{"users": "broken"}}); err == nil {
		t.Error("the test says that it works")
	} else {
		wantFault(t, err, fault.Parameter, "does not work")
	}
	if n, err := h.TestResolver(t.Context(), user.Definition{Type: "memory",
		Parameters: map[string]string{"users": "a b"}}); n != 2 || err != nil {
		t.Errorf("test: %d, %v", n, err)
	}
}

func TestResolverThatRefusesItsParametersIsNotKept(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	refused := user.Definition{Name: "pw", Type: "memory", Parameters: map[string]string{"users": "refused"}}
	_, err := h.SaveResolver(t.Context(), refused)
	wantFault(t, err, fault.Parameter, "ERR905: Parameter users: refused.")
	_, err = h.TestResolver(t.Context(), refused)
	wantFault(t, err, fault.Parameter, "ERR905: Parameter users: refused.")
	h.resolver("pw", "alice")
	_, err = h.SaveResolver(t.Context(), refused)
	wantFault(t, err, fault.Parameter, "ERR905: Parameter users: refused.")
	list, err := h.Resolvers(t.Context())
	if err != nil || len(list) != 1 || list[0].Parameters["users"] != "alice" {
		t.Errorf("%+v, %v", list, err)
	}
}

func TestByUIDFindsWhomATokenNames(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	h.resolver("a", "alice")
	u, err := h.ByUID(t.Context(), "a", "alice!")
	if err != nil || u.Login != "alice" || u.Resolver != "a" || u.Realm != "" {
		t.Errorf("%+v, %v", u, err)
	}
	for _, pair := range [][2]string{{"a", "alice"}, {"nosuch", "alice!"}} {
		if _, err := h.ByUID(t.Context(), pair[0], pair[1]); !errors.Is(err, user.ErrNotFound) {
			t.Errorf("%v: %v", pair, err)
		}
	}
}

func TestSplitTakesARealmOnlyWhereThereIsOne(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	h.resolver("a", "alice")
	h.realm("realm1", "a") // the first one, so the default
	h.realm("realm2", "a")
	for _, c := range []struct {
		name, realm string
		split       bool
		want        string
	}{
		{"alice", "", true, "alice|realm1"},
		{"alice", "Realm2", true, "alice|realm2"},
		{"alice@realm2", "", true, "alice|realm2"},
		{"alice@REALM2", "", true, "alice|realm2"},
		{"alice@realm2", "", false, "alice@realm2|realm1"},
		{"alice@example.com", "", true, "alice@example.com|realm1"},
		{"alice@example.com@realm2", "", true, "alice@example.com|realm2"},
		{"alice@realm2", "realm1", true, "alice|realm1"},
		{`realm2\alice`, "", true, "alice|realm2"},
		{`corp\alice`, "", true, `corp\alice|realm1`},
		{"@realm2", "", true, "@realm2|realm1"},
		{" alice ", "", true, "alice|realm1"},
		{"alice", "nosuch", true, "alice|nosuch"},
	} {
		login, realm, err := h.Split(t.Context(), c.name, c.realm, c.split)
		if got := login + "|" + realm; err != nil || got != c.want {
			t.Errorf("%q, %q, %v: %s, %v; want %s", c.name, c.realm, c.split, got, err, c.want)
		}
	}
	if _, err := h.ClearDefaultRealm(t.Context()); err != nil {
		t.Fatal(err)
	}
	if login, realm, err := h.Split(t.Context(), "alice", "", true); login != "alice" || realm != "" || err != nil {
		t.Errorf("no default realm: %q, %q, %v", login, realm, err)
	}
}

// TestRealmsAsRecorded walks through testdata/rest/realm.json.
func TestRealmsAsRecorded(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	ctx := t.Context()
	h.resolver("pw", "alice")
	h.resolver("sql", "sqluser")
	three := int64(3)
	create := func(name string, members ...user.Member) string {
		t.Helper()
		added, failed, err := h.SaveRealm(ctx, name, members)
		if err != nil {
			t.Fatal(err)
		}
		return "added " + strings.Join(added, ",") + " failed " + strings.Join(failed, ",")
	}
	pw, sql := user.Member{Name: "pw"}, user.Member{Name: "sql"}
	for want, got := range map[string]string{
		"added pw failed ":       create("realm1", pw),
		"added sql failed ":      create("realm2", user.Member{Name: "sql", Priority: &three}),
		"added pw,sql failed ":   create("ReALM3", pw, sql),
		"added pw failed nosuch": create("realm4", pw, user.Member{Name: "nosuch"}),
	} {
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	_, _, err := h.SaveRealm(ctx, "realm5", nil)
	wantFault(t, err, fault.Parameter, "ERR905: Missing parameter: resolvers")
	create("re alm", pw)
	realms, err := h.Realms(ctx)
	pw.Type, sql.Type = "memory", "memory"
	prior := sql
	prior.Priority = &three
	want := []user.Realm{
		{ID: 1, Name: "realm1", Default: true, Resolvers: []user.Member{pw}},
		{ID: 2, Name: "realm2", Resolvers: []user.Member{prior}},
		{ID: 3, Name: "realm3", Resolvers: []user.Member{pw, sql}},
		{ID: 4, Name: "realm4", Resolvers: []user.Member{pw}},
		{ID: 5, Name: "re-alm", Resolvers: []user.Member{pw}},
	}
	if diff := cmp.Diff(want, realms); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	_, err = h.DeleteResolver(ctx, "pw")
	wantFault(t, err, fault.Config, "ERR302: The resolver 'pw' is still contained in realm 'realm1'.")
	if id, err := h.DeleteRealm(ctx, "realm3"); id != 3 || err != nil {
		t.Errorf("delete: %d, %v", id, err)
	}
	_, err = h.DeleteRealm(ctx, "nosuch")
	wantFault(t, err, fault.NotFound, "The requested Realm could not be found.")
}

// TestDefaultRealmAsRecorded walks through the second half of testdata/rest/realm.json.
func TestDefaultRealmAsRecorded(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	ctx := t.Context()
	h.resolver("pw", "alice")
	h.realm("realm1", "pw")
	h.realm("realm2", "pw")
	wantDefault := func(want string) {
		t.Helper()
		realms, err := h.Realms(ctx)
		name := ""
		for _, r := range realms {
			if r.Default {
				name += r.Name
			}
		}
		if name != want || err != nil {
			t.Errorf("default realm %q, %v; want %q", name, err, want)
		}
	}
	wantDefault("realm1")
	if id, err := h.SetDefaultRealm(ctx, "Realm2"); id != 2 || err != nil {
		t.Errorf("set: %d, %v", id, err)
	}
	wantDefault("realm2")
	_, err := h.SetDefaultRealm(ctx, "nosuch")
	wantFault(t, err, fault.NotFound, "The requested Realm could not be found.")
	wantDefault("realm2")
	for _, want := range []int64{2, 0} {
		if id, err := h.ClearDefaultRealm(ctx); id != want || err != nil {
			t.Errorf("clear: %d, %v; want %d", id, err, want)
		}
	}
	wantDefault("")
	h.realm("realm3", "pw")
	wantDefault("")
	if id, err := h.SetDefaultRealm(ctx, "realm1"); id != 1 || err != nil {
		t.Errorf("set: %d, %v", id, err)
	}
	wantDefault("realm1")
}

func TestRealmIsLeftAloneWhenNoneOfItsNewResolversExists(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	h.resolver("pw", "alice")
	h.realm("r", "pw")
	added, failed, err := h.SaveRealm(t.Context(), "r", []user.Member{{Name: "typo"}})
	if err != nil || len(added) != 0 || len(failed) != 1 {
		t.Errorf("added %v, failed %v, %v", added, failed, err)
	}
	if got := h.find("alice", "r"); got != "alice of pw in r" {
		t.Errorf("got %s", got)
	}
	for _, name := range []string{"", " ", "a/b", "ré", "a\nb"} {
		_, _, err := h.SaveRealm(t.Context(), name, []user.Member{{Name: "pw"}})
		wantFault(t, err, fault.Parameter, "name of a realm")
	}
}

// TestResolversAsRecorded walks through testdata/rest/resolver.json.
func TestResolversAsRecorded(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	ctx := t.Context()
	if list, err := h.Resolvers(ctx); err != nil || list == nil || len(list) != 0 {
		t.Errorf("list empty: %v, %v", list, err)
	}
	if first, second := h.resolver("pw", "alice"), h.resolver("other", "bob"); first != 1 || second != 2 {
		t.Errorf("ids %d, %d", first, second)
	}
	_, err := h.SaveResolver(ctx, user.Definition{Name: "bad"})
	wantFault(t, err, fault.Parameter, "ERR905: Missing parameter: type")
	_, err = h.SaveResolver(ctx, user.Definition{Name: "bad", Type: "nosuch"})
	wantFault(t, err, fault.Parameter, "no resolver type 'nosuch'. This version has: memory.")
	_, err = h.SaveResolver(ctx, user.Definition{Name: "b/d", Type: "memory"})
	wantFault(t, err, fault.Parameter, "name of a resolver")
	for name, want := range map[string]int64{"nosuch": -1, "other": 2} {
		if id, err := h.DeleteResolver(ctx, name); id != want || err != nil {
			t.Errorf("delete %s: %d, %v", name, id, err)
		}
	}
}

func TestSavedAgainAResolverKeepsItsIDAndWhatIsNotGiven(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	ctx := t.Context()
	save := func(parameters map[string]string) int64 {
		t.Helper()
		id, err := h.SaveResolver(ctx, user.Definition{Name: "pw", Type: "memory", Parameters: parameters})
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	if a, b := save(map[string]string{"users": "alice", "x": "1", "y": "2", "empty": ""}),
		save(map[string]string{"users": "bob", "x": ""}); a != b {
		t.Errorf("ids %d, %d", a, b)
	}
	list, err := h.Resolvers(ctx)
	want := []user.Definition{{ID: 1, Name: "pw", Type: "memory", Parameters: map[string]string{"users": "bob",
		"y": "2"}}}
	if diff := cmp.Diff(want, list); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
}

func TestChangesCountInOtherProcessesAtOnce(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	other := home{t, h.db, directoryOf(h.db)}
	h.resolver("pw", "alice")
	h.realm("r", "pw")
	if got := other.find("alice", "r"); got != "alice of pw in r" {
		t.Errorf("got %s", got)
	}
	h.resolver("pw", "bob")
	if got := other.find("alice", "r") + ", " + other.find("bob", "r"); got != "nobody, bob of pw in r" {
		t.Errorf("got %s", got)
	}
	if _, err := h.DeleteRealm(t.Context(), "r"); err != nil {
		t.Fatal(err)
	}
	if got := other.find("bob", "r"); got != "nobody" {
		t.Errorf("got %s", got)
	}
}

func TestListGoesRealmByRealm(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	h.resolver("pw", "alice bob")
	h.resolver("sql", "sqluser")
	h.resolver("in-no-realm", "carol")
	h.realm("z", "pw", "sql")
	h.realm("a", "pw")
	for _, c := range []struct {
		realm, resolver string
		filter          user.Filter
		want            string
	}{
		{"", "", nil, "alice@z/pw bob@z/pw sqluser@z/sql alice@a/pw bob@a/pw"},
		{"A", "", nil, "alice@a/pw bob@a/pw"},
		{"", "sql", nil, "sqluser@z/sql"},
		{"nosuch", "", nil, ""},
		{"", "nosuch", nil, ""},
		{"", "", user.Filter{"username": "*b"}, "bob@z/pw bob@a/pw"},
	} {
		users, count, err := h.List(t.Context(), c.realm, c.resolver, c.filter, user.All)
		if err != nil || users == nil || count != len(users) {
			t.Errorf("%+v: %v, %d, %v", c, users, count, err)
		}
		for most := range len(users) {
			first, count, err := h.List(t.Context(), c.realm, c.resolver, c.filter, most)
			if err != nil || !slices.Equal(first, users[:most]) || count != len(users) {
				t.Errorf("%+v, the first %d: %v, %d, %v", c, most, first, count, err)
			}
		}
		var got []string
		for _, u := range users {
			got = append(got, u.Login+"@"+u.Realm+"/"+u.Resolver)
		}
		if got := strings.Join(got, " "); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}

func TestAuthenticateTellsNoReason(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	h.resolver("pw", "alice")
	h.realm("r", "pw")
	u, err := h.Authenticate(t.Context(), "alice", "r", user.Password{Plain: "alice", Client: "192.0.2.1"})
	if err != nil || u.Login != "alice" || u.Realm != "r" {
		t.Errorf("%+v, %v", u, err)
	}
	for _, c := range [][3]string{{"alice", "r", "x"}, {"nosuch", "r", "nosuch"}, {"alice", "nosuch", "alice"}} {
		u, err := h.Authenticate(t.Context(), c[0], c[1], password(c[2]))
		if !errors.Is(err, user.ErrNotFound) || u != (user.User{}) {
			t.Errorf("%v: %+v, %v", c, u, err)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.Authenticate(ended, "alice", "nosuch", password("alice")); err == nil ||
		errors.Is(err, user.ErrNotFound) {
		t.Errorf("no time to pretend: %v", err)
	}
}

func TestNoHashingSlotIsFaultBusyForKnownAndUnknown(t *testing.T) {
	t.Parallel()
	slots := pinhash.NewSlots(1, nil)
	release, err := slots.Acquire(t.Context(), "somebody")
	if err != nil {
		t.Fatal(err)
	}
	defer release(false)
	h := newHome(t)
	h.resolver("pw", "alice busy")
	h.realm("r", "pw")
	full := user.New(h.db, user.Options{Types: memories(), Verifier: pinhash.New(pinhash.Options{Slots: slots})})
	for _, name := range [][2]string{{"alice", "r"}, {"nosuch", "r"}, {"alice", "nosuch"}} {
		_, err := full.Authenticate(t.Context(), name[0], name[1], password("alice"))
		wantFault(t, err, fault.Busy, "busy")
	}
	_, err = full.CheckPassword(t.Context(), user.User{Resolver: "pw", UID: "alice!"}, password("alice"))
	wantFault(t, err, fault.Busy, "busy")
}

func TestMatchPatternFindsWhatTheStarsLeaveOut(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		pattern, value string
		want           bool
	}{
		{"alice", "alice", true}, {"Alice", "aLICE", true}, {"alice", "alice2", false}, {"", "", true},
		{"", "x", false},
		{"*", "", true}, {"a*", "alice", true}, {"*ce", "alice", true}, {"*l*", "alice", true}, {"a*e", "alice", true},
		{"a*a", "a", false}, {"ab*ba", "aba", false}, {"*x*", "alice", false}, {"a*i*e", "alice", true},
		{"a*c*i*", "alice", false}, {"a.*", "alice", false},
	} {
		if got := user.MatchPattern(c.pattern, c.value); got != c.want {
			t.Errorf("%q %q: %v", c.pattern, c.value, got)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOfN(rapid.StringMatching(`[a-c]{0,3}`), 1, 4).Draw(t, "parts")
		between := rapid.StringMatching(`[a-d]{0,2}`).Draw(t, "between")
		if !user.MatchPattern(strings.Join(parts, "*"), strings.Join(parts, between)) && len(parts) > 1 {
			t.Error("a text made from the pattern does not match it")
		}
	})
}

// PasswordMark implements user.Marked: the password is the login, so that it never changes.
func (m memory) PasswordMark(ctx context.Context, uid string) (secret.Text, error) {
	u, err := m.ByUID(ctx, uid)
	if errors.Is(err, user.ErrNotFound) {
		return "", nil
	}
	return secret.Text(u.Login), err
}

func TestMarkChangesWithWhoIsMeant(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	h.resolver("a", "alice")
	h.resolver("b", "alice bob")
	h.realm("realm1", "a", "b")
	mark := func(login, realm string) secret.Text {
		m, err := h.Mark(t.Context(), login, realm)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	alice, bob := mark("alice", "realm1"), mark("bob", "realm1")
	if alice == "" || alice == bob || mark("alice", "realm1") != alice {
		t.Error("users must have marks of their own that stay")
	}
	if mark("nosuch", "realm1") != "" || mark("alice", "nosuch") != "" {
		t.Error("nobody has a mark")
	}
	h.realm("realm1", "b")
	if m := mark("alice", "realm1"); m == alice || m == "" {
		t.Error("alice of another resolver is somebody else")
	}
	h.resolver("b", "bob broken")
	if m, err := h.Mark(t.Context(), "bob", "realm1"); !errors.Is(err, errBroken) || m != "" {
		t.Errorf("a broken store: %d bytes, %v", len(m), err)
	}
}
