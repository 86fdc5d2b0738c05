package browser_test

import (
	"testing"

	"otpost/test/browser"
)

// mostWeight is what a page may weigh without a cache, in bytes.
const mostWeight = 100 << 10

func TestSignInPage(t *testing.T) {
	t.Parallel()
	s := newEmptySite(t)
	p := s.Page(t, chromium)
	if n := p.Weight("/"); n > mostWeight {
		t.Errorf("the page weighs %d bytes", n)
	}
	p.Inspect("signin")
}

func TestSignInOpensASession(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := s.Page(t, chromium)
	p.SignIn(browser.Admin, browser.AdminPassword)
	if p.Visible("#f-password") {
		t.Errorf("the form is still shown: %s", p.Text("main"))
	}
	stranger := s.Page(t, chromium)
	stranger.Allow("status of 401")
	stranger.Open(p.Path())
	stranger.Wait("#f-password")
}
