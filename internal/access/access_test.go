package access

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"pgregory.net/rapid"

	"otpost/internal/fault"
	"otpost/internal/fault/faulttest"
	"otpost/internal/pinhash"
	"otpost/internal/secret"
	"otpost/internal/store"
	"otpost/internal/store/storetest"
)

// plainPasswords is a hash that costs nothing and hides nothing.
type plainPasswords struct{}

func (plainPasswords) Hash(_ context.Context, _, plain string) (string, error) {
	return "hash of " + plain, nil
}

func (plainPasswords) Verify(_ context.Context, _, hash, plain string) (bool, error) {
	return hash == "hash of "+plain, nil
}

func (plainPasswords) Dummy(context.Context, string, string, string) error { return nil }

// busyPasswords never has a free slot.
type busyPasswords struct{ plainPasswords }

func (busyPasswords) Verify(context.Context, string, string, string) (bool, error) {
	return true, pinhash.ErrBusy
}
func (busyPasswords) Dummy(context.Context, string, string, string) error { return pinhash.ErrBusy }

func TestCheckPasswordWithoutSlotIsBusy(t *testing.T) {
	t.Parallel()
	db, _ := open(t)
	a := NewAdministrators(db, busyPasswords{})
	if err := a.Add(context.Background(), "admin", "", "first"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"admin", "nobody"} {
		ok, err := a.CheckPassword(context.Background(), name, "first", "192.0.2.1")
		wantFault(t, err, fault.Busy, "busy")
		if ok {
			t.Errorf("%s was let in without a check", name)
		}
	}
}

// users is a user store with every user. The mark is "first" unless the store has another one for
// the name.
type users map[string]secret.Text

func (u users) Mark(_ context.Context, login, _ string) (secret.Text, error) {
	if mark, ok := u[login]; ok {
		return mark, nil
	}
	return "first", nil
}

// nobodies must not be asked.
type nobodies struct{}

func (nobodies) Mark(context.Context, string, string) (secret.Text, error) {
	return "", errors.New("the user store was asked about a local administrator")
}

func open(t *testing.T) (*store.DB, *storetest.Clock) {
	t.Helper()
	c := storetest.NewClock()
	db := storetest.Open(t, c.Now)
	return db, c
}

func sessions(db *store.DB) *Sessions {
	return NewSessions(db, Options{Key: "0123456789abcdef0123456789abcdef", SuperuserRealms: []string{"adminrealm"}})
}

func wantFault(t *testing.T, err error, code fault.Code, part string) {
	t.Helper()
	faulttest.Check(t, err)
	var f *fault.Error
	if !errors.As(err, &f) || f.Code != code || !strings.Contains(f.Message, part) {
		t.Errorf("error = %v, want %d with %q", err, code, part)
	}
}

func TestAdministratorLivesAndDies(t *testing.T) {
	t.Parallel()
	db, _ := open(t)
	a := NewAdministrators(db, plainPasswords{})
	ctx := context.Background()
	if err := a.Add(ctx, "admin", "admin@example.com", "first"); err != nil {
		t.Fatal(err)
	}
	if err := a.Add(ctx, "admin", "", "other"); !errors.Is(err, ErrExists) {
		t.Errorf("adding twice: %v", err)
	}
	if ok, err := a.CheckPassword(ctx, "admin", "first", "192.0.2.1"); !ok || err != nil {
		t.Errorf("right password: %v, %v", ok, err)
	}
	for name, password := range map[string]secret.Text{"admin": "wrong", "nobody": "first", "": "first"} {
		if ok, err := a.CheckPassword(ctx, name, password, "192.0.2.1"); ok || err != nil {
			t.Errorf("%q with a wrong password: %v, %v", name, ok, err)
		}
	}
	list, err := a.List(ctx)
	if err != nil || len(list) != 1 || list[0].Name != "admin" {
		t.Errorf("list: %v, %v", list, err)
	}
	if err := a.Delete(ctx, "admin"); err != nil {
		t.Error(err)
	}
	if err := a.Delete(ctx, "admin"); !errors.Is(err, ErrNotFound) {
		t.Errorf("deleting twice: %v", err)
	}
}

func TestAddRefusesWhatNobodyCouldLogInWith(t *testing.T) {
	t.Parallel()
	db, _ := open(t)
	a := NewAdministrators(db, plainPasswords{})
	for name, password := range map[string]secret.Text{"": "x", "a\nb": "x", " a": "x", "good": "",
		strings.Repeat("n", 256): "x"} {
		if err := a.Add(context.Background(), name, "", password); err == nil {
			t.Errorf("name %q with a password of %d bytes was taken", name, len(password))
		}
	}
}

func TestPasswordsThatNobodyCouldSendAreRefused(t *testing.T) {
	t.Parallel()
	db, _ := open(t)
	a := NewAdministrators(db, plainPasswords{})
	if err := a.Add(t.Context(), "admin", "", "first"); err != nil {
		t.Fatal(err)
	}
	for _, password := range []secret.Text{"a\x00b", "a\xffb", "a\nb", "\u0085"} {
		if err := a.Add(t.Context(), "other", "", password); err == nil ||
			!strings.Contains(err.Error(), "control characters") {
			t.Errorf("Add: %v", err)
		}
		if err := a.SetPassword(t.Context(), "admin", password); err == nil ||
			!strings.Contains(err.Error(), "control characters") {
			t.Errorf("SetPassword: %v", err)
		}
	}
}

func TestSessionNamesItsOwner(t *testing.T) {
	t.Parallel()
	db, _ := open(t)
	s := sessions(db)
	for _, id := range []Identity{{Name: "alice", Realm: "realm1", Role: User, Mark: "first"},
		{Name: "root", Realm: "adminrealm", Role: Admin, Mark: "first"}} {
		token, expires, err := s.Issue(id, []string{"enable"})
		if err != nil {
			t.Fatal(err)
		}
		if got := expires.Sub(db.Now()); got > Lifetime || got < Lifetime-time.Second {
			t.Errorf("expires in %v", got)
		}
		got, err := s.Verify(context.Background(), token, users{})
		if err != nil || got.Name != id.Name || got.Realm != id.Realm || got.Role != id.Role {
			t.Errorf("Verify = %v, %v, want %v", got, err, id)
		}
	}
}

// markOfAdmin returns the mark of the administrator "admin".
func markOfAdmin(t *testing.T, a *Administrators) secret.Text {
	t.Helper()
	mark, err := a.Mark(t.Context(), "admin")
	if err != nil {
		t.Fatal(err)
	}
	return mark
}

// localSession returns a session of the administrator "admin".
func localSession(t *testing.T, a *Administrators, s *Sessions) string {
	t.Helper()
	token, _, err := s.Issue(Identity{Name: "admin", Role: Admin, Mark: markOfAdmin(t, a)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// An administrator's password is changed while the clock is wrong, then the clock is set right: a session from
// before the change is void, the administrator can sign in at once, and no session lives longer than it may.
func TestSessionsFollowAClockThatIsSetBack(t *testing.T) {
	t.Parallel()
	for _, step := range []time.Duration{time.Second, time.Hour, 365 * 24 * time.Hour} {
		db, c := open(t)
		a, s := NewAdministrators(db, plainPasswords{}), sessions(db)
		if err := a.Add(t.Context(), "admin", "", "first"); err != nil {
			t.Fatal(err)
		}
		before := localSession(t, a, s)
		c.Advance(step)
		early := localSession(t, a, s)
		if err := a.SetPassword(t.Context(), "admin", "second"); err != nil {
			t.Fatal(err)
		}
		fast := localSession(t, a, s)
		user, _, err := s.Issue(Identity{Name: "alice", Realm: "realm1", Role: User, Mark: "first"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		c.Advance(-step)
		for name, token := range map[string]string{"before the step": before, "in the step": early} {
			if _, err := s.Verify(t.Context(), token, nobodies{}); err == nil {
				t.Errorf("%s: a session from %s and before the change holds", step, name)
			}
		}
		if _, err := s.Verify(t.Context(), localSession(t, a, s), nobodies{}); err != nil {
			t.Errorf("%s: a new session: %v", step, err)
		}
		_, err = s.Verify(t.Context(), fast, nobodies{})
		_, userErr := s.Verify(t.Context(), user, users{})
		if step <= clockSlack {
			if err != nil || userErr != nil {
				t.Errorf("%s: sessions from a clock that differs little: %v, %v", step, err, userErr)
			}
			continue
		}
		wantFault(t, err, fault.ExpiredToken, "has expired")
		wantFault(t, userErr, fault.ExpiredToken, "has expired")
	}
}

func TestSessionEndsWithPasswordAndAdministrator(t *testing.T) {
	t.Parallel()
	db, _ := open(t)
	ctx := context.Background()
	a, s := NewAdministrators(db, plainPasswords{}), sessions(db)
	if err := a.Add(ctx, "admin", "", "first"); err != nil {
		t.Fatal(err)
	}
	token, mark := localSession(t, a, s), markOfAdmin(t, a)
	if _, err := s.Verify(ctx, token, nobodies{}); err != nil {
		t.Fatalf("fresh session: %v", err)
	}
	if err := a.SetPassword(ctx, "admin", "second"); err != nil {
		t.Fatal(err)
	}
	_, err := s.Verify(ctx, token, nobodies{})
	wantFault(t, err, fault.InvalidToken, "the session has ended")
	late, _, err := s.Issue(Identity{Name: "admin", Role: Admin, Mark: mark}, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Verify(ctx, late, nobodies{})
	wantFault(t, err, fault.InvalidToken, "the session has ended")
	fresh := localSession(t, a, s)
	if _, err := s.Verify(ctx, fresh, nobodies{}); err != nil {
		t.Errorf("session with the new password: %v", err)
	}
	if err := a.Delete(ctx, "admin"); err != nil {
		t.Fatal(err)
	}
	_, err = s.Verify(ctx, fresh, nobodies{})
	wantFault(t, err, fault.InvalidToken, "the session has ended")
}

func TestSessionOfFormerSuperuserRealmIsVoid(t *testing.T) {
	t.Parallel()
	db, _ := open(t)
	token, _, err := sessions(db).Issue(Identity{Name: "root", Realm: "former", Role: Admin}, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = sessions(db).Verify(context.Background(), token, users{})
	wantFault(t, err, fault.InvalidToken, "no longer administrators")
	token, _, err = NewSessions(db, Options{Key: sessions(db).options.Key}).Issue(Identity{Name: "root",
		Realm: "adminrealm", Role: User, Mark: "first"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = sessions(db).Verify(context.Background(), token, users{})
	wantFault(t, err, fault.InvalidToken, "have become administrators")
}

func TestSessionOfARealmEndsWithItsMark(t *testing.T) {
	t.Parallel()
	db, _ := open(t)
	s := sessions(db)
	for _, id := range []Identity{
		{Name: "alice", Realm: "realm1", Role: User, Mark: "first"}, {Name: "alice", Realm: "adminrealm", Role: Admin,
			Mark: "first"},
		{Name: "alice", Realm: "realm1", Role: User}, // without a mark
	} {
		token, _, err := s.Issue(id, nil)
		if err != nil {
			t.Fatal(err)
		}
		if payload, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1]); err != nil ||
			strings.Contains(string(payload), "first") {
			t.Errorf("the token shows the mark: %v", err)
		}
		for _, mark := range []secret.Text{"second", ""} {
			_, err = s.Verify(t.Context(), token, users{"alice": mark})
			wantFault(t, err, fault.InvalidToken, "the session has ended")
		}
	}
}

// The texts are those of testdata/rest/errors.json and auth.json.
func TestVerifyRefusesWithTheRecordedTexts(t *testing.T) {
	t.Parallel()
	db, c := open(t)
	s := sessions(db)
	ctx := context.Background()
	id := Identity{Name: "alice", Realm: "realm1", Role: User, Mark: "first"}
	token, _, err := s.Issue(id, nil)
	if err != nil {
		t.Fatal(err)
	}
	foreign, _, err := NewSessions(db, Options{Key: "another key of thirty-two bytes!"}).Issue(id, nil)
	if err != nil {
		t.Fatal(err)
	}
	none, err := jwt.NewWithClaims(jwt.SigningMethodNone, jwt.MapClaims{"username": "alice", "realm": "realm1",
		"role": "user",
		"exp":  db.Now().Add(time.Hour).Unix()}).SignedString(jwt.UnsafeAllowNoneSignatureType)
	if err != nil {
		t.Fatal(err)
	}
	endless, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"username": "alice", "realm": "realm1",
		"role": "user"}).
		SignedString([]byte("0123456789abcdef0123456789abcdef"))
	if err != nil {
		t.Fatal(err)
	}
	const start = "Authentication failure. Error decoding the Authorization token: "
	for _, one := range []struct {
		header string
		code   fault.Code
		text   string
	}{
		{"", fault.MissingToken, "Authentication failure. Missing Authorization header."},
		{"garbage", fault.InvalidToken, start + "Not enough segments"},
		{"Bearer " + token, fault.InvalidToken, start + "Invalid header padding"},
		{foreign, fault.InvalidToken, start + "Signature verification failed"},
		{none, fault.InvalidToken, start},
		{endless, fault.InvalidToken, start},
		{"..", fault.InvalidToken, start},
	} {
		_, err := s.Verify(ctx, one.header, users{})
		wantFault(t, err, one.code, one.text)
	}
	c.Advance(Lifetime + time.Second)
	_, err = s.Verify(ctx, token, nobodies{})
	wantFault(t, err, fault.ExpiredToken, "Authentication failure. Your token has expired: Signature has expired")
}

// A Java client decodes the payload with the plain Base64 alphabet (docs/compatibility.md, "Clients").
func TestPayloadSurvivesThePlainBase64Alphabet(t *testing.T) {
	t.Parallel()
	db, _ := open(t)
	s := sessions(db)
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.OneOf(rapid.String(), rapid.StringOfN(rapid.RuneFrom([]rune("a>?~\x7fü€😀")), 1, 30, -1)).Draw(t,
			"name")
		id := Identity{Name: name, Realm: "realm1", Role: User, Mark: "first"}
		token, _, err := s.Issue(id, []string{name})
		if err != nil {
			t.Fatal(err)
		}
		payload := strings.Split(token, ".")[1]
		decoded, err := base64.RawStdEncoding.DecodeString(payload)
		if err != nil {
			t.Fatalf("payload of %q: %v", name, err)
		}
		if i := strings.IndexFunc(string(decoded), func(r rune) bool { return r > 0x7e }); i >= 0 {
			t.Fatalf("payload of %q is not ASCII at %d", name, i)
		}
		if got, err := s.Verify(context.Background(), token, users{}); err != nil || got.Name != name {
			t.Fatalf("Verify = %q, %v, want %q", got.Name, err, name)
		}
	})
}

func TestRequireNamesTheRole(t *testing.T) {
	t.Parallel()
	// Recorded: errors.json, "user calls admin endpoint".
	want := "Authentication failure. You do not have the necessary role (['admin']) to access this resource!"
	wantFault(t, Identity{Role: User}.Require(Admin), fault.WrongRole, want)
	wantFault(t, Identity{}.Require(Admin, User), fault.WrongRole, "['admin', 'user']")
	if err := (Identity{Role: User}).Require(Admin, User); err != nil {
		t.Error(err)
	}
}

func TestGuardDelaysGrowAndEnd(t *testing.T) {
	t.Parallel()
	db, c := open(t)
	g := NewGuard(db)
	ctx := context.Background()
	for n := range freeFailures {
		if err := g.Pay(ctx, "admin", "192.0.2.1"); err != nil {
			t.Fatalf("guess %d: %v", n+1, err)
		}
	}
	for _, want := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second} {
		if err := g.Pay(ctx, "admin", "192.0.2.1"); err != nil {
			t.Fatalf("guess before a delay of %v: %v", want, err)
		}
		wantFault(t, g.Pay(ctx, "admin", "192.0.2.1"), fault.BadCredentials, "try again")
		c.Advance(want)
	}
	if err := g.Pay(ctx, "admin", "192.0.2.2"); err != nil {
		t.Errorf("another address: %v", err)
	}
	if err := g.Pay(ctx, "admin", "192.0.2.1"); err != nil {
		t.Errorf("after the delay: %v", err)
	}
	if err := g.Clear(ctx, "admin", "192.0.2.1"); err != nil {
		t.Fatal(err)
	}
	for n := range freeFailures {
		if err := g.Pay(ctx, "admin", "192.0.2.1"); err != nil {
			t.Fatalf("guess %d after a right one: %v", n+1, err)
		}
	}
}

func TestGuardReturnsOneGuessAlone(t *testing.T) {
	t.Parallel()
	db, _ := open(t)
	g := NewGuard(db)
	ctx := context.Background()
	for range freeFailures + 1 {
		if err := g.Pay(ctx, "admin", "192.0.2.1"); err != nil {
			t.Fatal(err)
		}
	}
	if err := g.Return(ctx, "admin", "192.0.2.1"); err != nil {
		t.Fatal(err)
	}
	if err := g.Pay(ctx, "admin", "192.0.2.1"); err != nil {
		t.Errorf("the guess that was given back: %v", err)
	}
	wantFault(t, g.Pay(ctx, "admin", "192.0.2.1"), fault.BadCredentials, "try again")
}

func TestGuardCountsParallelGuesses(t *testing.T) {
	t.Parallel()
	db, _ := open(t)
	g := NewGuard(db)
	var wg sync.WaitGroup
	var mu sync.Mutex
	paid := 0
	for range 20 {
		wg.Go(func() {
			if g.Pay(context.Background(), "admin", "192.0.2.1") == nil {
				mu.Lock()
				defer mu.Unlock()
				paid++
			}
		})
	}
	wg.Wait()
	if paid != freeFailures+1 {
		t.Errorf("%d of 20 parallel guesses were let through, want %d", paid, freeFailures+1)
	}
}

func TestDelayNeverExceedsItsLimit(t *testing.T) {
	t.Parallel()
	for count := range int64(200) {
		if d := delay(count); d < 0 || d > longestDelay {
			t.Fatalf("delay(%d) = %v", count, d)
		}
	}
}
