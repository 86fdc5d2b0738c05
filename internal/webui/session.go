package webui

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// cookieName has the prefix that binds a cookie to this host and to TLS (or loopback), RFC 6265bis section
// 4.1.3.2. Such a cookie goes to every path of the host. cookieBelow binds to TLS alone, and its path keeps it
// from the other programs of the host.
const (
	cookieName  = "__Host-otpost"
	cookieBelow = "__Secure-otpost"
)

// cookie returns the name of the session's cookie.
func (s *Site) cookie() string {
	if s.options.Base != "" {
		return cookieBelow
	}
	return cookieName
}

// session is who looks at a page. What it says is decoration, read from the token unverified: each call of the API
// verifies it.
type session struct {
	token  string // '' : there is none
	was    bool   // there was one, and its time is over
	Name   string
	Realm  string
	Role   string // admin or user
	Rights []string
}

// may reports whether the session has a right.
func (s session) may(right string) bool { return slices.Contains(s.Rights, right) }

// Admin reports whether an administrator looks.
func (s session) Admin() bool { return s.Role == "admin" }

// In reports whether the visitor has signed in.
func (s session) In() bool { return s.token != "" }

// sessionOf reads the session of a request from the cookie of this name.
func sessionOf(r *http.Request, name string, now time.Time) session {
	cookie, err := r.Cookie(name)
	if err != nil {
		return session{}
	}
	claims, ok := claimsOf(cookie.Value)
	if !ok {
		return session{}
	}
	if claims.Expires <= now.Unix() {
		return session{was: true}
	}
	return session{token: cookie.Value, Name: claims.Username, Realm: claims.Realm, Role: claims.Role, Rights: claims.Rights}
}

// tokenClaims are what a page shows of a session token (RFC 7519).
type tokenClaims struct {
	Username string   `json:"username"`
	Realm    string   `json:"realm"`
	Role     string   `json:"role"`
	Rights   []string `json:"rights"`
	Expires  int64    `json:"exp"`
}

func claimsOf(token string) (c tokenClaims, ok bool) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return c, false
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	return c, err == nil && json.Unmarshal(payload, &c) == nil
}

// setCookie keeps the session token in the browser, or takes it away when it is empty.
func (v *visit) setCookie(token string) {
	cookie := &http.Cookie{
		Name:     v.site.cookie(),
		Value:    token,
		Path:     v.site.options.Base + "/",
		Secure:   true,
		HttpOnly: true,
		SameSite: http.SameSiteStrictMode,
	}
	if token == "" {
		cookie.MaxAge = -1
	}
	http.SetCookie(v.w, cookie)
}

// signInForm is the data of the sign-in page.
type signInForm struct {
	Next    string // where to go on
	Kept    string // a form that was sent without a session, as it came
	Expired bool
	Name    string
	Error   string
}

// home answers / : who has a session goes on to his first page.
func (v *visit) home() error {
	if !v.session.In() {
		v.show(http.StatusOK, "signin", signInForm{Next: "/", Expired: v.session.was})
		return nil
	}
	menu := v.menu()
	if len(menu) == 0 {
		return v.notFound()
	}
	return v.redirect(menu[0].Path, "")
}

// signIn answers the sign-in form by /auth. The session is always a new one.
func (v *visit) signIn() error {
	form := signInForm{Next: safe(v.r.PostForm.Get("next")), Kept: v.r.PostForm.Get("kept"), Name: v.r.PostForm.Get("username")}
	v.session = session{}
	code := http.StatusUnauthorized
	a, err := v.call(http.MethodPost, "/auth", url.Values{"username": {form.Name}, "password": {v.r.PostForm.Get("password")}})
	switch {
	case status(err) == http.StatusUnauthorized:
		form.Error = v.signInRefused(err)
	case err != nil:
		code = status(err)
		if form.Error, err = v.blame(nil, err); err != nil {
			return err
		}
	}
	if form.Error != "" {
		v.show(code, "signin", form)
		return nil
	}
	var welcome struct{ Token string }
	if err := json.Unmarshal(a.Value, &welcome); err != nil {
		return err
	}
	v.setCookie(welcome.Token)
	if form.Kept == "" {
		return v.redirect(form.Next, "")
	}
	return v.goOn(form, welcome.Token)
}

// signInRefused returns why /auth refused: the delay after wrong passwords, which begins before the password is
// checked, or one sentence for everything else.
func (v *visit) signInRefused(err error) string {
	var e *refusal
	if errors.As(err, &e) && e.Key == "password_delay" {
		return e.Message
	}
	return v.text.say("signin.wrong")
}

// goOn offers to send a form that came without a session once more.
func (v *visit) goOn(form signInForm, token string) error {
	kept, err := url.ParseQuery(form.Kept)
	if err != nil {
		return v.redirect(form.Next, "")
	}
	c, _ := claimsOf(token)
	v.session = session{token: token, Name: c.Username, Realm: c.Realm, Role: c.Role, Rights: c.Rights}
	v.show(http.StatusOK, "goon", goOnPage{form.Next, kept})
	return nil
}

// goOnPage is the data of the page that offers to send a form once more.
type goOnPage struct {
	Next string
	Kept url.Values
}

// signOut forgets the session here. Its token ends by itself.
func (v *visit) signOut() error {
	v.setCookie("")
	return v.redirect("/", "")
}

// kept returns the form of a request that came without a session, so that nothing typed is lost.
func (v *visit) kept() string {
	if v.r.Method != http.MethodPost {
		return ""
	}
	if len(v.r.PostForm) == 0 {
		return "&" // of a button alone: a form without fields, and not no form
	}
	return v.r.PostForm.Encode()
}

// safe returns a path of this server to go on to, never an address of another server.
func safe(next string) string {
	u, err := url.Parse(next)
	if err != nil || u.IsAbs() || u.Host != "" || u.User != nil || !strings.HasPrefix(u.Path, "/ui/") || strings.ContainsAny(next, "\\\r\n\t") ||
		strings.HasPrefix(next, "//") {
		return "/"
	}
	return u.RequestURI()
}
