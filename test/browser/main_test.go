package browser_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
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

// signedIn opens a tab with the administrator's session, at the first page. The form of the sign-in has tests of its own.
func signedIn(t *testing.T, s *browser.Site) *browser.Page {
	t.Helper()
	p := s.Page(t, chromium)
	p.SetCookie(sessionCookie(t, s, browser.Admin, browser.AdminPassword))
	p.Open("/")
	return p
}

// siteOf runs a server on an installation that newSite does not make: without a queue, or with one out of reach.
func siteOf(t *testing.T, installation *e2e.Site, serve ...string) *browser.Site {
	t.Helper()
	s := &browser.Site{Site: installation, Sink: e2e.NewSink(t, e2e.SinkOptions{})}
	s.Server = s.Serve(t, serve...)
	s.URL = s.Server.URL
	return s
}

// challenged makes n logins up to the mail, each for a token of its own, and returns their transactions.
func challenged(t *testing.T, s *browser.Site, first, n int) []string {
	t.Helper()
	var all []string
	for i := first; i < first+n; i++ {
		serial := fmt.Sprintf("T%03d", i)
		s.Server.Enrol(t, serial, "", fmt.Sprintf("t%03d@example.org", i))
		all = append(all, s.Server.MustCheck(t, "CHALLENGE", serial, "").Detail.TransactionID)
	}
	return all
}

// settled waits until a transaction's messages stand so.
func settled(t *testing.T, s *browser.Site, transaction, state string) {
	t.Helper()
	e2e.Eventually(t, "the message of "+transaction+" is "+state, func() bool { return s.Server.DeliveryState(t, transaction) == state })
}

// idOf returns the delivery of a transaction.
func idOf(t *testing.T, s *browser.Site, transaction string) string {
	t.Helper()
	a := s.Server.Must(t, http.MethodGet, "/delivery/?transaction_id="+transaction, nil)
	var found struct{ Deliveries []struct{ ID string } }
	if err := json.Unmarshal(a.Result.Value, &found); err != nil || len(found.Deliveries) != 1 {
		t.Fatalf("transaction %s: %s (%v)", transaction, a, err)
	}
	return found.Deliveries[0].ID
}

// transactionOf returns that of alice's only login.
func transactionOf(t *testing.T, s *browser.Site) string {
	t.Helper()
	a := s.Server.Must(t, http.MethodGet, "/delivery/?serial="+browser.AliceToken, nil)
	var found struct {
		Deliveries []struct{ Transactions []string }
	}
	if err := json.Unmarshal(a.Result.Value, &found); err != nil || len(found.Deliveries) != 1 || len(found.Deliveries[0].Transactions) != 1 {
		t.Fatalf("alice's deliveries: %s (%v)", a, err)
	}
	return found.Deliveries[0].Transactions[0]
}

// logIn types name and PIN into a login's first step.
func logIn(p *browser.Page, name, pin string) {
	p.Type("user", name)
	p.Type("pass", pin)
	p.Follow("Go on")
}

// weighs fails the test when a page is too heavy.
func weighs(t *testing.T, p *browser.Page, path string) {
	t.Helper()
	p.Open("about:blank") // the page before may still be asking for its icon
	if n := p.Weight(path); n > mostWeight {
		t.Errorf("%s weighs %d bytes, want at most %d", path, n, mostWeight)
	}
}

// says fails the test unless a text can be read in a selector's first element.
func says(t *testing.T, p *browser.Page, selector, want string) {
	t.Helper()
	if got := p.Text(selector); !strings.Contains(got, want) {
		t.Errorf("%s of %s says %q, want %q", selector, p.Path(), got, want)
	}
}

// kept is what a browser keeps of a value that a page writes into a field: HTML has no NUL.
func kept(value string) string { return strings.ReplaceAll(value, "\x00", "\ufffd") }
