package browser_test

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"otpost/test/browser"
	"otpost/test/e2e"
)

// lapsed sends a form without a session, mistypes the password once, signs in and sends the form again.
func lapsed(t *testing.T, p *browser.Page, send func()) {
	t.Helper()
	p.Forget()
	p.Allow("status of 401")
	send()
	p.WaitText("nothing was saved yet")
	p.GiveCredentials(browser.Admin, "not the password")
	p.WaitText("User name or password is wrong.")
	p.WaitText("nothing was saved yet")
	p.Type("password", browser.AdminPassword)
	p.Follow(`[action="/ui/signin"] button`)
	p.WaitText("What you typed before your session ended is still here.")
}

// TestNothingTypedIsLostWhenASessionEnds, in each form; not even over a wrong password.
func TestNothingTypedIsLostWhenASessionEnds(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	transaction := s.Server.MustCheck(t, "CHALLENGE", browser.AliceToken, browser.AlicePIN).Detail.TransactionID
	settled(t, s, transaction, "sent")
	for _, one := range []struct {
		name, path string
		send       func(p *browser.Page)
		then       string
	}{
		{"enrol", "/ui/enrol?user=bob&realm=home", func(p *browser.Page) {
			p.Type("pin", `Pin "mit" <Zeichen> & ü`)
			p.Type("repeat", `Pin "mit" <Zeichen> & ü`)
			p.Type("description", "Bobs 令牌")
			p.Follow("Enrol and send a first code")
		}, "The token is made."},
		{"code", "/ui/tokens/ALICE1/first?transaction_id=" + transaction, func(p *browser.Page) {
			p.Type("pass", "000000")
			p.Follow("Check the code")
		}, "The first code"},
		{"pin", "/ui/tokens/ALICE1", func(p *browser.Page) {
			p.Type("pin", "anders")
			p.Type("repeat", "anders")
			p.Follow("Set the PIN")
		}, "The PIN is set."},
		{"act", "/ui/tokens/ALICE1", func(p *browser.Page) { p.Follow("Disable") }, "The token is disabled"},
		{"enable", "/ui/tokens/ALICE1", func(p *browser.Page) { p.Follow("Enable") }, "The token is enabled."},
		{"first", "/ui/tokens/ALICE1", func(p *browser.Page) { p.Follow("Send a test code") }, "The first code"},
		{"try", "/ui/try", func(p *browser.Page) {
			p.Type("user", browser.Alice)
			p.Type("pass", "anders")
			p.Follow("Go on")
		}, "Valid until"},
		{"delete", "/ui/tokens/ALICE1", func(p *browser.Page) {
			p.Answer(true)
			p.Follow("Delete")
		}, "The token is deleted."},
	} {
		p := signedIn(t, s)
		p.Open(one.path)
		lapsed(t, p, func() { one.send(p) })
		if one.name == "enrol" {
			p.Looks("goon")
		}
		p.Follow("Send it now")
		p.WaitText(one.then)
	}
	p := signedIn(t, s)
	p.Open("/ui/user?user=bob&realm=home")
	p.WaitText("Bobs 令牌")
	typed := url.Values{"user": {"bob"}, "pass": {`Pin "mit" <Zeichen> & ü`}}
	if a := s.Server.Anonymous().Must(t, http.MethodPost, "/validate/check", typed); a.Result.Authentication != "CHALLENGE" {
		t.Errorf("the PIN is not as it was typed: %s", a)
	}
}

// TestActOnADeliveryAfterTheSessionEnded: the act comes through, too.
func TestActOnADeliveryAfterTheSessionEnded(t *testing.T) {
	t.Parallel()
	s := newSite(t, "--workers", "0")
	p := signedIn(t, s)
	transaction := s.Server.MustCheck(t, "CHALLENGE", browser.AliceToken, browser.AlicePIN).Detail.TransactionID
	path := "/ui/deliveries/" + idOf(t, s, transaction)
	p.Open(path)
	lapsed(t, p, func() { p.Follow("Show the address") })
	p.Follow("Send it now")
	p.WaitText(browser.AliceAddress)
	p.Open(path)
	lapsed(t, p, func() {
		p.Answer(true)
		p.Follow("#cancel")
	})
	p.Follow("Send it now")
	p.WaitText("The message is cancelled")
}

// TestPageOfASessionThatEnded: after signing in again the visitor is where he wanted to be, in the language of his choice.
func TestPageOfASessionThatEnded(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := s.Page(t, chromium)
	p.Allow("status of 401")
	p.Open("/ui/deliveries?state=failed")
	p.Wait("#f-password")
	p.Looks("signin-needed")
	p.GiveCredentials(browser.Admin, "wrong")
	p.WaitText("User name or password is wrong.")
	if got := p.Value("#f-username"); got != browser.Admin {
		t.Errorf("the user name is %q", got)
	}
	p.Looks("signin-wrong")
	p.Type("password", browser.AdminPassword)
	p.Follow(`[action="/ui/signin"] button`)
	if got := p.Path(); got != "/ui/deliveries?state=failed" {
		t.Errorf("signing in leads to %s", got)
	}
	stranger := s.Page(t, chromium)
	stranger.Allow("status of 401")
	stranger.SignIn("nobody", "wrong")
	stranger.Follow("Deutsch") // of a page that answered a form
	stranger.WaitText("Anmelden")
}

// TestSignInRefusesBadInput with a sentence of its own; what was typed stays.
func TestSignInRefusesBadInput(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := s.Page(t, chromium)
	p.Allow("status of 4")
	for _, name := range []string{strings.Repeat("a", 10_000), "a\x00b", "a\rb", "админ", "admin@nowhere", "%", "a@b@c"} {
		p.Open("/")
		p.Put("username", name)
		p.Put("password", strings.Repeat("p", 10_000))
		p.Follow(`[action="/ui/signin"] button`)
		p.Wait("[role=alert]")
		if got := p.Value("#f-username"); got != kept(strings.ReplaceAll(name, "\r", "")) {
			t.Errorf("the name was %.40q and is %.40q", name, got)
		}
	}
}

// TestSignOut ends the session of the browser in all tabs; what one of them still sends asks for a new one.
func TestSignOut(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := signedIn(t, s)
	cookie := sessionCookie(t, s, browser.Admin, browser.AdminPassword)
	p.Open("/ui/tokens/ALICE1")
	// The other tab is a script of this one: what matters is that both have the same cookies.
	if got := browser.Eval[string](p, `fetch("/ui/signout", {method: "POST"}).then(r => r.text())`); !strings.Contains(got, `name="password"`) {
		t.Error("signing out leads to no sign-in")
	}
	lapsed(t, p, func() { p.Follow("Disable") })
	p.Follow("Send it now")
	p.WaitText("The token is disabled")
	p.Follow("Sign out")
	p.Wait("#f-password")
	p.Allow("status of 401")
	p.Open("/ui/users")
	p.Wait("#f-password")
	if p.Visible("nav") {
		t.Error("the sign-in page has a menu")
	}
	if got := raw(t, http.MethodGet, s.URL+"/ui/users", cookie.Name+"="+cookie.Value, nil).StatusCode; got != http.StatusOK {
		t.Errorf("signing out here ended a session elsewhere: %d", got)
	}
}

// TestTwoTabs: what one changes the other sees, live or when it acts.
func TestTwoTabs(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	one, two := signedIn(t, s), signedIn(t, s)
	one.Open("/ui/tokens/ALICE1")
	two.Open("/ui/tokens/ALICE1")
	one.Answer(true)
	one.Follow("Delete")
	one.WaitText("The token is deleted.")
	two.Allow("status of 404")
	two.Follow("Disable")
	two.WaitText("There is no token ALICE1.")
	two.Looks("token-gone")
}

// TestStreamEndsWithItsSession: a stream shows nothing to whom a session was taken from; his page asks him to sign in.
func TestStreamEndsWithItsSession(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	cookie := sessionCookie(t, s, browser.Admin, browser.AdminPassword)
	_, body := stream(t, s.URL+"/ui/deliveries/live", cookie.Name+"="+cookie.Value)
	if code, p := e2e.Run(t, withInput(s.Otpost("admin", "password", "--config", s.Config, browser.Admin, "--password-stdin"), "Ein-anderes-Wort-5\n")); code != 0 {
		t.Fatalf("the password is not changed: %s%s", p.Out, p.Err)
	}
	if _, err := io.ReadAll(body); err != nil { // its end
		t.Errorf("the stream broke off: %v", err)
	}
	if got := raw(t, http.MethodGet, s.URL+"/ui/deliveries/live", cookie.Name+"="+cookie.Value, nil).StatusCode; got != http.StatusUnauthorized {
		t.Errorf("a stream answers %d to a session that has ended", got)
	}
	if got := raw(t, http.MethodGet, s.URL+"/ui/users", cookie.Name+"="+cookie.Value, nil).StatusCode; got != http.StatusUnauthorized {
		t.Errorf("a page answers %d to a session that has ended", got)
	}
}

func withInput(c e2e.Command, text string) e2e.Command {
	c.Stdin = text
	return c
}

// TestPagesNeedTheirRight: without it they say which one is missing.
func TestPagesNeedTheirRight(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := s.Page(t, chromium)
	p.Allow("status of 403")
	p.SignIn(browser.Alice, browser.AlicePassword)
	for path, right := range map[string]string{"/ui/deliveries": "delivery_read", "/ui/enrol": "enrollEMAIL", "/ui/tokens/ALICE1/first": "triggerchallenge", "/ui/overview": "delivery_read"} {
		p.Open(path)
		p.WaitText(fmt.Sprintf("You may not open this page: it needs the right “%s”.", right))
	}
}
