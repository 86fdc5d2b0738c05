package webui

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

// host is what the API tells of an installation in which nothing is wrong, changed by what a test gives: path -> value, as GET
// answers it. What was asked by other methods is written down.
type host struct {
	values map[string]string
	refuse map[string]string // method and path -> result
	asked  []string
}

// healthy returns a host with a server that sends the codes, a token, and mails that were accepted.
func healthy(changes map[string]string) *host {
	h := &host{values: map[string]string{
		"/smtpserver/":             `{"office": {"server": "mail.example.com", "port": 587, "tls": true, "tls_verify": true}}`,
		"/smtpserver/office":       `{"identifier": "office", "revision": 7, "server": "mail.example.com", "port": 587, "tls": true, "tls_verify": true}`,
		"/system/email.identifier": `"office"`,
		"/queue/":                  `{"configured": true, "reachable": true, "worker_seen": true}`,
		"/token/":                  `{"count": 1}`,
		"/delivery/":               `{"deliveries": [{"state": "accepted"}]}`,
		"/delivery/statistics":     `{"servers": {}}`,
		"/realm/":                  `{"home": {"default": true}}`,
	}}
	maps.Copy(h.values, changes)
	return h
}

func (h *host) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	key := r.Method + " " + r.URL.Path
	value, known := h.values[r.URL.Path]
	switch result, refused := h.refuse[key]; {
	case refused:
		status := http.StatusBadRequest
		switch {
		case strings.Contains(result, "500 Internal"):
			status = http.StatusInternalServerError
		case strings.Contains(result, "4009"):
			status = http.StatusConflict
		}
		tell(w, result)
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"result": %s}`, result)
	case r.Method != http.MethodGet:
		h.asked = append(h.asked, key)
		fmt.Fprint(w, `{"result": {"status": true, "value": 1}}`)
	case !known:
		api{}.ServeHTTP(w, r)
	default:
		fmt.Fprintf(w, `{"result": {"status": true, "value": %s}}`, value)
	}
}

// looks returns the page at an address, in a language, as an administrator with every right.
func looks(t *testing.T, s *Site, address, language string) (int, string) {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, address, nil)
	r.Header.Set("Accept-Language", language)
	r.AddCookie(&http.Cookie{Name: cookieName, Value: chief(t)})
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

// chief is the session of an administrator with every right that the pages ask for.
func chief(t *testing.T) string {
	t.Helper()
	return tokenOf(t, "admin", time.Now().Add(time.Hour), "smtpserver_read", "smtpserver_write", "configread", "configwrite", "configdelete",
		"queue_read", "delivery_read", "delivery_retry", "userlist", "tokenlist", "resolverwrite", "resolverread")
}

const (
	allIsWell  = "Nothing. Messages leave as they should."
	nobodyDoes = "No SMTP server sends the codes of e-mail tokens"
)

func TestOverviewSaysThatNoServerSendsTheCodes(t *testing.T) {
	t.Parallel()
	for name, one := range map[string]struct {
		changes map[string]string
		bad     string // '' : all is well
	}{
		"one does":             {nil, ""},
		"none is chosen":       {map[string]string{"/system/email.identifier": "null"}, nobodyDoes},
		"one that is not":      {map[string]string{"/system/email.identifier": `"gone"`}, "names gone, which does not exist"},
		"there is no server":   {map[string]string{"/smtpserver/": "{}"}, "There is no SMTP server yet."},
		"there is none at all": {map[string]string{"/smtpserver/": "{}", "/system/email.identifier": "null"}, "There is no SMTP server yet."},
	} {
		s := newSite(t, healthy(one.changes))
		for _, address := range []string{"/ui/overview", "/ui/servers"} {
			code, got := looks(t, s, address, "en")
			if code != http.StatusOK || !strings.Contains(got, one.bad) || address == "/ui/overview" && strings.Contains(got, allIsWell) != (one.bad == "") {
				t.Errorf("%s, %s: %d\n%s", name, address, code, got)
			}
			if one.bad == "" && strings.Contains(got, nobodyDoes) {
				t.Errorf("%s, %s: it says that nobody sends the codes", name, address)
			}
		}
	}
}

func TestFirstStepsStayUntilAMailIsAccepted(t *testing.T) {
	t.Parallel()
	const first = "First steps"
	s := newSite(t, healthy(map[string]string{"/delivery/": `{"deliveries": []}`}))
	if _, got := looks(t, s, "/ui/overview", "en"); !strings.Contains(got, first) || strings.Contains(got, allIsWell) {
		t.Errorf("no mail was accepted:\n%s", got)
	}
	s = newSite(t, healthy(map[string]string{"/delivery/": `{"deliveries": []}`, "/delivery/statistics": `{"servers": {"office": {"accepted": 1}}}`}))
	if _, got := looks(t, s, "/ui/overview", "en"); strings.Contains(got, first) || !strings.Contains(got, allIsWell) {
		t.Errorf("all is done:\n%s", got)
	}
}

func TestAttentionForgetsOldFailures(t *testing.T) {
	t.Parallel()
	for age, want := range map[time.Duration]bool{time.Hour: true, 25 * time.Hour: false, 40 * 24 * time.Hour: false} {
		failed := fmt.Sprintf(`{"servers": {"office": {"last": {"state": "failed", "diagnosis": "refused", "at": %q}}}}`, time.Now().Add(-age).Format(time.RFC3339))
		s := newSite(t, healthy(map[string]string{"/delivery/statistics": failed}))
		const says = "The mail server mail.example.com:587 refused the connection."
		if _, got := looks(t, s, "/ui/overview", "en"); strings.Contains(got, says) != want || strings.Contains(got, allIsWell) == want {
			t.Errorf("a failure of %s ago is shown: %t, want %t", age, !want, want)
		}
		if _, got := looks(t, s, "/ui/servers", "en"); !strings.Contains(got, says) {
			t.Errorf("the list does not show a failure of %s ago", age)
		}
	}
}

func TestOverviewShowsAFewNoticesOfAKind(t *testing.T) {
	t.Parallel()
	servers := map[string]any{}
	for i := range 200 {
		servers[fmt.Sprintf("s%03d", i)] = map[string]any{"server": "mail.example.com", "tls": true, "tls_verify": false}
	}
	raw, err := json.Marshal(servers)
	if err != nil {
		t.Fatal(err)
	}
	s := newSite(t, healthy(map[string]string{"/smtpserver/": string(raw), "/system/email.identifier": `"s000"`}))
	_, got := looks(t, s, "/ui/overview", "en")
	if n := strings.Count(got, "is not verified"); n != few || !strings.Contains(got, "more SMTP servers: 195.") {
		t.Errorf("%d notices:\n%s", n, got)
	}
}

func TestPageIsCompressedForWhoAsksForIt(t *testing.T) {
	t.Parallel()
	s := newSite(t, healthy(nil))
	_, want := looks(t, s, "/ui/servers", "en")
	for accept, packed := range map[string]bool{"gzip, deflate, br": true, "br;q=1.0, GZIP;q=0.5": true, "": false, "br": false, "gzip;q=0": false, "gzip; q=0.000": false} {
		for range 2 { // the second by the first's writer
			r := httptest.NewRequest(http.MethodGet, "/ui/servers", nil)
			r.Header.Set("Accept-Encoding", accept)
			r.AddCookie(&http.Cookie{Name: cookieName, Value: chief(t)})
			w := httptest.NewRecorder()
			s.ServeHTTP(w, r)
			got := io.Reader(w.Body)
			if is := w.Header().Get("Content-Encoding") == "gzip"; is != packed {
				t.Errorf("%q: %v", accept, w.Header())
			} else if packed {
				var err error
				if got, err = gzip.NewReader(got); err != nil {
					t.Fatal(err)
				}
			}
			if raw, err := io.ReadAll(got); err != nil || string(raw) != want {
				t.Errorf("%q: another page (%v):\n%s", accept, err, raw)
			}
		}
	}
	r := httptest.NewRequest(http.MethodPost, "/ui/signin", strings.NewReader("username=a&password=b"))
	r.Header.Set("Accept-Encoding", "gzip")
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	if w.Header().Get("Content-Encoding") != "" {
		t.Error("an answer to a form is compressed")
	}
}

const inside = `{"status": false, "error": {"code": -500, "message": "500 Internal Server Error: The server encountered an internal error and was unable to complete your request."}, "about": ["", "internal"]}`

// What is wrong inside the API is 500 on a page too, in the visitor's language.
func TestInnerErrorIsSaidInTheVisitorsLanguage(t *testing.T) {
	t.Parallel()
	h := healthy(nil)
	h.refuse = map[string]string{"POST /auth": inside, "POST /smtpserver/send_test_email": inside, "POST /smtpserver/office": inside, "POST /validate/check": inside, "GET /realm/": inside}
	s := newSite(t, h)
	for _, one := range []struct{ method, address string }{
		{"POST", "/ui/signin"}, {"POST", "/ui/servers?test=1"}, {"POST", "/ui/servers"}, {"POST", "/ui/login"}, {"POST", "/ui/try"}, {"GET", "/ui/users"},
	} {
		form := url.Values{"identifier": {"office"}, "revision": {"7"}, "codes_by": {"office"}, "for_codes": {"1"}, "user": {"a"}}
		r := httptest.NewRequest(one.method, one.address, strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Accept-Language", "de")
		r.AddCookie(&http.Cookie{Name: cookieName, Value: chief(t)})
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if got := w.Body.String(); w.Code != http.StatusInternalServerError || strings.Contains(got, "Internal") || !strings.Contains(got, "In otpost ist etwas schiefgegangen.") {
			t.Errorf("%s %s: %d\n%s", one.method, one.address, w.Code, got)
		}
	}
}

func TestResolverThatCannotBeReadIsNamedWithItsRealm(t *testing.T) {
	t.Parallel()
	h := healthy(nil)
	h.refuse = map[string]string{"GET /user/": `{"status": false, "error": {"code": 302, "message": "ERR302: The users of the resolver 'file' cannot be read."}}`}
	s := newSite(t, h)
	for address, want := range map[string]int{"/ui/users": http.StatusOK,
		"/ui/user?user=alice&realm=home": http.StatusInternalServerError} {
		code, got := looks(t, s, address, "de")
		if code != want || !strings.Contains(got, "Die Benutzer des Realms home sind nicht lesbar.") ||
			strings.Contains(got, "keine Benutzer") {
			t.Errorf("%s: %d\n%s", address, code, got)
		}
	}
}

// Until the PIN is right the sample login says one thing of everybody; whoever has signed in is told more.
func TestSampleLoginSaysOneThingUntilThePINIsRight(t *testing.T) {
	t.Parallel()
	const wrong = "User name or PIN is wrong."
	rejected := func(key string) string {
		return `{"status": true, "value": false, "authentication": "REJECT", "about": ["", "` + key + `"]}, "detail": {"message": "x"}, "x": {}`
	}
	for name, one := range map[string]struct {
		status           int
		result, try, log string
	}{
		"wrong":    {200, rejected("wrong_pin"), wrong, wrong},
		"locked":   {200, rejected("exceeded"), "Too many wrong guesses", wrong},
		"disabled": {200, rejected("disabled"), "This token is disabled.", wrong},
		"other":    {200, rejected("not_enrolled"), "This token is not enrolled yet.", wrong},
		"revoked":  {400, `{"status": false, "error": {"code": 1007, "message": "ERR1007: This action is not possible, since the token is locked"}, "about": ["", "token_locked"]}`, "the token is locked", wrong},
		"unknown":  {400, `{"status": false, "error": {"code": 904, "message": "ERR904: User <a@b> does not exist."}}`, wrong, wrong},
		"unsent":   {200, rejected("unsent"), "The PIN is right", "The PIN is right"},
	} {
		s := newSite(t, api{"POST /validate/check": {one.status, one.result}, "GET /validate/polltransaction/99": {200, `{"status": true, "value": false}, "detail": {"x": 1}, "y": {}`}})
		for path, want := range map[string]string{"/ui/login": one.log, "/ui/try": one.try} {
			r := post(s, path, url.Values{"user": {"ada"}, "pass": {"1"}}, chief(t))
			if got := body(t, r); !strings.Contains(got, want) || path == "/ui/login" && r.StatusCode != http.StatusOK {
				t.Errorf("%s at %s: no %q:\n%s", name, path, want, got)
			}
		}
		// Nor does a transaction that was made up tell more.
		if got := body(t, post(s, "/ui/login", url.Values{"user": {"ada"}, "pass": {"1"}, "transaction_id": {"99"}}, "")); !strings.HasPrefix(got, "200") ||
			!strings.Contains(got, "This login has ended.") || strings.Contains(got, wrong) || strings.Contains(got, "Too many") {
			t.Errorf("%s, with a transaction:\n%s", name, got)
		}
	}
}

// During the delay after wrong passwords the sign-in page does not call the right password wrong.
func TestSignInSaysHowLongTheDelayLasts(t *testing.T) {
	t.Parallel()
	refused := func(about string) string {
		return `{"status": false, "error": {"code": 4031, "message": "x"}, "about": ["", ` + about + `]}`
	}
	const wrong, wait = `"password"`, `"password_delay", 7`
	for _, one := range []struct{ language, answer, says string }{
		{"en", wait, "Too many wrong passwords: try again in 7 s."},
		{"de", wait, "zu viele falsche Passwörter. Versuchen Sie es in 7 s noch einmal."},
		{"en", wrong, "User name or password is wrong."},
		{"de", wrong, "Benutzername oder Passwort ist falsch."},
	} {
		s := newSite(t, api{"POST /auth": {http.StatusUnauthorized, refused(one.answer)}})
		r := httptest.NewRequest(http.MethodPost, "/ui/signin", strings.NewReader("username=ada&password=right"))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Accept-Language", one.language)
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if got := w.Body.String(); w.Code != http.StatusUnauthorized || !strings.Contains(got, one.says) ||
			one.answer == wait && strings.Contains(got, " wrong.") {
			t.Errorf("%s, %q: %d\n%s", one.language, one.answer, w.Code, got)
		}
	}
}

// A queue that cannot be used is told with its cause, which an administrator needs to mend it.
func TestOverviewSaysWhyTheQueueCannotBeUsed(t *testing.T) {
	t.Parallel()
	const why = "redis at 127.0.0.1:6379: its maxmemory-policy is volatile-lru: set noeviction"
	s := newSite(t, healthy(map[string]string{
		"/smtpserver/": `{"office": {"server": "mail.example.com", "port": 587, "tls": true, "tls_verify": true,
			"enqueue_job": true}}`,
		"/queue/": `{"configured": true, "reachable": false, "error": "` + why + `"}`,
	}))
	for _, language := range []string{"en", "de"} {
		if code, got := looks(t, s, "/ui/overview", language); code != http.StatusOK || !strings.Contains(got, why) {
			t.Errorf("%s: %d\n%s", language, code, got)
		}
	}
}

// The address of a server is the one that is dialled (mail.Server.Endpoint).
func TestAddressOfAServerNamesThePort(t *testing.T) {
	t.Parallel()
	for _, one := range []struct {
		server string
		port   int
		want   string
	}{
		{"mx", 0, "mx:25"}, {"mx", 587, "mx:587"}, {"smtps://mx", 25, "smtps://mx:465"}, {"smtps://mx/", 0, "smtps://mx:465"},
		{"smtps://127.0.0.1", 34115, "smtps://127.0.0.1:34115"},
		{"smtps://mx:4465", 25, "smtps://mx:4465"}, {"smtp://mx", 2525, "smtp://mx:2525"},
		{"smtp://[2001:db8::1]", 25, "smtp://[2001:db8::1]:25"},
	} {
		if got := (server{Server: one.server, Port: one.port}).Address(); got != one.want {
			t.Errorf("%s %d: %s, want %s", one.server, one.port, got, one.want)
		}
	}
}
