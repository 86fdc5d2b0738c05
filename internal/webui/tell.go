package webui

import (
	"net/http"
	"strings"
)

// toldCookie carries what the next page says. It is no parameter of the address: a stranger's link could say that something was done.
const toldCookie = "otpost_told"

// toldWithin is how many seconds a browser has to open the page that says it.
const toldWithin = 10

// tell has the next page say texts, by their keys: the one at this address alone, and once.
func (v *visit) tell(address string, keys ...string) {
	path, _, _ := strings.Cut(address, "?")
	v.setTold(strings.Join(keys, "+")+"@"+path, toldWithin)
}

func (v *visit) setTold(value string, seconds int) {
	http.SetCookie(v.w, &http.Cookie{
		Name:     toldCookie,
		Value:    value,
		Path:     v.site.options.Base + "/ui/",
		MaxAge:   seconds,
		HttpOnly: true,
		Secure:   true,
		SameSite: http.SameSiteStrictMode,
	})
}

// takeTold returns the keys of what this page says, and takes the cookie away.
func (v *visit) takeTold() []string {
	cookie, err := v.r.Cookie(toldCookie)
	if err != nil || v.r.Method != http.MethodGet {
		return nil
	}
	keys, path, _ := strings.Cut(cookie.Value, "@")
	if path != v.r.URL.EscapedPath() {
		return nil
	}
	v.setTold("", -1)
	return strings.Split(keys, "+")
}
