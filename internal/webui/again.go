package webui

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// This file is how a choice of the language keeps what is typed: the buttons at the foot send the page's own form
// to /ui/language, which shows it once more in the new language, with what was typed, and does nothing of what the
// form is for. It needs no script.

// asker is a page whose form is shown again.
type asker interface {
	// form returns the address that the form with the id "form" is sent to; '' : there is none to keep.
	form() string
}

// chooseLanguage keeps a choice. It shows the form that came with it once more; without one it goes back to the page.
func (v *visit) chooseLanguage() error {
	name := v.r.PostForm.Get("language")
	if v.site.languages[name] != nil {
		http.SetCookie(v.w, &http.Cookie{
			Name:     languageCookie,
			Value:    name,
			Path:     v.site.options.Base + "/",
			MaxAge:   365 * 24 * 3600,
			HttpOnly: true,
			SameSite: http.SameSiteLaxMode,
			Secure:   true,
		})
	}
	q := v.r.URL.Query()
	if address := safe(q.Get("form")); address != "/" {
		return v.showAgain(address, name)
	}
	return v.redirect(safe(q.Get("next")), "")
}

// showAgain shows the form of an address with what was typed, in a language.
func (v *visit) showAgain(address, language string) error {
	r := v.r.Clone(v.r.Context())
	var err error
	if r.URL, err = url.Parse(address); err != nil {
		return v.refusal(http.StatusBadRequest, "error.form")
	}
	r.Header["Cookie"] = slices.Insert(slices.Clone(r.Header["Cookie"]), 0, languageCookie+"="+language)
	r.PostForm.Del("language")
	r.Form, r.RequestURI = nil, ""
	v.site.forms.ServeHTTP(v.w, r)
	return nil
}

// languageForm returns where the buttons of the languages send what they send: the form of a page, or only its address.
func (v *visit) languageForm(data any) (action string, ofPage bool) {
	if a, ok := data.(asker); ok && a.form() != "" {
		return "/ui/language?" + url.Values{"form": {a.form()}}.Encode(), true
	}
	return "/ui/language?" + url.Values{"next": {v.r.URL.RequestURI()}}.Encode(), false
}

func (signInForm) form() string { return "/ui/signin" }

func (v *visit) signInAgain() error {
	form := v.r.PostForm
	v.show(http.StatusOK, "signin", signInForm{Next: safe(form.Get("next")), Kept: form.Get("kept"), Name: form.Get("username")})
	return nil
}

func (p goOnPage) form() string { return "/ui/goon?" + url.Values{"next": {p.Next}}.Encode() }

func (v *visit) goOnAgain() error {
	v.show(http.StatusOK, "goon", goOnPage{Next: safe(v.r.URL.Query().Get("next")), Kept: v.r.PostForm})
	return nil
}

func (enrolPage) form() string { return "/ui/enrol" }

func (v *visit) enrolAgain() error {
	p := enrolPage{User: v.r.PostForm.Get("user"), Realm: v.r.PostForm.Get("realm"), Fields: enrolFields()}
	fill(each(p.Fields), v.r.PostForm)
	v.show(http.StatusOK, "enrol", p)
	return nil
}

func (p usersPage) form() string {
	if p.First == nil {
		return ""
	}
	return "/ui/users"
}

func (v *visit) realmAgain() error {
	p := usersPage{First: realmFields()}
	fill(each(p.First), v.r.PostForm)
	v.show(http.StatusOK, "users", p)
	return nil
}

func (p tokenPage) form() string {
	if p.PIN == nil {
		return ""
	}
	return pathOfToken(p.Token.Serial) + "/pin"
}

func (v *visit) pinAgain() error {
	form := pinFields("tokens")
	fill(each(form), v.r.PostForm)
	return v.showToken(http.StatusOK, form, "")
}

func (p firstPage) form() string {
	if p.Transaction == "" || p.Mail.Ended() {
		return ""
	}
	return pathOfToken(p.Serial) + "/first/code"
}

func (v *visit) firstAgain() error {
	form := v.r.PostForm
	return v.showFirst(http.StatusOK, firstPage{Serial: v.r.PathValue("serial"), Transaction: form.Get("transaction_id"), Code: form.Get("pass")})
}

func (p tryPage) form() string {
	if p.Accepted || p.Transaction != "" && p.Mail.Ended() {
		return ""
	}
	return p.Path
}

func (v *visit) tryAgain() error {
	form := v.r.PostForm
	p := tryPage{Path: v.r.URL.Path, User: form.Get("user"), Realm: form.Get("realm"), Fields: tryFields(form.Get("user")),
		Transaction: form.Get("transaction_id"), Serial: form.Get("serial")}
	if p.Transaction != "" {
		p.Code = form.Get("pass")
		return v.showCode(p, http.StatusOK)
	}
	fill(each(p.Fields), form)
	v.show(http.StatusOK, "try", p)
	return nil
}

func (p serverPage) form() string { return "/ui/servers" }

func (v *visit) serverAgain() error {
	p, err := v.typedServer()
	if err != nil {
		return err
	}
	v.showServer(http.StatusOK, p)
	return nil
}

// doubled returns the name of a field that came with two values, which REST refuses as well; ” : there is none.
func doubled(form url.Values) string {
	for _, name := range slices.Sorted(maps.Keys(form)) {
		if slices.ContainsFunc(form[name], func(other string) bool { return other != form[name][0] }) {
			return strings.ToValidUTF8(name, "\ufffd")
		}
	}
	return ""
}
