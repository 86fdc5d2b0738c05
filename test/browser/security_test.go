package browser_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"otpost/test/browser"
	"otpost/test/e2e"
)

// hostile is what somebody writes who wants a page to run a script of his.
const hostile = `"><img src=/ran?x onerror=alert(1)><script src=/ran></script>'{{.}}`

// raw asks the server without a browser and follows nothing.
func raw(t *testing.T, method, address, cookie string, body io.Reader) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, address, body)
	if err != nil {
		t.Fatal(err)
	}
	if cookie != "" {
		r.Header.Set("Cookie", cookie)
	}
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	answer, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { answer.Body.Close() })
	return answer
}

// sessionCookie signs in without a browser and returns the cookie as the server set it.
func sessionCookie(t *testing.T, s *browser.Site, name, password string) *http.Cookie {
	t.Helper()
	form := url.Values{"username": {name}, "password": {password}}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/ui/signin", strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Cookie", "__Host-otpost=planted.by.somebody")
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	answer, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if len(answer.Cookies()) != 1 {
		t.Fatalf("signing in answers %s with the cookies %v", answer.Status, answer.Cookies())
	}
	return answer.Cookies()[0]
}

// TestEveryAnswerHasAStrictPolicy: pages, files, redirections and errors.
func TestEveryAnswerHasAStrictPolicy(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	cookie := sessionCookie(t, s, browser.Admin, browser.AdminPassword)
	with := cookie.Name + "=" + cookie.Value
	for _, path := range []string{"/", "/ui/overview", "/ui/servers", "/ui/newserver", "/ui/servers/office", "/ui/servers/none", "/ui/users", "/ui/user?user=alice&realm=home",
		"/ui/tokens/ALICE1", "/ui/tokens/NONE", "/ui/tokens/ALICE1/first", "/ui/tokens/ALICE1/pin", "/ui/enrol?user=bob&realm=home", "/ui/deliveries", "/ui/deliveries/none",
		"/ui/try", "/ui/login", "/ui/login/live?transaction_id=1", "/ui/none", "/ui/static/otpost.css", "/ui/static/otpost.js", "/ui/static/icon.svg", "/ui/static/", "/ui/static/none", "/favicon.ico"} {
		for _, who := range []string{"", with} {
			for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut} {
				if method != http.MethodGet && !strings.HasPrefix(path, "/ui/") {
					continue // REST's
				}
				answer := raw(t, method, s.URL+path, who, nil)
				policy := answer.Header.Get("Content-Security-Policy")
				if !strings.Contains(policy, "default-src 'none'") || !strings.Contains(policy, "frame-ancestors 'none'") || strings.Contains(policy, "unsafe") ||
					answer.Header.Get("X-Content-Type-Options") != "nosniff" || answer.Header.Get("X-Frame-Options") != "DENY" {
					t.Errorf("%s %s answers %s with the policy %q", method, path, answer.Status, policy)
				}
			}
		}
	}
}

// TestCookieOfASession: a script cannot read it, no other site can send it, and it is a new one after each sign-in.
func TestCookieOfASession(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	one, two := sessionCookie(t, s, browser.Admin, browser.AdminPassword), sessionCookie(t, s, browser.Admin, browser.AdminPassword)
	if one.Name != "__Host-otpost" || !one.HttpOnly || !one.Secure || one.SameSite != http.SameSiteStrictMode || one.Path != "/" || one.Domain != "" {
		t.Errorf("the cookie is %s; HttpOnly %t, Secure %t, SameSite %v, path %s, domain %q", one.Name, one.HttpOnly, one.Secure, one.SameSite, one.Path, one.Domain)
	}
	if one.Value == two.Value || strings.Contains(one.Value, "planted") {
		t.Error("two sessions are one, or one that somebody planted")
	}
	p := s.Page(t, chromium)
	p.SignIn(browser.Admin, browser.AdminPassword)
	if got := browser.Eval[string](p, "document.cookie"); got != "" {
		t.Errorf("a script reads the cookies %.20q", got)
	}
	for _, path := range []string{"/token/", "/delivery/", "/user/?realm=home", "/smtpserver/", "/system/"} {
		if got := raw(t, http.MethodGet, s.URL+path, one.Name+"="+one.Value, nil).StatusCode; got != http.StatusUnauthorized {
			t.Errorf("REST answers %s by the cookie alone: %d", path, got)
		}
		p.Allow("status of 401")
		if got := browser.Eval[int](p, fmt.Sprintf("fetch(%q).then(r => r.status)", path)); got != http.StatusUnauthorized {
			t.Errorf("REST answers %s to a page by its cookie: %d", path, got)
		}
	}
}

// elsewhere serves pages of somebody else, with a form and a frame that point to the site, from another port: the same site to a
// browser, but another origin.
func elsewhere(t *testing.T, target string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, `<!doctype html><html lang="en"><link rel="icon" href="data:,"><title>x</title><h1>elsewhere</h1>
<form method="post" action="%s/ui/tokens/ALICE1"><button name="act" value="delete">Win a prize</button></form>
<form method="post" action="%[1]s/ui/signin"><input name="username" value="admin"><input name="password" value="%s"><button>Win another</button></form>
<iframe src="%[1]s/ui/login" width="600" height="600"></iframe>`, target, browser.AdminPassword)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// TestFormFromElsewhereIsRefused, although the browser would send the cookie: another port is the same site.
func TestFormFromElsewhereIsRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := signedIn(t, s)
	p.Allow("status of 403")
	p.Allow("frame-ancestors")
	p.Allow("X-Frame-Options")
	p.Allow("chrome-error")
	there := elsewhere(t, s.URL)
	p.Open(there)
	p.Follow("Win a prize")
	p.WaitText("This form was sent from another site and was not accepted.")
	p.Looks("foreign")
	s.Server.MustCheck(t, "CHALLENGE", browser.AliceToken, browser.AlicePIN)
	stranger := s.Page(t, chromium)
	stranger.Allow("status of 403")
	stranger.Allow("frame-ancestors")
	stranger.Allow("X-Frame-Options")
	stranger.Allow("chrome-error")
	stranger.Open(there)
	stranger.Follow("Win another")
	stranger.WaitText("This form was sent from another site and was not accepted.")
	stranger.Open(s.URL + "/")
	stranger.Wait("#f-password") // no session was made for him
}

// TestPagesAreInNoFrame of somebody else.
func TestPagesAreInNoFrame(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := s.Page(t, chromium)
	for _, part := range []string{"frame-ancestors", "X-Frame-Options", "chrome-error"} {
		p.Allow(part)
	}
	p.Open(elsewhere(t, s.URL))
	p.WaitText("elsewhere")
	if browser.Eval[bool](p, `(() => { try { return frames[0].document.body.innerText.includes("PIN") } catch { return frames[0].length > 0 } })()`) {
		t.Error("the frame shows the page")
	}
}

// TestSignInLeadsNowhereElse: the address to go on to is one of ours.
func TestSignInLeadsNowhereElse(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for _, next := range []string{"https://evil.example/", "//evil.example/ui/", `/\evil.example`, "javascript:alert(1)"} {
		p := s.Page(t, chromium)
		p.Open("/")
		p.Put("next", next)
		p.GiveCredentials(browser.Admin, browser.AdminPassword)
		p.WaitText("Sign out")
		if got := browser.Eval[string](p, "location.origin"); got != s.URL {
			t.Errorf("next %s leads to %s", next, got)
		}
	}
}

// TestNothingThatIsStoredRuns: texts of tokens, users, realms and SMTP servers stand on pages as they are.
func TestNothingThatIsStoredRuns(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.Server.Must(t, "POST", "/resolver/evil", map[string]any{"type": "passwdresolver", "fileName": s.Write(t, "evil.passwd",
		`<img src=/ran onerror=alert(1)>:x:1:1:`+strings.ReplaceAll(hostile, ":", "")+`,,,,"<b>x@example.org:/:/bin/sh`+"\n")})
	s.Server.Must(t, "POST", "/realm/evil", map[string]any{"resolvers": "evil"})
	s.Server.Must(t, "POST", "/token/description/ALICE1", map[string]any{"description": hostile})
	s.Server.SMTPServer(t, "evil", s.Sink.Port, map[string]any{"description": hostile, "sender": `"` + strings.ReplaceAll(hostile, `"`, "") + `" <x@example.org>`, "username": hostile})
	refusal := s.Server.Call(t, "POST", "/realm/"+url.PathEscape(hostile), map[string]any{"resolvers": "evil"})
	if refusal.HTTPStatus == http.StatusOK {
		t.Log("a realm may be called so")
	}
	p := signedIn(t, s)
	p.Allow("status of 404")
	for _, path := range []string{"/ui/users?realm=evil", "/ui/users?realm=evil&search=" + url.QueryEscape(hostile), "/ui/users?realm=" + url.QueryEscape(hostile),
		"/ui/user?realm=evil&user=" + url.QueryEscape("<img src=/ran onerror=alert(1)>"), "/ui/user?realm=evil&user=" + url.QueryEscape(hostile), "/ui/user?realm=home&user=alice", "/ui/tokens/ALICE1",
		"/ui/tokens/" + url.PathEscape(hostile), "/ui/servers", "/ui/servers/evil", "/ui/enrol?realm=evil&user=" + url.QueryEscape("<img src=/ran onerror=alert(1)>"),
		"/ui/try?user=" + url.QueryEscape(hostile) + "&realm=" + url.QueryEscape(hostile), "/ui/overview", "/ui/deliveries?serial=" + url.QueryEscape(hostile),
		"/ui/users?done=" + url.QueryEscape(hostile), "/ui/" + url.PathEscape(hostile), "/ui/tokens/ALICE1/first?why=" + url.QueryEscape(hostile)} {
		p.Allow("status of 400")
		p.Open(path)
		p.Wait("main")
		quiet(t, p)
	}
	p.Open("/ui/tokens/ALICE1")
	p.WaitText(strings.Join(strings.Fields(hostile), " "))
	p.Open("/ui/try")
	logIn(p, hostile, hostile)
	p.WaitText("User name or PIN is wrong.")
	quiet(t, p)
}

// quiet fails the test when a page has an element that only a text of somebody else can have brought, or asked for it. A
// violation of the policy would fail the test, too.
func quiet(t *testing.T, p *browser.Page) {
	t.Helper()
	if n := p.Count("main img, main script, main b, main iframe"); n > 0 {
		t.Errorf("%s has %d elements of somebody else", p.Path(), n)
	}
	if browser.Eval[bool](p, `performance.getEntriesByType("resource").some((e) => e.name.includes("/ran"))`) {
		t.Errorf("%s asked for what somebody else wanted", p.Path())
	}
}

// TestNothingThatAMailServerSaysRuns: its greeting, its replies, and the names in its certificate.
func TestNothingThatAMailServerSaysRuns(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := signedIn(t, s)
	const says = `<img src=/ran onerror=alert(1)><script>alert(1)</script>`
	s.Sink.Use(func(e2e.Stage, e2e.Mail) error { return e2e.Refuse(550, says) })
	transaction := s.Server.MustCheck(t, "CHALLENGE", browser.AliceToken, browser.AlicePIN).Detail.TransactionID
	settled(t, s, transaction, "not_sent")
	for _, path := range []string{"/ui/deliveries", "/ui/deliveries/" + idOf(t, s, transaction), "/ui/servers", "/ui/servers/office", "/ui/overview", "/ui/tokens/ALICE1"} {
		p.Open(path)
		p.Wait("main")
		quiet(t, p)
	}
	p.Open("/ui/deliveries/" + idOf(t, s, transaction))
	p.WaitText(says)

	secure := e2e.NewSink(t, e2e.SinkOptions{TLS: &tls.Config{Certificates: []tls.Certificate{hostileCertificate(t, says)}, MinVersion: tls.VersionTLS12}})
	s.Server.SMTPServer(t, browser.MailServer, secure.Port, map[string]any{"enqueue_job": true, "tls": true, "tls_verify": false})
	transaction = s.Server.MustCheck(t, "CHALLENGE", browser.AliceToken, browser.AlicePIN).Detail.TransactionID
	settled(t, s, transaction, "sent")
	p.Open("/ui/deliveries/" + idOf(t, s, transaction))
	p.WaitText(`CN=\<img src=/ran onerror=alert(1)\>\<script\>alert(1)\</script\>`) // as RFC 4514 writes it
	quiet(t, p)
	p.Click(".phases summary")
	p.WaitText("Issued by")
	p.Looks("delivery-tls")
}

// hostileCertificate returns one that calls itself so.
func hostileCertificate(t *testing.T, name string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	form := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name, Organization: []string{name}}, DNSNames: []string{"sink.example.org"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, form, form, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
