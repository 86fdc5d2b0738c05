package browser_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"otpost/test/browser"
)

func TestUsersPageWithoutARealm(t *testing.T) {
	t.Parallel()
	p := signedIn(t, newEmptySite(t))
	p.Open("/ui/users")
	p.WaitText("There is no realm yet")
	p.Inspect("users-norealm")
}

func TestFirstRealmIsMadeOnThePage(t *testing.T) {
	t.Parallel()
	s := newEmptySite(t)
	file := s.Write(t, "users.passwd", manyUsers(2))
	p := signedIn(t, s)
	p.Allow("status of 400")
	p.Open("/ui/users")
	for _, c := range []struct{ file, realm, beside, says string }{
		{"", "home", "#e-fileName", "users cannot be read"},
		{file + ".not", "home", "#e-fileName", "no such file"},
		{s.Config, "home", "#e-fileName", "cannot be read here"},
		{file, "Straße 1", "#e-realm", "letters A to Z"},
		{file, "", "#e-realm", "name"},
		{file, "..", "#e-realm", "name"},
	} {
		p.Type("fileName", c.file)
		p.Type("realm", c.realm)
		p.Follow("Make the realm")
		p.Wait(c.beside)
		if got := p.Text(c.beside); !strings.Contains(got, c.says) {
			t.Errorf("file %q, realm %q: beside the field stands %q, want %q in it", c.file, c.realm, got, c.says)
		}
		if p.Value("#f-fileName") != c.file || p.Value("#f-realm") != c.realm {
			t.Errorf("file %q, realm %q: typed text is lost: %q, %q", c.file, c.realm, p.Value("#f-fileName"), p.Value("#f-realm"))
		}
	}
	p.Looks("users-norealm-wrong")
	p.Type("realm", "home")
	p.Follow("Make the realm")
	p.WaitText("The realm is made")
	if n := p.Count("tbody tr"); n != 2 {
		t.Errorf("%d users are shown, want 2", n)
	}
}

func TestUsersPage(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	many := s.Write(t, "many.passwd", manyUsers(60))
	s.Server.Must(t, "POST", "/resolver/many", map[string]any{"type": "passwdresolver", "fileName": many})
	s.Server.Must(t, "POST", "/realm/many", map[string]any{"resolvers": "many"})
	nobody := s.Write(t, "nobody.passwd", "")
	s.Server.Must(t, "POST", "/resolver/nobody", map[string]any{"type": "passwdresolver", "fileName": nobody})
	s.Server.Must(t, "POST", "/realm/a-realm-of-the-department-of-internal-services-without-anybody", map[string]any{"resolvers": "nobody"})
	p := signedIn(t, s)
	p.Open("/ui/users")
	if got := p.Count("tbody tr"); got != 3 || p.Value("#f-realm") != browser.Realm {
		t.Errorf("%d users of %s, want the 3 of the default realm", got, p.Value("#f-realm"))
	}
	p.WaitText("Zoë Zander-Überlang von und zu Donaudampfschifffahrt")
	p.Inspect("users")
	before := p.Path()
	p.Choose("realm", "many") // loads the page by itself
	p.WaitFor("location.pathname + location.search !== " + fmt.Sprintf("%q", before))
	p.WaitText("More users that match: 10.")
	if got := p.Count("tbody tr"); got != 50 {
		t.Errorf("%d users are shown, want 50", got)
	}
	p.Screenshot("users-many")
	p.Phone()
	p.Fits()
	p.Axe()
	p.Desktop()
	weighs(t, p, p.Path())
	p.Type("search", "user05")
	p.Follow("Show")
	if got := p.Count("tbody tr"); got != 10 {
		t.Errorf("the search for user05 finds %d users, want user050 to user059", got)
	}
	p.Type("search", "nobody is called so")
	p.Follow("Show")
	p.WaitText("No user matches.")
	if got := p.Value("#f-search"); got != "nobody is called so" {
		t.Errorf("the field has %q", got)
	}
	p.Inspect("users-nomatch")
	p.Open("/ui/users?realm=a-realm-of-the-department-of-internal-services-without-anybody")
	p.WaitText("There are no users in this realm.")
	p.Looks("users-empty")
}

// manyUsers returns a passwd file.
func manyUsers(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "user%03d:x:%d:100:Nummer %[1]d,,,,user%[1]d@example.org:/home:/bin/sh\n", i, 2000+i)
	}
	return b.String()
}

func TestTokensOfAUser(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.Server.Enrol(t, "SECOND", "pin2", browser.AliceAddress, "user", browser.Alice, "realm", browser.Realm, "description", longDescription)
	s.Server.Must(t, "POST", "/token/disable/SECOND", nil)
	s.Server.Enrol(t, strings.Repeat("W", 40), "", "x@example.org", "user", browser.Alice, "realm", browser.Realm)
	for range 10 {
		s.Server.MustCheck(t, "REJECT", browser.AliceToken, "wrong")
	}
	p := signedIn(t, s)
	p.Open("/ui/users")
	p.Follow(browser.Alice)
	for _, want := range []string{"Alice Adler", "alice@example.org", "10 of 10", "locked", "disabled", "active", longDescription} {
		p.WaitText(want)
	}
	p.Inspect("owner")
	weighs(t, p, p.Path())
	p.Open("/ui/user?user=bob&realm=home")
	p.WaitText("This user has no token yet.")
	p.Inspect("owner-none")
	p.Allow("status of 404")
	for _, path := range []string{"/ui/user?user=nobody&realm=home", "/ui/user?user=*&realm=home", "/ui/user?user=alice&realm=nowhere", "/ui/enrol?user=nobody&realm=home"} {
		p.Open(path)
		p.WaitText("There is no user ")
	}
	p.Inspect("owner-unknown")
	for _, serial := range []string{"NOSUCH", "%2A", "SEC*"} {
		p.Open("/ui/tokens/" + serial)
		p.WaitText("There is no token ")
	}
}

func TestTokenPage(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := signedIn(t, s)
	p.Open("/ui/tokens/" + browser.AliceToken)
	for _, want := range []string{"alice@home", browser.AliceAddress, "the one of the settings", "0 of 10"} {
		p.WaitText(want)
	}
	p.Inspect("token")
	weighs(t, p, p.Path())

	p.Follow("Disable")
	p.WaitText("The token is disabled")
	s.Server.MustCheck(t, "REJECT", browser.AliceToken, browser.AlicePIN)
	p.Looks("token-disabled")
	p.Follow("Enable")
	p.WaitText("The token is enabled.")
	p.Reload()
	p.WaitNoText("The token is enabled.")
	for range 10 {
		s.Server.MustCheck(t, "REJECT", browser.AliceToken, "wrong")
	}
	p.Reload()
	p.WaitText("10 of 10")
	p.WaitText("no login with this token until they are reset")
	p.Inspect("token-locked")
	p.Follow("Reset wrong guesses")
	p.WaitText("The counter of wrong guesses is 0.")
	s.Server.MustCheck(t, "CHALLENGE", browser.AliceToken, browser.AlicePIN)

	p.Type("pin", "neue Pin")
	p.Type("repeat", "neue Pin")
	p.Follow("Set the PIN")
	p.WaitText("The PIN is set.")
	s.Server.MustCheck(t, "REJECT", browser.AliceToken, browser.AlicePIN)
	s.Server.MustCheck(t, "CHALLENGE", browser.AliceToken, "neue Pin")

	p.Answer(false)
	p.Click("Delete")
	p.WaitFor("sessionStorage.asked")
	if got := p.Asked(); !strings.Contains(got, browser.AliceToken) {
		t.Errorf("the question is %q", got)
	}
	s.Server.MustCheck(t, "CHALLENGE", browser.AliceToken, "neue Pin")
	p.Answer(true)
	p.Follow("Delete")
	p.WaitText("The token is deleted.")
	p.Allow("status of 404")
	p.Open("/ui/tokens/" + browser.AliceToken)
	p.WaitText("There is no token " + browser.AliceToken)
}

func TestRevokedTokenCanOnlyBeDeleted(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.Server.Must(t, "POST", "/token/revoke/"+browser.AliceToken, nil)
	p := signedIn(t, s)
	p.Open("/ui/tokens/" + browser.AliceToken)
	p.WaitText("revoked")
	if got := p.Count("main button"); got != 1 {
		t.Errorf("there are %d buttons: %s", got, p.Text("main"))
	}
	p.Looks("token-revoked")
}

func TestPINFormRefusesBadInput(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := signedIn(t, s)
	p.Allow("status of 400")
	for _, one := range []struct{ pin, repeat, field, says string }{
		{"one", "two", "repeat", "The two are not the same."},
		{"one", "", "repeat", "The two are not the same."},
		{strings.Repeat("p", 10_000), strings.Repeat("p", 10_000), "pin", "Write at most 256 bytes"},
		{strings.Repeat("ä", 129), strings.Repeat("ä", 129), "pin", "Write at most 256 bytes"},
		{"a\x00b", "a\x00b", "pin", "must be valid UTF-8 without NUL"},
	} {
		p.Open("/ui/tokens/" + browser.AliceToken)
		p.Unbounded()
		p.Put("pin", one.pin)
		p.Put("repeat", one.repeat)
		p.Follow("Set the PIN")
		says(t, p, "#e-"+one.field, one.says)
		if p.Value("#f-pin") != kept(one.pin) || p.Value("#f-repeat") != kept(one.repeat) {
			t.Errorf("what was typed is lost: %.40q", p.Value("#f-pin"))
		}
	}
	p.Looks("token-pin-wrong")
	s.Server.MustCheck(t, "CHALLENGE", browser.AliceToken, browser.AlicePIN)
	p.Follow("Deutsch") // of a page that answered a form
	p.WaitText("PIN setzen")
}

// TestUserSeesHisOwnTokensAndNothingElse by menu and by address.
func TestUserSeesHisOwnTokensAndNothingElse(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.Server.Enrol(t, "BOB1", "", "bob@example.org", "user", "bob", "realm", browser.Realm)
	p := s.Page(t, chromium)
	p.SignIn(browser.Alice, browser.AlicePassword)
	p.WaitText(browser.AliceToken)
	p.WaitNoText("BOB1")
	if got := p.Text("nav"); got != "My tokens Try a login" {
		t.Errorf("the menu is %q", got)
	}
	if got := p.Count("main button, main a"); got != 0 {
		t.Errorf("the page offers %d acts", got)
	}
	p.Inspect("own")
	weighs(t, p, "/ui/users")
	p.Follow("Try a login")
	p.Inspect("own-try")
	p.Allow("status of 403")
	p.Allow("status of 404")
	for path, want := range map[string]string{
		"/ui/tokens/BOB1": "You may not open this page", "/ui/user?user=bob&realm=home": "There is no user bob", "/ui/enrol?user=alice&realm=home": "You may not open this page",
		"/ui/deliveries": "You may not open this page", "/ui/tokens/BOB1/first": "You may not open this page",
	} {
		p.Open(path)
		p.WaitText(want)
		if text := p.Text("main"); strings.Contains(text, "bob@example.org") {
			t.Errorf("%s shows %s", path, text)
		}
	}
	for _, path := range []string{"/ui/tokens/ALICE1/pin", "/ui/tokens/ALICE1/first", "/ui/enrol", "/ui/deliveries/0192f6e0-0000-7000-8000-000000000000/address"} {
		if got := posted(p, path, "pin=1&repeat=1"); got != http.StatusForbidden {
			t.Errorf("POST %s answers %d", path, got)
		}
	}
	if got := posted(p, "/ui/tokens/ALICE1", "act=delete"); got == http.StatusOK {
		t.Errorf("deleting a token answers %d", got)
	}
	s.Server.MustCheck(t, "CHALLENGE", browser.AliceToken, browser.AlicePIN)
}

// posted sends a form by a script of the page and returns the answer's status.
func posted(p *browser.Page, path, form string) int {
	return browser.Eval[int](p, fmt.Sprintf(`fetch(%q, {method: "POST", redirect: "follow", headers: {"Content-Type": "application/x-www-form-urlencoded"}, body: %q}).then(r => r.status)`, path, form))
}
