package browser_test

import (
	"strings"
	"testing"

	"otpost/test/browser"
	"otpost/test/e2e"
)

// TestTryALogin: PIN, then live how the message stands, then the code.
func TestTryALogin(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	gate := s.Sink.Hold(t, e2e.AtDot)
	p := signedIn(t, s)
	p.Follow("Try a login")
	p.Inspect("try")
	weighs(t, p, "/ui/try")
	logIn(p, browser.Alice, browser.AlicePIN)
	says(t, p, "#mail", "A code is on its way to you.")
	p.WaitText("Valid until")
	p.Looks("try-code")
	gate.Open()
	p.WaitText("We have sent you a code.")
	p.Type("pass", "000000000")
	p.Follow("Log in")
	says(t, p, "#e-pass", "This is not the code that we sent. Try again.")
	says(t, p, "#mail", "We have sent you a code.")
	p.Looks("try-wrongcode")
	p.Allow("status of 400")
	p.Type("pass", "")
	p.Follow("Log in")
	says(t, p, "#e-pass", "Type the code that stands in the message.")
	if got := s.Server.Failcount(t, browser.AliceToken); got != 1 {
		t.Errorf("the fail counter is %d, want 1: an empty field is no guess", got)
	}
	p.Type("pass", s.Sink.Mail(t, browser.AliceAddress, 1).Code())
	p.Follow("Log in")
	p.WaitText("The login of alice was accepted.")
	p.WaitText(browser.AliceToken)
	p.Looks("try-accepted")
}

// TestTryALoginThatFails: each reason has its sentence; an unknown user has that of a wrong PIN.
func TestTryALoginThatFails(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.Server.Enrol(t, "BOB1", "pin-bob", "bob@example.org", "user", "bob", "realm", browser.Realm)
	s.Server.Must(t, "POST", "/token/disable/BOB1", nil)
	p := signedIn(t, s)
	p.Allow("status of 400")
	const wrong = "User name or PIN is wrong."
	for _, one := range []struct{ user, pin, says string }{
		{browser.Alice, "wrong", wrong}, {browser.Alice, "", wrong}, {browser.Alice, strings.Repeat("p", 10_000), wrong}, {"nobody", "x", wrong}, {"алиса", "x", wrong},
		{"nobody@nowhere", "x", wrong}, {strings.Repeat("u", 5000), "x", wrong},
		{"zoe", "x", "This user has no token yet."}, {"bob", "pin-bob", "This token is disabled."},
		{"", "x", "Type a user name."}, {"a\x00b", "x", "It must be valid UTF-8 without NUL"}, {browser.Alice, "a\x00b", "It must be valid UTF-8 without NUL"},
	} {
		p.Open("/ui/try")
		p.Unbounded()
		p.Put("user", one.user)
		p.Put("pass", one.pin)
		p.Follow("Go on")
		p.WaitText(one.says)
		if got := p.Value("#f-user"); got != kept(one.user) {
			t.Errorf("the user was %.40q, and is %.40q", one.user, got)
		}
	}
	p.Looks("try-bad")
	p.Open("/ui/try")
	logIn(p, "nobody", "x")
	p.Looks("try-wrongpin")
	for range 10 {
		s.Server.MustCheck(t, "REJECT", browser.AliceToken, "wrong")
	}
	p.Open("/ui/try")
	logIn(p, browser.Alice, browser.AlicePIN)
	p.WaitText("Too many wrong guesses: this token is locked.")
	p.Looks("try-locked")
	p.Language("de")
	logInGerman(p, browser.Alice, browser.AlicePIN)
	p.WaitText("Zu viele falsche Versuche")
	p.Looks("try-locked")
}

func logInGerman(p *browser.Page, name, pin string) {
	p.Open("/ui/try")
	p.Type("user", name)
	p.Type("pass", pin)
	p.Follow("Weiter")
}

// TestTryALoginWithoutAMailServer: in the request it is told at once; through the queue with the next try, live until it is sent.
func TestTryALoginWithoutAMailServer(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := signedIn(t, s)
	s.Sink.Use(func(e2e.Stage, e2e.Mail) error { return e2e.Refuse(451, "come again") })
	p.Open("/ui/try")
	logIn(p, browser.Alice, browser.AlicePIN)
	p.WaitText("The code could not be sent yet.")
	p.WaitFor(`/^Next try in \d+\ss\.$/.test(document.querySelector(".more").textContent)`)
	p.Looks("try-deferred")
	s.Sink.Use(nil)
	p.WaitText("We have sent you a code.")
	if got := p.Text(".more"); got != "" {
		t.Errorf("beside it stands %q", got)
	}
	s.Sink.Use(func(e2e.Stage, e2e.Mail) error { return e2e.Refuse(550, "no such mailbox") })
	p.Follow("Start again")
	p.Type("pass", browser.AlicePIN)
	p.Follow("Go on")
	p.WaitText("We could not send you a code.")
	p.Type("pass", "123456")
	p.Follow("Log in")
	if p.Visible("#f-pass") {
		t.Error("the page asks for a code that nobody got")
	}
	p.Looks("try-notsent")
	s.Server.SMTPServer(t, browser.MailServer, s.Sink.Port, map[string]any{"enqueue_job": false})
	p.Follow("Start again")
	p.Type("pass", browser.AlicePIN)
	p.Follow("Go on")
	p.WaitText("The PIN is right, but we could not send you a code.")
	p.Looks("try-unsent")
}

// TestTryALoginThatExpires: who comes too late is told so, and not that his code is wrong.
func TestTryALoginThatExpires(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.Server.Set(t, "email.validtime", "3")
	p := signedIn(t, s)
	p.Open("/ui/try")
	logIn(p, browser.Alice, browser.AlicePIN)
	p.WaitText("We have sent you a code.")
	code := s.Sink.Mail(t, browser.AliceAddress, 1).Code()
	e2e.Eventually(t, "the code has ended", func() bool {
		p.Type("pass", code+"0") // would be wrong before, too
		p.Follow("Log in")
		return !p.Visible("#f-pass")
	})
	p.WaitText("The time of this code is over.")
	p.Looks("try-expired")
	p.Follow("Start again")
	if got := p.Value("#f-user"); got != browser.Alice {
		t.Errorf("the user is %q", got)
	}
}

// TestSampleLogin: somebody without a session; he is not told more than that name or PIN are wrong.
func TestSampleLogin(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := s.Page(t, chromium)
	p.Open("/ui/login")
	p.Inspect("login")
	weighs(t, p, "/ui/login")
	for _, name := range []string{"zoe", "nobody", browser.Alice} {
		logIn(p, name, "wrong")
		p.WaitText("User name or PIN is wrong.")
	}
	logIn(p, browser.Alice, browser.AlicePIN)
	p.WaitText("We have sent you a code.")
	p.WaitNoText(browser.AliceToken)
	p.Looks("login-code")
	p.Type("pass", s.Sink.Mail(t, browser.AliceAddress, 1).Code())
	p.Follow("Log in")
	p.WaitText("The login of alice was accepted.")
	p.Looks("login-accepted")
}

// TestSampleLoginWithoutScripts: "Look again" shows how the message stands, and keeps what was typed.
func TestSampleLoginWithoutScripts(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.Sink.Use(func(e2e.Stage, e2e.Mail) error { return e2e.Refuse(451, "come again") })
	p := s.Page(t, chromium)
	p.Scripts(false)
	p.Open("/ui/login")
	logIn(p, browser.Alice, browser.AlicePIN)
	e2e.Eventually(t, "the page says that it is tried again", func() bool {
		p.Type("pass", "12 34")
		p.Follow("Look again")
		return strings.Contains(p.Text("main"), "Next try in")
	})
	if got := p.Value("#f-pass"); got != "12 34" {
		t.Errorf("what was typed is %q", got)
	}
	p.Looks("login-noscript")
	s.Sink.Use(nil)
	e2e.Eventually(t, "the page says that it is sent", func() bool {
		p.Follow("Look again")
		return strings.Contains(p.Text("main"), "We have sent you a code.")
	})
	if got := s.Server.Failcount(t, browser.AliceToken); got != 0 {
		t.Errorf("looking counted %d guesses", got)
	}
	p.Type("pass", s.Sink.Mail(t, browser.AliceAddress, 1).Code())
	p.Follow("Log in")
	p.WaitText("The login of alice was accepted.")
}
