package webui

import (
	"net/http"
	"strings"
)

// flashCookie carries the flash messages of the next page. A parameter of the address could not: a link from
// elsewhere could claim that something was done.
const flashCookie = "otpost_flash"

// flashSeconds is how long the cookie lives, in seconds.
const flashSeconds = 10

// flash stores flash messages, by the keys of their texts, for the next page at address. It shows them once.
func (v *visit) flash(address string, keys ...string) {
	path, _, _ := strings.Cut(address, "?")
	v.setFlashCookie(strings.Join(keys, "+")+"@"+path, flashSeconds)
}

func (v *visit) setFlashCookie(value string, seconds int) {
	http.SetCookie(v.w, &http.Cookie{
		Name:     flashCookie,
		Value:    value,
		Path:     v.site.options.Base + "/ui/",
		MaxAge:   seconds,
		HttpOnly: true,
		Secure:   true,
		SameSite: http.SameSiteStrictMode,
	})
}

// takeFlash returns the keys of the page's flash messages, and deletes the cookie.
func (v *visit) takeFlash() []string {
	cookie, err := v.r.Cookie(flashCookie)
	if err != nil || v.r.Method != http.MethodGet {
		return nil
	}
	keys, path, _ := strings.Cut(cookie.Value, "@")
	if path != v.r.URL.EscapedPath() {
		return nil
	}
	v.setFlashCookie("", -1)
	return strings.Split(keys, "+")
}
