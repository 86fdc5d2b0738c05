package browser_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"otpost/test/browser"
)

// asks reports whether the browser would ask before the page is left.
func asks(p *browser.Page) bool {
	return browser.Eval[bool](p, `(() => { const e = new Event("beforeunload", {cancelable: true}); dispatchEvent(e); return e.defaultPrevented })()`)
}

// TestChoiceOfALanguageKeepsTheForm, with scripts and without, before it was sent and after it was refused; nothing is done.
func TestChoiceOfALanguageKeepsTheForm(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for _, scripts := range []bool{true, false} {
		p := signedIn(t, s)
		p.Allow("status of 400")
		p.Scripts(scripts)
		p.Open("/ui/enrol?user=bob&realm=home")
		p.Type("description", "Bobs 令牌")
		p.Type("pin", `P "1"`)
		p.Follow("Deutsch")
		p.WaitText("Beschreibung")
		if p.Value("#f-description") != "Bobs 令牌" || p.Value("#f-pin") != `P "1"` {
			t.Errorf("scripts %t: what was typed is lost", scripts)
		}
		p.Follow("Anlegen und ersten Code senden") // refused: repeat is empty
		p.Wait("#e-repeat")
		p.Follow("English")
		p.WaitText("Description")
		if p.Value("#f-description") != "Bobs 令牌" || p.Value("#f-pin") != `P "1"` {
			t.Errorf("scripts %t: what was typed is lost after a refusal", scripts)
		}
		p.Open("/ui/user?user=bob&realm=home")
		p.WaitText("This user has no token yet.")
	}
	stranger := s.Page(t, chromium)
	stranger.Open("/ui/login")
	logIn(stranger, browser.Alice, browser.AlicePIN)
	stranger.WaitText("Valid until")
	stranger.Type("pass", "12")
	stranger.Follow("Deutsch")
	stranger.WaitText("Gültig bis")
	if got := stranger.Value("#f-pass"); got != "12" {
		t.Errorf("the code is %q", got)
	}
	stranger.Looks("login-language")
	transactionOf(t, s) // of her only message
}

// TestLanguageOfThePageToSignIn: what came after the session had ended is there in the other language, too.
func TestLanguageOfThePageToSignIn(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := signedIn(t, s)
	p.Allow("status of 401")
	p.Open("/ui/tokens/ALICE1")
	p.Forget()
	p.Follow("Disable")
	p.Follow("Deutsch")
	p.GiveCredentials(browser.Admin, browser.AdminPassword)
	p.Follow("English")
	p.Follow("Send it now")
	p.WaitText("The token is disabled")
}

// TestTypedFormIsNotLeftUnasked: by Sign out, nor after it came back with an error.
func TestTypedFormIsNotLeftUnasked(t *testing.T) {
	t.Parallel()
	p := signedIn(t, newSite(t))
	p.Allow("status of 400")
	p.Open("/ui/newserver")
	if asks(p) {
		t.Error("an untouched form asks")
	}
	p.Type("description", "typed")
	browser.Eval[struct{}](p, `void document.querySelector(".who").dispatchEvent(new SubmitEvent("submit", {bubbles: true, cancelable: true}))`)
	if !asks(p) || p.Attribute(".who", "aria-busy") != "" {
		t.Error("signing out does not ask")
	}
	p.Follow(".acts .main")
	p.Wait(".error")
	if !asks(p) {
		t.Error("a form that was refused does not ask")
	}
	p.Type("identifier", "fresh")
	p.Type("server", "mail.example.com")
	p.Type("sender", "otpost@example.com")
	p.Follow(".acts .main")
	p.WaitText("The SMTP server is saved.")
	if asks(p) {
		t.Error("the list asks")
	}
}

// TestFocusStaysWhenThePageLives: on what it was on, else on the heading.
func TestFocusStaysWhenThePageLives(t *testing.T) {
	t.Parallel()
	s := newSite(t, "--workers", "0")
	challenged(t, s, 0, 51)
	p := signedIn(t, s)
	p.Open("/ui/deliveries")
	focus := func(expression string) { browser.Eval[struct{}](p, "void "+expression+".focus()") }
	focused := func(what, want string) {
		t.Helper()
		if got := p.Focused(); got != want {
			t.Errorf("%s: the focus is on %s, want %s", what, got, want)
		}
	}
	focus(`document.querySelector("#older")`)
	challenged(t, s, 51, 1)
	listed(p, "T051")
	focused("the link to older ones", "a#older")
	focus(`[...document.querySelectorAll("tbody a")].at(-1)`)
	challenged(t, s, 52, 1)
	listed(p, "T052")
	if got := p.Focused(); !strings.HasSuffix(got, "h1") {
		t.Errorf("a row that has gone: the focus is on %s", got)
	}

	for _, one := range []struct{ focus, want string }{
		{`document.querySelector("dd.mono a")`, "div#delivery > dl.facts > dd.mono > a"},
		{`document.querySelector("#cancel")`, "div#delivery > div.head > h1"},
		{`document.querySelector("#address")`, "div#delivery > div.head > h1"},
	} {
		serial := fmt.Sprintf("F%d", len(one.focus))
		s.Server.Enrol(t, serial, "", serial+"@example.org")
		id := idOf(t, s, s.Server.MustCheck(t, "CHALLENGE", serial, "").Detail.TransactionID)
		p.Open("/ui/deliveries/" + id)
		focus(one.focus)
		s.Server.Must(t, http.MethodPost, "/delivery/"+id+"/cancel", nil)
		p.WaitText("It was cancelled")
		if got := p.Focused(); got != one.want {
			t.Errorf("%s: the focus is on %s, want %s", one.focus, got, one.want)
		}
	}
}

// TestLongNamesFit on each page that shows them as a heading or in a sentence.
func TestLongNamesFit(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	identifier, name := strings.Repeat("w", 255), strings.Repeat("W", 500)
	s.Server.SMTPServer(t, identifier, s.Sink.Port, map[string]any{"enqueue_job": true})
	s.Server.Must(t, "POST", "/resolver/long", map[string]any{"type": "passwdresolver", "fileName": s.Write(t, "long.passwd", name+":x:1:1:Long,,,,long@example.org:/:/bin/sh\n")})
	s.Server.Must(t, "POST", "/realm/long", map[string]any{"resolvers": "long"})
	p := signedIn(t, s)
	p.Allow("status of 404")
	user := "user=" + url.QueryEscape(name) + "&realm=long"
	for _, path := range []string{"/ui/servers/" + identifier, "/ui/servers", "/ui/user?" + user, "/ui/enrol?" + user, "/ui/users?realm=long", "/ui/try?" + user,
		"/ui/user?realm=home&user=" + name, "/ui/tokens/" + name} {
		p.Open(path)
		p.Fits()
		p.Phone()
		p.Fits()
		p.Desktop()
	}
}

// TestPageOfAStrangeName is of no other object: names with what separates the parts of an address, and of dots alone.
func TestPageOfAStrangeName(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := signedIn(t, s)
	p.Allow("status of 404")
	for _, name := range []string{"a?b", "a#b", "a/b", "50%41", "office?x"} {
		s.Server.Must(t, http.MethodPost, "/smtpserver/"+url.PathEscape(url.PathEscape(name)), map[string]any{"server": "mail.example.com", "sender": "x@example.org"})
		p.Open("/ui/servers")
		p.Follow(name)
		says(t, p, "h1", name)
		if got := p.Value("#f-identifier"); got != name {
			t.Errorf("%s leads to %s", name, got)
		}
		p.Answer(true)
		p.Follow("Delete")
		p.WaitText("The SMTP server is deleted.")
		p.WaitNoText(name)
	}
	p.WaitText(browser.MailServer) // it was none of theirs
	cookie := sessionCookie(t, s, browser.Admin, browser.AdminPassword)
	for _, path := range []string{"/ui/servers/%2E%2E", "/ui/servers/%2E", "/ui/deliveries/%2E%2E"} {
		if got := raw(t, http.MethodGet, s.URL+path, cookie.Name+"="+cookie.Value, nil).StatusCode; got != http.StatusNotFound {
			t.Errorf("%s answers %d", path, got)
		}
	}
}
