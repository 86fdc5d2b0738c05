package webui

import (
	"net/http"
	"net/url"
)

// tokenPage is the data of one token.
type tokenPage struct {
	Token  token
	PIN    []field
	Above  string // what is wrong with the form as a whole
	Server string // the SMTP server that its codes leave by; '' : that of the settings
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
