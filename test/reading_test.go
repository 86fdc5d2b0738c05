package test

import (
	"database/sql"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"otpost/test/e2e"
)

// rowsOf returns how many rows of the journal have an action like this.
func rowsOf(t *testing.T, site *e2e.Site, action string) (n int) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(site.Dir, "state", "otpost.db")+"?mode=ro")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.QueryRowContext(t.Context(), `SELECT count(*) FROM audit WHERE action LIKE $1`,
		action).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// pageOf asks for a page, or sends its form, as a browser with this cookie does.
func pageOf(t *testing.T, c *e2e.Client, path, cookie string, form url.Values) *http.Response {
	t.Helper()
	method := http.MethodGet
	if form != nil {
		method = http.MethodPost
	}
	r, err := http.NewRequestWithContext(t.Context(), method, c.URL+path, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Cookie", cookie)
	response, err := c.HTTP.Transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close() //nolint:errcheck // nothing was read
	return response
}

// TestReadingPagesWritesNoJournal opens pages as an administrator, and then requests their content
// by REST.
func TestReadingPagesWritesNoJournal(t *testing.T) {
	t.Parallel()
	site := e2e.NewSite(t, programs, true)
	server := site.Serve(t)
	in := pageOf(t, server.Client, "/ui/signin", "", url.Values{"username": {"admin"}, "password": {e2e.AdminPassword}})
	cookie, _, _ := strings.Cut(in.Header.Get("Set-Cookie"), ";")
	for _, path := range []string{"/ui/overview", "/ui/servers", "/ui/users", "/ui/deliveries", "/ui/try"} {
		if page := pageOf(t, server.Client, path, cookie, nil); page.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", path, page.Status)
		}
	}
	if n := rowsOf(t, site, "GET %"); n != 0 {
		t.Errorf("looking at pages wrote %d rows", n)
	}
	if n := rowsOf(t, site, "POST /auth"); n != 2 { // by REST and by the page
		t.Errorf("%d rows of two sign-ins", n)
	}
	for _, path := range []string{"/smtpserver/", "/realm/", "/validate/polltransaction/1"} {
		server.Must(t, "GET", path, nil)
	}
	if n := rowsOf(t, site, "GET %"); n != 2 { // a poll writes none
		t.Errorf("%d rows of two reads and a poll by REST", n)
	}
	server.Stop(t)
}
