package webui

import (
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"
)

// keeps finds where the buttons of the languages send the page's form.
var keeps = regexp.MustCompile(`form="form" formaction="([^"]*)" formnovalidate>Deutsch`) //nolint:gochecknoglobals // a constant

// onlyRead fails the test when a page does something.
func onlyRead(t *testing.T, behind http.Handler) http.Handler {
	t.Helper()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			t.Errorf("%s %s was asked", r.Method, r.URL.Path)
		}
		behind.ServeHTTP(w, r)
	})
}

// formPages are pages with a form: where each is, what is typed, and a part of the page in German.
var formPages = []struct { //nolint:gochecknoglobals // a constant table
	address string
	typed   url.Values
	shows   []string
}{
	{"/ui/enrol?user=alice&realm=home", url.Values{"user": {"alice"}, "realm": {"home"}, "email": {"new@example.org"}, "pin": {"Pin ü"}, "repeat": {"Pin ü"}, "description": {"<b>"}},
		[]string{"Beschreibung", `value="new@example.org"`, `value="Pin ü"`, `value="&lt;b&gt;"`, `name="user" value="alice"`}},
	{"/ui/tokens/PIEM1", url.Values{"pin": {"one"}, "repeat": {"two"}}, []string{"PIN setzen", `value="one"`, `value="two"`}},
	{"/ui/newserver", url.Values{"revision": {"0"}, "identifier": {"a/b"}, "password": {"geheim"}, "tls": {"1"}, "recipient": {"me@example.org"}},
		[]string{"Neuer SMTP-Server", `value="a/b"`, `value="geheim"`, `value="me@example.org"`, `name="revision" value="0"`, `id="f-tls" name="tls" value="1" checked`}},
	{"/ui/tokens/PIEM1/first?transaction_id=36728198046682729768", url.Values{"transaction_id": {"36728198046682729768"}, "pass": {"12"}}, []string{"Der erste Code", `value="12"`}},
	{"/ui/try?user=alice&realm=home", url.Values{"user": {"alice"}, "realm": {"home"}, "pass": {"PIN"}}, []string{"Anmeldung ausprobieren", `value="alice"`, `value="PIN"`}},
	{"/ui/login", url.Values{"user": {"alice"}, "realm": {"home"}, "transaction_id": {"36728198046682729768"}, "pass": {"345"}}, []string{"36728198046682729768", `value="345"`}},
}

func TestChoiceOfTheLanguageKeepsWhatIsTypedAndDoesNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t, onlyRead(t, answers(t)))
	admin := tokenOf(t, "admin", time.Now().Add(time.Hour), "smtpserver_read", "smtpserver_write", "delivery_read", "tokenlist", "userlist", "enrollEMAIL", "setpin", "triggerchallenge")
	for _, one := range formPages {
		r := httptest.NewRequest(http.MethodGet, one.address, nil)
		r.AddCookie(&http.Cookie{Name: cookieName, Value: admin})
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		m := keeps.FindStringSubmatch(w.Body.String())
		if m == nil || strings.Count(w.Body.String(), `id="form"`) != 1 {
			t.Errorf("%s: the buttons of the languages send no form:\n%s", one.address, w.Body)
			continue
		}
		sent := url.Values{"language": {"de"}}
		for name, values := range one.typed {
			sent[name] = values
		}
		again := post(s, html.UnescapeString(m[1]), sent, admin)
		if c := again.Cookies(); len(c) != 1 || c[0].Name != languageCookie || c[0].Value != "de" {
			t.Errorf("%s: cookies %v", one.address, c)
		}
		got := body(t, again)
		for _, part := range append(one.shows, "200 OK", `lang="de"`) {
			if !strings.Contains(got, part) {
				t.Errorf("%s: %s is not in the page:\n%s", one.address, part, got)
			}
		}
		if m := keeps.FindStringSubmatch(strings.ReplaceAll(got, `aria-current="true"`, "")); m == nil {
			t.Errorf("%s: the language cannot be chosen back:\n%s", one.address, got)
		}
	}
}

// What came without a session is kept over the choice, on the page to sign in and on the one to go on.
func TestChoiceOfTheLanguageKeepsWhatASignInKeeps(t *testing.T) {
	t.Parallel()
	s := newSite(t, onlyRead(t, answers(t)))
	admin := tokenOf(t, "admin", time.Now().Add(time.Hour), "enrollEMAIL")
	typed := url.Values{"user": {"alice"}, "pin": {"a&b"}}
	asked := body(t, post(s, "/ui/enrol", typed, ""))
	m := keeps.FindStringSubmatch(asked)
	if m == nil || !strings.Contains(asked, `name="kept" value="`+html.EscapeString(typed.Encode())+`"`) {
		t.Fatalf("the page to sign in:\n%s", asked)
	}
	got := body(t, post(s, html.UnescapeString(m[1]), url.Values{"language": {"de"}, "next": {"/ui/enrol"}, "kept": {typed.Encode()}, "username": {"ada"}}, ""))
	for _, part := range []string{`name="kept" value="` + html.EscapeString(typed.Encode()) + `"`, `name="next" value="/ui/enrol"`, `value="ada"`, "Passwort"} {
		if !strings.Contains(got, part) {
			t.Errorf("the page to sign in lacks %s:\n%s", part, got)
		}
	}
	got = body(t, post(s, "/ui/language?form="+url.QueryEscape("/ui/goon?next=%2Fui%2Fenrol"), url.Values{"language": {"de"}, "user": typed["user"], "pin": typed["pin"]}, admin))
	for _, part := range []string{`action="/ui/enrol"`, `name="pin" value="a&amp;b"`, "Jetzt absenden"} {
		if !strings.Contains(got, part) || strings.Contains(got, `name="language" value="de">`) {
			t.Errorf("the page to go on with lacks %s:\n%s", part, got)
		}
	}
}

// An address that somebody made up is none of ours.
func TestChoiceOfTheLanguageShowsNothingOfOthers(t *testing.T) {
	t.Parallel()
	s := newSite(t, onlyRead(t, answers(t)))
	admin := tokenOf(t, "admin", time.Now().Add(time.Hour), "tokenlist", "delete")
	for address, want := range map[string]int{"https://evil.example/": http.StatusSeeOther, "//evil.example/ui/x": http.StatusSeeOther, "/token/": http.StatusSeeOther,
		"/ui/tokens/PIEM1": http.StatusNotFound, "/ui/enrol": http.StatusForbidden, "/ui/language?form=%2Fui%2Flanguage": http.StatusNotFound} {
		r := post(s, "/ui/language?form="+url.QueryEscape(address), url.Values{"language": {"de"}, "act": {"delete"}}, admin)
		if r.StatusCode != want || want == http.StatusSeeOther && r.Header.Get("Location") != "/" {
			t.Errorf("%s answers %s to %s", address, r.Status, r.Header.Get("Location"))
		}
	}
}

func TestFieldWithTwoValuesIsRefusedAndTheFormKept(t *testing.T) {
	t.Parallel()
	s := newSite(t, onlyRead(t, answers(t)))
	admin := tokenOf(t, "admin", time.Now().Add(time.Hour), "smtpserver_read", "smtpserver_write", "tokenlist", "delete")
	got := body(t, post(s, "/ui/servers", url.Values{"revision": {"0"}, "identifier": {"one"}, "port": {"25", "x"}}, admin))
	if !strings.HasPrefix(got, "400") || !strings.Contains(got, "The field port came with two values.") || !strings.Contains(got, `value="one"`) {
		t.Error(got)
	}
	if got := body(t, post(s, "/ui/tokens/PIEM1", url.Values{"act": {"delete", "enable"}}, admin)); !strings.HasPrefix(got, "400") {
		t.Error(got)
	}
}
