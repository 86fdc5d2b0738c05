package webui

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

// strange are names that may stand in the store, for REST takes them.
var strange = []string{"a?b", "a#b", "a/b", "50%41", "a//b", "a b"} //nolint:gochecknoglobals // a constant table

// page opens an address as an administrator with all rights that a test needs, and returns the status and the page.
func page(t *testing.T, s *Site, method, address string) (int, string) {
	t.Helper()
	r := httptest.NewRequest(method, address, nil)
	r.AddCookie(&http.Cookie{Name: cookieName, Value: tokenOf(t, "admin", time.Now().Add(time.Hour), "tokenlist", "userlist", "smtpserver_read",
		"smtpserver_write", "setpin", "delete", "delivery_read", "triggerchallenge")})
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

func TestLinkLeadsToTheObjectThatItNames(t *testing.T) {
	t.Parallel()
	for _, name := range strange {
		quoted := strings.ReplaceAll(name, `"`, `\"`)
		s := newSite(t, api{
			"GET /token/":              {200, `{"status": true, "value": {"tokens": [{"serial": "` + quoted + `", "active": true, "maxfail": 10}]}}`},
			"GET /smtpserver/":         {200, `{"status": true, "value": {"` + quoted + `": {"server": "x"}}}`},
			"GET /delivery/statistics": {200, `{"status": true, "value": {}}`},
			"GET /user/":               {200, `{"status": true, "value": [{"username": "ada", "realm": "home"}]}`},
		})
		want := url.PathEscape(name)
		for address, links := range map[string][]string{
			"/ui/user?user=ada&realm=home":  {`href="/ui/tokens/` + want + `"`},
			"/ui/servers":                   {`href="/ui/servers/` + want + `"`},
			"/ui/tokens/" + want:            {`action="/ui/tokens/` + want + `"`, `action="/ui/tokens/` + want + `/pin"`, `formaction="/ui/tokens/` + want + `/first"`},
			"/ui/tokens/" + want + "/first": {`href="/ui/tokens/` + want + `"`, `action="/ui/tokens/` + want + `/first"`},
		} {
			code, got := page(t, s, http.MethodGet, address)
			if code != http.StatusOK {
				t.Errorf("%s answers %d:\n%s", address, code, got)
			}
			for _, link := range links {
				if !strings.Contains(got, link) {
					t.Errorf("%s lacks %s:\n%s", address, link, got)
				}
			}
		}
	}
}

// A browser takes dots out of an address, however they are written.
func TestNameOfDotsIsNoLink(t *testing.T) {
	t.Parallel()
	for _, name := range []string{".", ".."} {
		s := newSite(t, api{
			"GET /token/": {200, `{"status": true, "value": {"tokens": [{"serial": "` + name + `", "active": true, "maxfail": 10}]}}`},
			"GET /user/":  {200, `{"status": true, "value": [{"username": "ada", "realm": "home"}]}`},
		})
		_, got := page(t, s, http.MethodGet, "/ui/user?user=ada&realm=home")
		if strings.Contains(got, `href="/ui/tokens/`) || !strings.Contains(got, `title="`+newSite(t, api{}).languages[fallback].say("link.dots")+`">`+name+`</span>`) {
			t.Errorf("the token %s:\n%s", name, got)
		}
	}
}

func TestAddressOfDotsIsNoFailure(t *testing.T) {
	t.Parallel()
	mux := http.NewServeMux() // as the API's, it cleans paths
	mux.Handle("/smtpserver/{identifier}", api{})
	mux.Handle("/", api{})
	s := newSite(t, mux)
	for _, address := range []string{"/ui/servers/%2E%2E", "/ui/servers/%2E", "/ui/tokens/%2E%2E/first/code", "/ui/deliveries/%2E%2E"} {
		if code, got := page(t, s, http.MethodGet, address); code != http.StatusNotFound && code != http.StatusSeeOther {
			t.Errorf("%s answers %d:\n%s", address, code, got)
		}
	}
}
