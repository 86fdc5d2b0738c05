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

// pinFields are the form that sets a PIN.
func pinFields() []field {
	return []field{
		{Name: "pin", Text: "tokens.pin", Type: "password", Complete: "new-password", Max: longestPIN},
		{Name: "repeat", Text: "tokens.repeat", Type: "password", Complete: "new-password", Max: longestPIN},
	}
}

// longestPIN is what the inputs take; the API has the rule.
const longestPIN = 128

// token shows one token.
func (v *visit) token() error { return v.showToken(http.StatusOK, pinFields(), "") }

func (v *visit) showToken(status int, pin []field, above string) error {
	serial := v.r.PathValue("serial")
	found, err := v.tokensOf(url.Values{"serial": {serial}})
	if err != nil {
		return err
	}
	for _, t := range found {
		if t.Serial == serial {
			v.show(status, "token", tokenPage{Token: t, PIN: pin, Above: above, Server: t.Info["email.identifier"]})
			return nil
		}
	}
	return &apiError{Status: http.StatusNotFound, Message: v.text.say("tokens.unknown", serial)}
}

// pathOfToken is the page of a token.
func pathOfToken(serial string) string { return pathTo("ui", "tokens", serial) }

// actOnToken does what a button of the token's page says.
func (v *visit) actOnToken() error {
	serial, act := v.r.PathValue("serial"), v.r.PostForm.Get("act")
	switch act {
	case "enable", "disable", "reset":
		if _, err := v.call(http.MethodPost, pathTo("token", act, serial), nil); err != nil {
			return err
		}
	case "delete":
		if _, err := v.call(http.MethodDelete, pathTo("token", serial), nil); err != nil {
			return err
		}
		return v.redirect("/ui/users", "token_deleted")
	default:
		return &apiError{Status: http.StatusBadRequest, Message: v.text.say("error.form")}
	}
	return v.redirect(pathOfToken(serial), "token_"+act)
}

// setPIN sets a token's PIN.
func (v *visit) setPIN() error {
	form := pinFields()
	if v.r.PostForm.Get("pin") != v.r.PostForm.Get("repeat") {
		fill(each(form), v.r.PostForm)
		form[1].Error = v.text.say("tokens.differ")
		return v.showToken(http.StatusBadRequest, form, "")
	}
	_, err := v.call(http.MethodPost, pathTo("token", "setpin", v.r.PathValue("serial")), url.Values{"otppin": {v.r.PostForm.Get("pin")}})
	if err != nil {
		fill(each(form), v.r.PostForm)
		above, other := v.blame(each(form), err)
		if other != nil {
			return other
		}
		return v.showToken(http.StatusBadRequest, form, above)
	}
	return v.redirect(pathOfToken(v.r.PathValue("serial")), "pin_set")
}
