package webui

import (
	"net/http"
	"net/url"
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

// chooseForCodes writes or takes back that the codes of e-mail tokens leave by this server.
func (v *visit) chooseForCodes(identifier string, chosen bool) error {
	if !v.session.may("configwrite") {
		return nil
	}
	now, err := v.serverForCodes()
	switch {
	case err != nil:
		return err
	case chosen && now != identifier:
		_, err = v.call(http.MethodPost, "/system/setConfig", url.Values{codesSetting: {identifier}})
	case !chosen && now == identifier && v.session.may("configdelete"):
		_, err = v.call(http.MethodDelete, pathTo("system", codesSetting), nil)
	}
	return err
}
