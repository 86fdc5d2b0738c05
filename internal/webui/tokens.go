package webui

import (
	"net/http"
	"net/url"
	"slices"
)

// token is a row of GET /token/.
type token struct {
	Serial      string
	Type        string `json:"tokentype"`
	Active      bool
	Revoked     bool
	Failcount   int
	Maxfail     int
	Username    string
	Realm       string `json:"user_realm"`
	Description string
	Info        map[string]string
	Unreadable  []string `json:"unreadable_info_keys"`
}

// State returns the word for how a token stands.
func (t token) State() string {
	switch {
	case t.Revoked:
		return "revoked"
	case !t.Active:
		return "disabled"
	case t.Failcount >= t.Maxfail:
		return "locked"
	}
	return "active"
}

// Usable reports whether a code can be sent for the token.
func (t token) Usable() bool { return t.State() == "active" }

// Dynamic reports whether the codes go to whatever address the user has.
func (t token) Dynamic() bool {
	return t.Info["dynamic_email"] == "1" || t.Info["dynamic_email"] == "True"
}

// Unread reports whether the address of the token does not open with this key file.
func (t token) Unread() bool { return slices.Contains(t.Unreadable, "email") }

// tokensOf asks for tokens; at most a hundred, more than anybody has.
func (v *visit) tokensOf(filter url.Values) ([]token, error) {
	var page struct{ Tokens []token }
	filter.Set("pagesize", "100")
	return page.Tokens, v.get("/token/", filter, &page)
}

// tokenPage is the data of one token.
type tokenPage struct {
	Token  token
	PIN    []field // none, where the visitor may not set it
	Above  string  // what is wrong with the form as a whole
	Server string  // the SMTP server that its codes leave by; '' : that of the settings
}

// longestPIN is what the inputs take; the API has the rule.
const longestPIN = 256

// pinFields are the two inputs of a new PIN, with texts below text.
func pinFields(text string) []field {
	return []field{
		{Name: "pin", Text: text + ".pin", Type: "password", Complete: "new-password", Max: longestPIN},
		{Name: "repeat", Text: text + ".repeat", Type: "password", Complete: "new-password", Max: longestPIN},
	}
}

// differ reports whether pin and repeat are not the same, and says so beside repeat.
func (v *visit) differ(fields []*field) bool {
	values := make(map[string]*field)
	for _, f := range fields {
		values[f.Name] = f
	}
	if values["pin"].Value == values["repeat"].Value {
		return false
	}
	values["repeat"].Error = v.text.say("tokens.differ")
	return true
}

// token shows one token.
func (v *visit) token() error { return v.showToken(http.StatusOK, pinFields("tokens"), "") }

func (v *visit) showToken(status int, pin []field, above string) error {
	serial := v.r.PathValue("serial")
	found, err := v.tokensOf(url.Values{"serial": {serial}})
	if err != nil {
		return err
	}
	for _, t := range found {
		if t.Serial == serial { // a star in it is a pattern to the API
			if t.Revoked || !v.session.may("setpin") {
				pin = nil
			}
			v.show(status, "token", tokenPage{Token: t, PIN: pin, Above: above, Server: t.Info["email.identifier"]})
			return nil
		}
	}
	return v.refusal(http.StatusNotFound, "tokens.unknown", serial)
}

// pathOfToken is the page of a token.
func pathOfToken(serial string) string { return pathTo("ui", "tokens", serial) }

// actOnToken does what a button of the token's page says.
func (v *visit) actOnToken() error {
	serial, act := v.r.PathValue("serial"), v.r.PostForm.Get("act")
	var err error
	switch act {
	case "enable", "disable", "reset":
		_, err = v.call(http.MethodPost, pathTo("token", act, serial), nil)
	case "delete":
		_, err = v.call(http.MethodDelete, pathTo("token", serial), nil)
	default:
		err = v.refusal(http.StatusBadRequest, "error.form")
	}
	switch {
	case status(err) == http.StatusNotFound:
		return v.refusal(http.StatusNotFound, "tokens.unknown", serial)
	case err != nil:
		return err
	case act == "delete":
		return v.redirect("/ui/users", "token_delete")
	}
	return v.redirect(pathOfToken(serial), "token_"+act)
}

// setPIN sets a token's PIN.
func (v *visit) setPIN() error {
	form := pinFields("tokens")
	fields := each(form)
	fill(fields, v.r.PostForm)
	if v.differ(fields) {
		return v.showToken(http.StatusBadRequest, form, "")
	}
	_, err := v.call(http.MethodPost, pathTo("token", "setpin", v.r.PathValue("serial")), url.Values{"pin": {form[0].Value}})
	if err != nil {
		above, err := v.blame(fields, err)
		if err != nil {
			return err
		}
		return v.showToken(http.StatusBadRequest, form, above)
	}
	return v.redirect(pathOfToken(v.r.PathValue("serial")), "pin_set")
}
