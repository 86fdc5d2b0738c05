package token_test

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"otpost/internal/delivery"
	"otpost/internal/fault"
	"otpost/internal/fault/faulttest"
	"otpost/internal/mail"
	"otpost/internal/pinhash"
	"otpost/internal/secret/secrettest"
	"otpost/internal/store"
	"otpost/internal/store/storetest"
	"otpost/internal/system"
	"otpost/internal/token"
	"otpost/internal/user"
)

type people []user.User

func (p people) ByUID(_ context.Context, _, uid string) (user.User, error) {
	for _, u := range p {
		if u.UID == uid {
			return u, nil
		}
	}
	return user.User{}, user.ErrNotFound
}

type rig struct {
	*token.Service
	t     *testing.T
	db    *store.DB
	alice user.User
	bob   user.User
}

// path is where the database of a test lies.
func open(t *testing.T, path string) *rig {
	t.Helper()
	now := time.Date(2026, 11, 24, 3, 48, 2, 0, time.UTC)
	db := storetest.OpenAt(t, path, func() time.Time { return now })
	keys := secrettest.Keys(t)
	r := &rig{t: t, db: db}
	r.alice = user.User{Login: "alice", Realm: "realm1", Resolver: "pw", UID: "1000", Email: "alice@example.com"}
	r.bob = user.User{Login: "bob", Realm: "realm1", Resolver: "pw", UID: "1001"}
	r.Service = token.New(token.Options{
		DB:       db,
		Keys:     keys,
		Settings: system.New(db, keys),
		Users:    people{r.alice, r.bob},
		PINs: pinhash.New(pinhash.Options{Params: pinhash.Params{Scheme: pinhash.PBKDF2SHA512, Rounds: 1},
			Wait: time.Minute}),
		Turn:         time.Minute, // a busy machine refuses no guess
		Deliveries:   delivery.New(delivery.Options{DB: db, Keys: keys}),
		ValidAddress: func(address string) error { _, err := mail.ParseAddress(address); return err },
	})
	return r
}

func newRig(t *testing.T) *rig {
	t.Helper()
	return open(t, filepath.Join(t.TempDir(), "otpost.db"))
}

func (r *rig) init(e token.Enrolment) token.Token {
	r.t.Helper()
	made, err := r.Init(r.t.Context(), e)
	if err != nil {
		r.t.Fatal(err)
	}
	return made
}

func (r *rig) enrol(serial string) token.Token {
	r.t.Helper()
	return r.init(token.Enrolment{Type: "email", Serial: serial, Email: serial + "@example.com"})
}

func wantFault(t *testing.T, err error, code fault.Code, message string) {
	t.Helper()
	faulttest.Check(t, err)
	var f *fault.Error
	if !errors.As(err, &f) || f.Code != code || (message != "" && f.Message != message) {
		t.Errorf("error %v, want %d %s", err, code, message)
	}
}

func of(serial string) token.Selection { return token.Selection{Serial: serial} }

func ptr[T any](v T) *T { return &v }

func TestInitDrawsASerial(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	got := r.init(token.Enrolment{Type: "email", Email: "alice@example.com", PIN: ptr(token.Text("pin1")), Owner: &r.alice})
	if len(got.Serial) != 12 || !strings.HasPrefix(got.Serial, "PIEM") || strings.Trim(got.Serial[4:], "0123456789ABCDEF") != "" {
		t.Errorf("serial %q", got.Serial)
	}
	if !got.Usable() || got.OTPLen != 6 || got.MaxFailCount != 10 || got.CountWindow != 10 || got.SyncWindow != 1000 || !got.Owned(r.alice) {
		t.Errorf("%+v", got)
	}
}

func TestInitTrimsTheAddress(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	got := r.init(token.Enrolment{Type: "email", Email: "\t ann@example.com \n"})
	if kept := r.property(got.Serial, "email"); kept != "ann@example.com" {
		t.Errorf("kept as %q", kept)
	}
}

func TestInitRefuses(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	long := token.Text(strings.Repeat("x", 257))
	for name, one := range map[string]struct {
		e       token.Enrolment
		message string
	}{
		"no address":       {token.Enrolment{Type: "email"}, "ERR905: Missing parameter: email"},
		"no such type":     {token.Enrolment{Type: "nosuch", Email: "a@b.c"}, ""},
		"no type":          {token.Enrolment{Email: "a@b.c"}, ""},
		"bad address":      {token.Enrolment{Type: "email", Email: "not-an-address"}, ""},
		"two addresses":    {token.Enrolment{Type: "email", Email: "a@b.c,d@e.f"}, ""},
		"header injection": {token.Enrolment{Type: "email", Email: "a@b.c\r\nBcc: d@e.f"}, ""},
		"short code":       {token.Enrolment{Type: "email", Email: "a@b.c", OTPLen: 3}, ""},
		"long code":        {token.Enrolment{Type: "email", Email: "a@b.c", OTPLen: 11}, ""},
		"serial":           {token.Enrolment{Type: "email", Email: "a@b.c", Serial: "a b"}, ""},
		"long PIN":         {token.Enrolment{Type: "email", Email: "a@b.c", PIN: &long}, ""},
		"description":      {token.Enrolment{Type: "email", Email: "a@b.c", Description: ptr("a\nb")}, ""},
		"identifier":       {token.Enrolment{Type: "email", Email: "a@b.c", EmailIdentifier: "a\r\nb"}, ""},
	} {
		_, err := r.Init(t.Context(), one.e)
		t.Log(name)
		wantFault(t, err, fault.Parameter, one.message)
	}
	if p, err := r.List(t.Context(), token.Filter{}); err != nil || p.Count != 0 {
		t.Errorf("%d tokens were made, %v", p.Count, err)
	}
}

func TestInitOfAnotherTypesSerialIsRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.enrol("HOTP1")
	r.exec(`UPDATE token SET type = 'hotp'`)
	_, err := r.Init(t.Context(), token.Enrolment{Type: "email", Serial: "HOTP1", Email: "a@b.c"})
	wantFault(t, err, fault.TokenAdmin, "ERR301: init token failed: Token HOTP1 already exists with type hotp. Can not initialize token with new type email")
}

func (r *rig) exec(query string, args ...any) {
	r.t.Helper()
	err := r.db.Write(r.t.Context(), func(tx *store.Tx) error { tx.Put(query, args...); return nil })
	if err != nil {
		r.t.Fatal(err)
	}
}

func TestInitAgainReplacesWhatIsGivenAndStartsTheCounter(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	first := r.init(token.Enrolment{Type: "email", Serial: "A", Email: "old@example.com", PIN: ptr(token.Text("old")), Description: ptr("mine"), Owner: &r.alice, OTPLen: 8})
	if _, err := r.Pay(t.Context(), "A"); err != nil {
		t.Fatal(err)
	}
	again := r.init(token.Enrolment{Type: "email", Serial: "A", Email: "new@example.com"})
	want := first
	want.FailCount = 0
	if diff := cmp.Diff(want, again, cmp.FilterPath(func(p cmp.Path) bool { return strings.HasSuffix(p.String(), "emailSealed") }, cmp.Ignore()), cmp.AllowUnexported(token.Token{})); diff != "" {
		t.Error(diff)
	}
	if got := r.property("A", "email"); got != "new@example.com" {
		t.Errorf("address %q", got)
	}
}

func (r *rig) property(serial, key string) string {
	r.t.Helper()
	p, err := r.List(r.t.Context(), token.Filter{Serial: serial})
	if err != nil || len(p.Tokens) != 1 {
		r.t.Fatalf("%d tokens, %v", len(p.Tokens), err)
	}
	for _, one := range p.Tokens[0].Properties {
		if one.Key == key {
			return one.Value
		}
	}
	return ""
}

// The values and their order are those of testdata/rest/token.json, "list serial" and "list after the validate run".
func TestListShowsTheRecordedProperties(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.init(token.Enrolment{Type: "email", Serial: "PIEM00007CCB", Email: "alice@example.com", Owner: &r.alice})
	r.exec(`UPDATE token SET count_auth = 23, count_auth_success = 11, last_auth_ms = $1, failcounter_exceeded_ms = $1`,
		store.Millis(time.Date(2026, 11, 24, 3, 49, 59, 595e6, time.UTC)))
	if err := r.SetInfo(t.Context(), of("PIEM00007CCB"), "mykey", "v"); err != nil {
		t.Fatal(err)
	}
	p, err := r.List(t.Context(), token.Filter{Serial: "PIEM00007CCB"})
	if err != nil {
		t.Fatal(err)
	}
	got := p.Tokens[0]
	want := []token.Property{
		{Key: "assignment_date", Value: "2026-11-24T03:48:02+00:00", Managed: true},
		{Key: "email", Value: "alice@example.com", Managed: true},
		{Key: "tokenkind", Value: "software", Managed: true},
		{Key: "hashlib", Value: "sha1", Managed: true},
		{Key: "creation_date", Value: "2026-11-24T03:48:02+00:00", Managed: true},
		{Key: "count_auth_success", Value: "11", Managed: true},
		{Key: "count_auth", Value: "23", Managed: true},
		{Key: "last_auth", Value: "2026-11-24 03:49:59.595000+0000", Managed: true},
		{Key: "failcounter_exceeded", Value: "2026-11-24T03:49+0000", Managed: true},
		{Key: "mykey", Value: "v"},
	}
	if diff := cmp.Diff(want, got.Properties); diff != "" {
		t.Error(diff)
	}
	if got.Owner.Login != "alice" || !cmp.Equal(got.Realms, []string{"realm1"}) {
		t.Errorf("user %q, realms %v", got.Owner.Login, got.Realms)
	}
}

func TestListFiltersAndPages(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, serial := range []string{"C", "A_1", "AX1", "B"} {
		r.enrol(serial)
	}
	r.init(token.Enrolment{Type: "email", Serial: "D", DynamicEmail: true, Owner: &r.alice, Description: ptr("bob's")})
	if _, err := r.Disable(t.Context(), of("B")); err != nil {
		t.Fatal(err)
	}
	for name, one := range map[string]struct {
		f          token.Filter
		serials    string
		count      int
		next, prev int
	}{
		"all":         {token.Filter{}, "AX1 A_1 B C D", 5, 0, 0},
		"page":        {token.Filter{PageSize: 2, Page: 2}, "B C", 5, 3, 1},
		"descending":  {token.Filter{PageSize: 2, Descending: true, SortBy: "serial"}, "D C", 5, 2, 0},
		"by age":      {token.Filter{SortBy: "id", PageSize: 2}, "C A_1", 5, 2, 0},
		"serial":      {token.Filter{Serial: "a_1"}, "A_1", 1, 0, 0},
		"wildcard":    {token.Filter{Serial: "A*"}, "AX1 A_1", 2, 0, 0},
		"none":        {token.Filter{Serial: "NOSUCH"}, "", 0, 0, 0},
		"user":        {token.Filter{Owner: &r.alice}, "D", 1, 0, 0},
		"realm":       {token.Filter{Realm: "realm1"}, "D", 1, 0, 0},
		"type":        {token.Filter{Type: "hotp"}, "", 0, 0, 0},
		"description": {token.Filter{Description: "*'s"}, "D", 1, 0, 0},
		"disabled":    {token.Filter{Active: ptr(false)}, "B", 1, 0, 0},
		"assigned":    {token.Filter{Assigned: ptr(true), Active: ptr(true)}, "D", 1, 0, 0},
		"unassigned":  {token.Filter{Assigned: ptr(false), Resolver: "pw"}, "", 0, 0, 0},
	} {
		p, err := r.List(t.Context(), one.f)
		if err != nil {
			t.Fatal(err)
		}
		var serials []string
		for _, got := range p.Tokens {
			serials = append(serials, got.Serial)
		}
		if strings.Join(serials, " ") != one.serials || p.Count != one.count || p.Next != one.next || p.Prev != one.prev || p.Tokens == nil {
			t.Errorf("%s: %v of %d, next %d, prev %d", name, serials, p.Count, p.Next, p.Prev)
		}
	}
}

func TestAddressIsSealedAtRest(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.enrol("A")
	var sealed []byte
	err := r.db.Read(t.Context(), func(rd store.Reader) error {
		return rd.Get([]any{&sealed}, `SELECT email_sealed FROM token`)
	})
	if err != nil || len(sealed) == 0 || strings.Contains(string(sealed), "example") {
		t.Errorf("%d bytes, %v", len(sealed), err)
	}
	r.enrol("B")
	r.exec(`UPDATE token SET email_sealed = $1 WHERE serial = 'B'`, sealed)
	page, err := r.List(t.Context(), token.Filter{Serial: "B"})
	if err != nil || len(page.Tokens) != 1 {
		t.Fatalf("list: %v, %v", page, err)
	}
	for _, p := range page.Tokens[0].Properties {
		if p.Key == "email" && (p.Value != "" || !p.Unreadable) {
			t.Error("an address that was moved to another token opens")
		}
	}
}

// The answers are those of testdata/rest/token.json.
func TestActsAnswerAsRecorded(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.enrol("DEF1")
	ctx := t.Context()
	pin := token.Text("p")
	for _, one := range []struct {
		name string
		act  func() (int, error)
		want int
	}{
		{"set pin", func() (int, error) { return r.SetPIN(ctx, of("DEF1"), &pin) }, 1},
		{"set pin missing", func() (int, error) { return r.SetPIN(ctx, of("DEF1"), nil) }, 0},
		{"set", func() (int, error) {
			return r.Set(ctx, of("DEF1"), token.Changes{PIN: &pin, Description: ptr("d"), MaxFailCount: ptr(5), OTPLen: ptr(6), CountWindow: ptr(20), SyncWindow: ptr(500)})
		}, 4},
		{"disable", func() (int, error) { return r.Disable(ctx, of("DEF1")) }, 1},
		{"disable again", func() (int, error) { return r.Disable(ctx, of("DEF1")) }, 0},
		{"enable", func() (int, error) { return r.Enable(ctx, of("DEF1")) }, 1},
		{"enable again", func() (int, error) { return r.Enable(ctx, of("DEF1")) }, 0},
		{"assign", func() (int, error) { return 0, r.Assign(ctx, "DEF1", r.bob, &pin) }, 0},
		{"assign to the same", func() (int, error) { return 0, r.Assign(ctx, "DEF1", r.bob, nil) }, 0},
		{"unassign", func() (int, error) { return r.Unassign(ctx, of("DEF1")) }, 1},
		{"unassign again", func() (int, error) { return r.Unassign(ctx, of("DEF1")) }, 1},
		{"reset", func() (int, error) { return r.Reset(ctx, of("DEF1")) }, 1},
		{"realm", func() (int, error) { return 0, r.SetRealms(ctx, of("DEF1"), []string{"realm1", "realm2", "realm1"}) }, 0},
		{"description", func() (int, error) { return 0, r.SetDescription(ctx, of("DEF1"), "x") }, 0},
		{"revoke", func() (int, error) { return r.Revoke(ctx, of("DEF1")) }, 1},
		{"delete", func() (int, error) { return r.Delete(ctx, of("DEF1")) }, 1},
	} {
		if got, err := one.act(); got != one.want || err != nil {
			t.Errorf("%s: %d, %v, want %d", one.name, got, err, one.want)
		}
	}
}

func TestActsRefuseAsRecorded(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	for _, serial := range []string{"A", "B"} {
		r.init(token.Enrolment{Type: "email", Serial: serial, Email: "a@example.com", Owner: &r.bob})
	}
	unknown := "No token found for serials: NOSUCH"
	_, err := r.Enable(ctx, of("NOSUCH"))
	wantFault(t, err, fault.NotFound, unknown)
	_, err = r.Delete(ctx, of("NOSUCH"))
	wantFault(t, err, fault.NotFound, unknown)
	_, err = r.Set(ctx, of("NOSUCH"), token.Changes{PIN: ptr(token.Text("1"))})
	wantFault(t, err, fault.NotFound, unknown)
	_, err = r.Disable(ctx, token.Selection{Owner: &r.bob})
	wantFault(t, err, fault.Parameter, "ERR905: More than one matching token was found.")
	_, err = r.Disable(ctx, token.Selection{Serial: "A", Owner: &r.alice})
	wantFault(t, err, fault.NotFound, "")
	_, err = r.Disable(ctx, token.Selection{})
	wantFault(t, err, fault.Parameter, "ERR905: Missing parameter: serial")
	err = r.Assign(ctx, "A", r.alice, nil)
	wantFault(t, err, fault.Assigned, "ERR1103: Token already assigned to user User(login='bob', realm='realm1', resolver='pw')")
	err = r.SetInfo(ctx, of("A"), "email.identifier", "qfast")
	wantFault(t, err, fault.Policy, "The token info key 'email.identifier' is managed by the token and can not be modified.")
	for _, c := range []token.Changes{{MaxFailCount: ptr(101)}, {MaxFailCount: ptr(0)}, {OTPLen: ptr(3)}, {CountWindow: ptr(0)}} {
		_, err = r.Set(ctx, of("A"), c)
		wantFault(t, err, fault.Parameter, "")
	}
	if _, err := r.Revoke(ctx, of("A")); err != nil {
		t.Fatal(err)
	}
	_, err = r.Reset(ctx, of("A"))
	wantFault(t, err, fault.TokenLocked, "ERR1007: This action is not possible, since the token is locked")
}

func TestNobodyOwnsNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.enrol("A")
	err := r.DB.Read(t.Context(), func(reader store.Reader) error {
		found, err := token.OfUser(reader, user.User{})
		if len(found) != 0 {
			t.Errorf("the user without a name has %d tokens", len(found))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestConcurrentInitsDrawDifferentSerials(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			if _, err := r.Init(context.Background(), token.Enrolment{Type: "email", Email: "a@example.com"}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if p, err := r.List(t.Context(), token.Filter{}); err != nil || p.Count != 16 || p.Tokens[0].ID == p.Tokens[1].ID {
		t.Errorf("%d tokens, %v", p.Count, err)
	}
}

// Nobody can type a control character at a login, and some clients cut a PIN at it.
func TestPINsWithControlCharactersAreRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	r.init(token.Enrolment{Type: "email", Serial: "DEF1", Email: "alice@example.com"})
	for _, pin := range []token.Text{"\x01", "12\n34", "1234\x00", "\x7f", "12\u008534", "12\u202834", "\xff"} {
		_, set := r.SetPIN(ctx, of("DEF1"), &pin)
		_, enrolled := r.Init(ctx, token.Enrolment{Type: "email", Email: "alice@example.com", PIN: &pin})
		for _, err := range []error{set, enrolled} {
			if fault.CodeOf(err) != fault.Parameter || !strings.Contains(err.Error(), "Parameter pin: ") {
				t.Errorf("%q: %v, want fault 905 about the PIN", pin.Reveal(), err)
			}
		}
	}
	for _, pin := range []token.Text{"", "pässwort mit Leerzeichen", "1234"} {
		if _, err := r.SetPIN(ctx, of("DEF1"), &pin); err != nil {
			t.Errorf("%q: %v", pin.Reveal(), err)
		}
	}
}
