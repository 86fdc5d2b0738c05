package webui

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"
)

// A password may hold percent signs: the API decodes what others send once more, and must not with what was typed here.
func TestWhatIsTypedReachesTheAPIAsItIs(t *testing.T) {
	t.Parallel()
	const typed = "a%41 b+c%2Bd"
	var got *http.Request
	s := newSite(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			t.Error(err)
		}
		got = r
		api{}.ServeHTTP(w, r)
	}))
	v := &visit{site: s, text: s.languages[fallback], w: httptest.NewRecorder(), r: httptest.NewRequest(http.MethodGet, "/", nil),
		session: session{token: tokenOf(t, "admin", time.Now().Add(time.Hour))}}
	if _, err := v.call(http.MethodPost, pathTo("token", "setpin", typed), url.Values{"pin": {typed}}); status(err) != http.StatusNotFound {
		t.Fatal(err)
	}
	if got.PostForm.Get("pin") != typed || got.URL.Path != "/token/setpin/"+typed || got.UserAgent() != "otpost-pages" {
		t.Errorf("pin %q, path %q, by %q", got.PostForm.Get("pin"), got.URL.Path, got.UserAgent())
	}
}
