package webui

import (
	"errors"
	"net/http"
	"path"
	"strings"
)

// screen is one row of the table: who may see what at which address.
type screen struct {
	method string
	path   string // a pattern of net/http's ServeMux
	right  string // privacyIDEA's name of the right that the page needs; '' : a session is enough
	open   bool   // for people without a session too
	menu   string // key of the entry in the menu; '' : none
	own    string // that for users who are no administrators; '' : the same
	below  string // the path of the entry in the menu that the page belongs to; '' : one that the path begins with
	show   func(*visit) error
	again  func(*visit) error // shows the form that is sent to this address, with what was typed, and does nothing
}

// table returns all pages. The menu has its order.
func table() []screen {
	return []screen{
		{method: "GET", path: "/{$}", open: true, show: (*visit).home},
		{method: "GET", path: "/ui/signin", open: true, show: (*visit).home},
		{method: "POST", path: "/ui/signin", open: true, show: (*visit).signIn, again: (*visit).signInAgain},
		{method: "POST", path: "/ui/signout", open: true, show: (*visit).signOut},
		{method: "GET", path: "/ui/language", open: true, show: (*visit).home},
		{method: "POST", path: "/ui/language", open: true, show: (*visit).chooseLanguage},
		{method: "POST", path: "/ui/goon", open: true, show: (*visit).home, again: (*visit).goOnAgain},
		{method: "GET", path: "/ui/overview", right: "delivery_read", menu: "overview.menu", show: (*visit).overview},
		{method: "GET", path: "/ui/overview/live", right: "delivery_read", show: (*visit).overviewLive},
		{method: "GET", path: "/ui/servers", right: "smtpserver_read", menu: "servers.menu", show: (*visit).servers},
		{method: "GET", path: "/ui/newserver", right: "smtpserver_write", show: (*visit).newServer},
		{method: "GET", path: "/ui/servers/{identifier}", right: "smtpserver_read", show: (*visit).server},
		{method: "POST", path: "/ui/servers", right: "smtpserver_write", show: (*visit).saveServer, again: (*visit).serverAgain},
		{method: "POST", path: "/ui/servers/{identifier}/delete", right: "smtpserver_write", show: (*visit).deleteServer},
		{method: "GET", path: "/ui/users", menu: "users.menu", own: "owner.own", show: (*visit).users},
		{method: "POST", path: "/ui/users", right: "resolverwrite", show: (*visit).firstRealm, again: (*visit).realmAgain},
		{method: "GET", path: "/ui/user", right: "userlist", below: "/ui/users", show: (*visit).owner},
		{method: "GET", path: "/ui/tokens/{serial}", right: "tokenlist", below: "/ui/users", show: (*visit).token},
		{method: "POST", path: "/ui/tokens/{serial}", right: "tokenlist", below: "/ui/users", show: (*visit).actOnToken},
		{method: "GET", path: "/ui/tokens/{serial}/pin", open: true, show: (*visit).up},
		{method: "POST", path: "/ui/tokens/{serial}/pin", right: "setpin", below: "/ui/users", show: (*visit).setPIN, again: (*visit).pinAgain},
		{method: "GET", path: "/ui/enrol", right: "enrollEMAIL", below: "/ui/users", show: (*visit).enrol},
		{method: "POST", path: "/ui/enrol", right: "enrollEMAIL", below: "/ui/users", show: (*visit).enrolToken, again: (*visit).enrolAgain},
		{method: "GET", path: "/ui/tokens/{serial}/first", right: "triggerchallenge", below: "/ui/users", show: (*visit).first},
		{method: "POST", path: "/ui/tokens/{serial}/first", right: "triggerchallenge", below: "/ui/users", show: (*visit).again},
		{method: "GET", path: "/ui/tokens/{serial}/first/code", open: true, show: (*visit).up},
		{method: "POST", path: "/ui/tokens/{serial}/first/code", right: "triggerchallenge", below: "/ui/users", show: (*visit).tryFirst, again: (*visit).firstAgain},
		{method: "GET", path: "/ui/deliveries", right: "delivery_read", menu: "deliveries.menu", show: (*visit).deliveries},
		{method: "GET", path: "/ui/deliveries/live", right: "delivery_read", show: (*visit).deliveriesLive},
		{method: "GET", path: "/ui/deliveries/{id}", right: "delivery_read", show: (*visit).delivery},
		{method: "GET", path: "/ui/deliveries/{id}/live", right: "delivery_read", show: (*visit).deliveryLive},
		{method: "GET", path: "/ui/deliveries/{id}/address", open: true, show: (*visit).up},
		{method: "POST", path: "/ui/deliveries/{id}/address", right: "delivery_recipient", show: (*visit).delivery},
		{method: "POST", path: "/ui/deliveries/{id}", right: "delivery_read", show: (*visit).actOnDelivery},
		{method: "GET", path: "/ui/try", menu: "try.menu", show: (*visit).tryLogin},
		{method: "POST", path: "/ui/try", show: (*visit).tryStep, again: (*visit).tryAgain},
		{method: "GET", path: "/ui/login", open: true, show: (*visit).tryLogin},
		{method: "POST", path: "/ui/login", open: true, show: (*visit).tryStep, again: (*visit).tryAgain},
		{method: "GET", path: "/ui/login/live", open: true, show: (*visit).tryLive},
	}
}

// visit is one request for a page, with its visitor. It belongs to the request's goroutine.
type visit struct {
	site    *Site
	w       http.ResponseWriter
	r       *http.Request
	screen  screen
	session session
	text    *language
	wrong   string   // what is wrong with a form before its values are looked at
	flashes []string // keys of the flash messages that the page before set
	aged    bool     // what the API answers may be a second old
}

// screen returns the handler of a row: it finds the session, checks what the page needs, and shows errors as pages.
func (s *Site) screen(one screen) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		secure(w.Header())
		v := &visit{
			site:    s,
			w:       w,
			r:       r,
			screen:  one,
			text:    s.languages.of(r),
			session: sessionOf(r, s.cookie(), s.options.Now()),
		}
		if err := v.run(); err != nil {
			v.refuse(err)
		}
	})
}

// mostForm bounds a posted form: the largest is that of an SMTP server.
const mostForm = 256 << 10

func (v *visit) run() error {
	v.r.Body = http.MaxBytesReader(v.w, v.r.Body, mostForm)
	if err := v.r.ParseForm(); err != nil {
		return v.refusal(http.StatusBadRequest, "error.form")
	}
	switch {
	case v.screen.open:
	case !v.session.In():
		return errSignedOut
	case v.screen.right != "" && !v.session.may(v.screen.right):
		return v.refusal(http.StatusForbidden, "error.right", v.screen.right)
	}
	if name := doubled(v.r.PostForm); name != "" { // a form of ours has each field once
		if v.screen.again == nil {
			return v.refusal(http.StatusBadRequest, "error.doubled", name)
		}
		v.wrong = v.text.say("error.doubled", name)
		return v.screen.again(v)
	}
	v.flashes = v.takeFlash()
	return v.screen.show(v)
}

// errSignedOut says that the page needs a session.
var errSignedOut = errors.New("there is no session")

// refuse shows an error as a page. A visitor without a session signs in and goes on; what was typed is kept.
func (v *visit) refuse(err error) {
	var e *refusal
	switch {
	case errors.Is(err, errSignedOut), status(err) == http.StatusUnauthorized:
		form := signInForm{Next: v.r.URL.RequestURI(), Kept: v.kept(), Expired: v.session.was || v.session.In()}
		v.session = session{} // the page shows nothing of one that the API does not take
		v.show(http.StatusUnauthorized, "signin", form)
	case errors.As(err, &e):
		v.show(e.Status, "error", errorPage{Status: e.Status, Message: e.Message})
	case v.r.Context().Err() != nil: // the client has gone
	default:
		v.site.log.Error("page failed", "path", v.r.URL.Path, "err", err)
		v.show(http.StatusInternalServerError, "error", errorPage{Status: http.StatusInternalServerError, Message: v.text.say("fault.internal")})
	}
}

// errorPage is the data of the page that says what went wrong.
type errorPage struct {
	Status  int
	Message string
}

// notFound answers addresses below /ui/ without a screen.
func (v *visit) notFound() error {
	return v.refusal(http.StatusNotFound, "error.notfound")
}

// foreign answers a form that was sent from a page of another site.
func (v *visit) foreign() error {
	return v.refusal(http.StatusForbidden, "error.foreign")
}

// redirect goes on to a page of ours, which says what was done: the text done.<done>; nothing for "".
func (v *visit) redirect(to, done string) error {
	if done != "" {
		v.flash(to, "done."+done)
	}
	http.Redirect(v.w, v.r, to, http.StatusSeeOther)
	return nil
}

// up goes from an address that only takes forms to the page of these forms. A visitor comes there by choosing a
// language, or by the address bar of the browser.
func (v *visit) up() error { return v.redirect(path.Dir(v.r.URL.EscapedPath()), "") }

// menuEntry is a link to a screen.
type menuEntry struct {
	Path, Text string
	Here       bool
}

// menu returns the links that the visitor may follow.
func (v *visit) menu() []menuEntry {
	var all []menuEntry
	if !v.session.In() {
		return nil
	}
	for _, one := range v.site.screens {
		if one.menu != "" && (one.right == "" || v.session.may(one.right)) {
			key := one.menu
			if one.own != "" && !v.session.Admin() {
				key = one.own
			}
			here := v.screen.below == one.path || under(v.r.URL.Path, one.path)
			all = append(all, menuEntry{Path: one.path, Text: v.text.say(key), Here: here})
		}
	}
	return all
}

// under reports whether a page belongs to a menu's entry.
func under(path, entry string) bool {
	return path == entry || strings.HasPrefix(path, entry+"/")
}
