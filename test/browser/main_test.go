package browser_test

import (
	"fmt"
	"os"
	"sync"
	"testing"

	"otpost/test/browser"
	"otpost/test/e2e"
)

// chromium is the one of this test program; it starts with the first page.
var chromium = browser.New()

// dir is where build puts the programs, set by TestMain alone.
var dir string

// build builds the programs, once, for the first site.
var build = sync.OnceValues(func() (e2e.Programs, error) { return e2e.Build(dir) })

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	var err error
	if dir, err = os.MkdirTemp("", "otpost-browser-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	defer chromium.Close()
	return m.Run()
}

func programs(t *testing.T) e2e.Programs {
	t.Helper()
	p, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// newSite starts an otpost with users, a mail server and alice's token.
func newSite(t *testing.T, serve ...string) *browser.Site {
	t.Helper()
	return browser.NewSite(t, programs(t), serve...)
}

// newEmptySite starts an otpost as `otpost setup` leaves it.
func newEmptySite(t *testing.T, serve ...string) *browser.Site {
	t.Helper()
	return browser.NewEmptySite(t, programs(t), serve...)
}

// signedIn opens a tab with the administrator's session.
func signedIn(t *testing.T, s *browser.Site) *browser.Page {
	t.Helper()
	p := s.Page(t, chromium)
	p.SignIn(browser.Admin, browser.AdminPassword)
	return p
}
