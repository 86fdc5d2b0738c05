package webui

import (
	"net/http"
	"net/url"
	"slices"
)

// codesSetting is the setting that names the server which the codes of e-mail tokens leave by.
const codesSetting = "email.identifier"

// serverForCodes returns its identifier; "" when there is none, or for who may not read settings.
func (v *visit) serverForCodes() (string, error) {
	if !v.session.may("configread") {
		return "", nil
	}
	var value *string
	if err := v.get(pathTo("system", codesSetting), nil, &value); err != nil || value == nil {
		return "", err
	}
	return *value, nil
}

// noCodes returns why none of these servers, which are all, sends the codes of e-mail tokens; "" when one does,
// when there is no server at all, and for who may not see it.
func (v *visit) noCodes(servers []server, forCodes string) string {
	switch {
	case !v.session.may("configread"), len(servers) == 0, slices.ContainsFunc(servers, func(s server) bool { return s.Identifier == forCodes }):
		return ""
	case forCodes == "":
		return v.text.say("codes.none")
	}
	return v.text.say("codes.gone", forCodes)
}

// choice is what the form of a server says of the codes.
type choice struct {
	identifier string // of the form's server
	loaded     string // the server for codes when the form was made
	ticked     bool
}

// changes reports whether the visitor has changed the box. An unchanged box changes nothing, so that saving another
// description does not undo the choice that another administrator has made meanwhile.
func (c choice) changes() bool { return c.ticked != (c.loaded == c.identifier) }

// overtakenCodes returns the server that another administrator has chosen for the codes since the form was made, if the
// form would replace it; otherwise "".
func (v *visit) overtakenCodes(c choice) (string, error) {
	if !v.session.may("configwrite") || !c.ticked || !c.changes() {
		return "", nil
	}
	now, err := v.serverForCodes()
	if now == c.loaded || now == c.identifier {
		now = ""
	}
	return now, err
}

// chooseForCodes writes or takes back that the codes of e-mail tokens leave by the form's server.
func (v *visit) chooseForCodes(c choice) error {
	if !v.session.may("configwrite") || !c.changes() {
		return nil
	}
	now, err := v.serverForCodes()
	switch {
	case err != nil:
		return err
	case c.ticked && now != c.identifier:
		_, err = v.call(http.MethodPost, "/system/setConfig", url.Values{codesSetting: {c.identifier}})
	case !c.ticked:
		_, err = v.freeCodes(c.identifier)
	}
	return err
}

// freeCodes takes the codes from a server and reports whether it had them: no server sends them then.
func (v *visit) freeCodes(identifier string) (bool, error) {
	now, err := v.serverForCodes()
	if err != nil || now != identifier {
		return false, err
	}
	if v.session.may("configdelete") {
		_, err = v.call(http.MethodDelete, pathTo("system", codesSetting), nil)
	}
	return true, err
}
