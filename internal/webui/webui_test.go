package webui

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

// tokenOf returns a session token as the API would give it, unsigned: the pages do not verify, the API does.
func tokenOf(t *testing.T, role string, expires time.Time, rights ...string) string {
	t.Helper()
	payload, err := json.Marshal(tokenClaims{Username: "ada", Role: role, Rights: rights, Expires: expires.Unix()})
	if err != nil {
		t.Fatal(err)
	}
	return "e30." + base64.RawURLEncoding.EncodeToString(payload) + ".x"
}

// api answers as the REST API does: path -> status and result.
type api map[string]struct {
	status int
	result string
}

func (a api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	one, ok := a[r.Method+" "+r.URL.Path]
	if !ok {
		one.status, one.result = http.StatusNotFound, `{"status": false, "error": {"code": 601, "message": "nothing here"}}`
	}
	tell(w, one.result)
	w.WriteHeader(one.status)
	fmt.Fprintf(w, `{"result": %s}`, one.result)
}

// tell tells the pages what an answer of a test is about, by the member "about" of the test's result: field, key, arguments.
func tell(w http.ResponseWriter, result string) {
	var is struct{ About []any }
	text, _, _ := strings.Cut(result, "}, \"detail\"")
	if json.Unmarshal([]byte(text), &is) != nil && json.Unmarshal([]byte(text+"}"), &is) != nil || len(is.About) < 2 {
		return
	}
	w.(interface {
		About(field, key string, args []any)
	}).About(is.About[0].(string), is.About[1].(string), is.About[2:])
}

func newSite(t *testing.T, behind http.Handler) *Site {
	t.Helper()
	s, err := New(behind, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

// post sends a form to a page as the page's own would.
func post(s *Site, path string, form url.Values, cookie string) *http.Response {
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	if cookie != "" {
		r.AddCookie(&http.Cookie{Name: cookieName, Value: cookie})
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, r *http.Response) string {
	t.Helper()
	var b strings.Builder
	if _, err := fmt.Fprint(&b, r.Status, "\n"); err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 1<<20)
	for {
		n, err := r.Body.Read(buffer)
		b.Write(buffer[:n])
		if err != nil {
			return b.String()
		}
	}
}

func TestEveryLanguageHasEveryText(t *testing.T) {
	t.Parallel()
	all, err := readLanguages(files)
	if err != nil {
		t.Fatal(err)
	}
	holes := regexp.MustCompile(`\{\d\}`)
	for name, l := range all {
		for key, text := range all[fallback].texts {
			if l.texts[key] == "" && text != "" {
				t.Errorf("%s.json lacks %q", name, key)
			}
			if got, want := len(holes.FindAllString(l.texts[key], -1)), len(holes.FindAllString(text, -1)); got != want {
				t.Errorf("%s.json: %q has %d holes, English has %d", name, key, got, want)
			}
		}
		for key := range l.texts {
			if _, ok := all[fallback].texts[key]; !ok {
				t.Errorf("en.json lacks %q, which %s.json has", key, name)
			}
		}
	}
}

// The keys that code and templates name as they stand; those that are put together are seen by the browser's tests.
func TestEveryNamedTextExists(t *testing.T) {
	t.Parallel()
	all, err := readLanguages(files)
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile(`\{\{-?\s*t "([a-z0-9_.]+)"|\(t "([a-z0-9_.]+)"|\bsay\("([a-z0-9_.]+)"[,)]|, "done\.([a-z_]+)"\)`)
	check := func(name, text string) {
		for _, m := range named.FindAllStringSubmatch(text, -1) {
			for _, key := range m[1:] {
				if key != "" && !strings.HasSuffix(key, ".") && !all[fallback].has(key) {
					t.Errorf("%s says %q, which is no text", name, key)
				}
			}
		}
	}
	err = fs.WalkDir(os.DirFS("."), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".html") && !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		raw, err := os.ReadFile(path)
		check(path, string(raw))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range table() {
		if one.menu != "" && !all[fallback].has(one.menu) {
			t.Errorf("the menu says %q, which is no text", one.menu)
		}
	}
	for page := range newSite(t, api{}).templates {
		if !all[fallback].has("title." + page) {
			t.Errorf("page %s has no title.%s", page, page)
		}
	}
}

func TestNoTemplateHasAnythingInline(t *testing.T) {
	t.Parallel()
	inline := regexp.MustCompile(`(?i)\son[a-z]+=|\sstyle=|<style|<script(?: [^>]*)?>[^<]|javascript:`)
	names, err := fs.Glob(files, "template/*.html")
	if err != nil || len(names) == 0 {
		t.Fatal("no templates: ", err)
	}
	for _, name := range names {
		raw, err := fs.ReadFile(files, name)
		if err != nil {
			t.Fatal(err)
		}
		if m := inline.Find(raw); m != nil {
			t.Errorf("%s: %q, which the Content-Security-Policy forbids", name, m)
		}
	}
}

func TestSignInGivesANewSessionAndGoesOnWithinTheSite(t *testing.T) {
	t.Parallel()
	fresh := tokenOf(t, "admin", time.Now().Add(time.Hour))
	s := newSite(t, api{"POST /auth": {200, `{"status": true, "value": {"token": "` + fresh + `"}}`}})
	for next, want := range map[string]string{
		"/ui/servers?x=1": "/ui/servers?x=1", "": "/", "https://evil.example/": "/", "//evil.example/ui/": "/", "/\\evil.example": "/",
		"/ui/\\evil": "/", "javascript:alert(1)": "/", "/token/": "/", "https:/ui/x": "/", "http:ui/x": "/", "/ui/a\r\nX: y": "/",
	} {
		planted := tokenOf(t, "admin", time.Now().Add(time.Hour), "planted")
		r := post(s, "/ui/signin", url.Values{"username": {"ada"}, "password": {"pw"}, "next": {next}}, planted)
		if r.StatusCode != http.StatusSeeOther || r.Header.Get("Location") != want {
			t.Errorf("next %q: %s to %q, want %q", next, r.Status, r.Header.Get("Location"), want)
		}
		c := r.Cookies()
		if len(c) != 1 || c[0].Name != cookieName || c[0].Value != fresh || !c[0].Secure || !c[0].HttpOnly || c[0].SameSite != http.SameSiteStrictMode || c[0].Path != "/" {
			t.Errorf("next %q: cookies %v", next, c)
		}
	}
}

func TestFormOfAnotherSiteIsRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t, api{})
	for name, header := range map[string]http.Header{
		"by fetch metadata": {"Sec-Fetch-Site": {"cross-site"}}, "by subdomain": {"Sec-Fetch-Site": {"same-site"}}, "by origin": {"Origin": {"https://evil.example"}},
	} {
		r := httptest.NewRequest(http.MethodPost, "/ui/signout", nil)
		r.Header = header
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code != http.StatusForbidden || len(w.Result().Cookies()) > 0 {
			t.Errorf("%s: %d, cookies %v", name, w.Code, w.Result().Cookies())
		}
	}
}

func TestNothingTypedIsLostWhenTheSessionHasEnded(t *testing.T) {
	t.Parallel()
	fresh := tokenOf(t, "admin", time.Now().Add(time.Hour))
	s := newSite(t, api{"POST /auth": {200, `{"status": true, "value": {"token": "` + fresh + `"}}`}})
	s.screens = append(s.screens, screen{method: "POST", path: "/ui/form", show: (*visit).notFound})
	s.handler = s.routes()
	typed := url.Values{"text": {`a "quoted" <b> & ü`}, "two": {"1", "2"}}
	asked := body(t, post(s, "/ui/form?a=b", typed, tokenOf(t, "admin", time.Now().Add(-time.Minute))))
	if !strings.HasPrefix(asked, "401") || !strings.Contains(asked, `name="next" value="/ui/form?a=b"`) {
		t.Fatalf("no sign-in form:\n%s", asked)
	}
	again := body(t, post(s, "/ui/signin", url.Values{"username": {"ada"}, "password": {"pw"}, "next": {"/ui/form?a=b"}, "kept": {typed.Encode()}}, ""))
	for _, want := range []string{`action="/ui/form?a=b"`, `name="text" value="a &#34;quoted&#34; &lt;b&gt; &amp; ü"`, `name="two" value="1"`, `name="two" value="2"`} {
		if !strings.Contains(again, want) {
			t.Errorf("the page to go on with lacks %s:\n%s", want, again)
		}
	}
}

func TestPageWithoutTheRightIsRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t, api{})
	s.screens = append(s.screens, screen{method: "GET", path: "/ui/secret", right: "secret_read", show: (*visit).notFound})
	s.handler = s.routes()
	for right, want := range map[string]int{"other": http.StatusForbidden, "secret_read": http.StatusNotFound} {
		r := httptest.NewRequest(http.MethodGet, "/ui/secret", nil)
		r.AddCookie(&http.Cookie{Name: cookieName, Value: tokenOf(t, "admin", time.Now().Add(time.Hour), right)})
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("with right %s: %d, want %d", right, w.Code, want)
		}
		if w.Header().Get("Content-Security-Policy") != policy || w.Header().Get("X-Frame-Options") != "DENY" {
			t.Errorf("with right %s: headers %v", right, w.Header())
		}
	}
}

// The field and the sentence of a refusal are chosen by what the API tells beside the envelope, never by its sentence.
func TestRefusalIsChosenByFieldAndKey(t *testing.T) {
	t.Parallel()
	const sentence = `"error": {"code": 905, "message": "ERR905: Parameter port: write 1 to 65535"}`
	for _, one := range []struct{ language, result, field, message string }{
		{"en", `{"status": false, ` + sentence + `, "about": ["port", "port", 70000]}`, "port", "70000 is no port, write 1 to 65535"},
		{"de", `{"status": false, ` + sentence + `, "about": ["port", "port", 70000]}`, "port", "70000 ist kein Port; geben Sie 1 bis 65535 ein"},
		{"de", `{"status": false, ` + sentence + `, "about": ["server", "missing"]}`, "server", "Füllen Sie dieses Feld aus"},
		{"de", `{"status": false, ` + sentence + `}`, "", "ERR905: Parameter port: write 1 to 65535"},
	} {
		s := newSite(t, api{"GET /x": {http.StatusBadRequest, one.result}})
		v := &visit{site: s, text: s.languages[one.language], w: httptest.NewRecorder(), r: httptest.NewRequest(http.MethodGet, "/", nil)}
		_, err := v.call(http.MethodGet, "/x", nil)
		var got *refusal
		if !errors.As(err, &got) || got.Field != one.field || got.Message != one.message {
			t.Errorf("%s in %s: %+v, want %q about %q", one.result, one.language, got, one.message, one.field)
		}
	}
}

func TestLanguageIsTheChosenElseTheBrowsers(t *testing.T) {
	t.Parallel()
	s := newSite(t, api{})
	for _, c := range []struct{ accept, chosen, want string }{
		{"", "", "en"}, {"de-AT,de;q=0.9,en;q=0.8", "", "de"}, {"fr, de;q=0.5", "", "de"}, {"fr", "", "en"}, {"en", "de", "de"}, {"de", "xx", "de"},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Accept-Language", c.accept)
		r.AddCookie(&http.Cookie{Name: languageCookie, Value: c.chosen})
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if got := w.Header().Get("Content-Language"); got != c.want {
			t.Errorf("Accept-Language %q, chosen %q: %s, want %s", c.accept, c.chosen, got, c.want)
		}
	}
}

// An address that only takes forms leads to the page whose forms they are, when somebody opens it.
func TestAddressOfAFormLeadsToItsPage(t *testing.T) {
	t.Parallel()
	s := newSite(t, api{})
	for path, want := range map[string]string{
		"/ui/tokens/A%2FB/pin": "/ui/tokens/A%2FB", "/ui/tokens/X/first/code": "/ui/tokens/X/first", "/ui/deliveries/7/address": "/ui/deliveries/7",
	} {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		if got := w.Header().Get("Location"); w.Code != http.StatusSeeOther || got != want {
			t.Errorf("%s: %d to %q, want %q", path, w.Code, got, want)
		}
	}
}

// A stranger is told by the sample login neither which users there are nor which of them have a token; an administrator is.
func TestSampleLoginTellsNoStrangerWhoIsThere(t *testing.T) {
	t.Parallel()
	const noToken = `{"status": true, "value": false, "authentication": "REJECT", "about": ["", "no_tokens"]}, "detail": {"message": "The user has no tokens assigned"}, "x": {}`
	s := newSite(t, api{"POST /validate/check": {200, noToken}})
	admin := tokenOf(t, "admin", time.Now().Add(time.Hour))
	for path, want := range map[string]string{"/ui/login": "User name or PIN is wrong.", "/ui/try": "This user has no token yet."} {
		if got := body(t, post(s, path, url.Values{"user": {"ada"}, "pass": {"1"}}, admin)); !strings.Contains(got, want) {
			t.Errorf("%s does not say %q:\n%s", path, want, got)
		}
	}
}
