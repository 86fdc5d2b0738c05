package webui

import (
	"encoding/json"
	"net/http"
)

// enrolPage is the first step of the wizard: whose token, which address, which PIN.
type enrolPage struct {
	User, Realm string
	Fields      []field
	Above       string
}

// enrolFields are the form of a new e-mail token. The names are those of /token/init, and repeat.
func enrolFields() []field {
	return append([]field{
		{Name: "email", Text: "enrol.email", Type: "email", Complete: "off", Max: 254, Hint: "alice@example.com"},
		{Name: "dynamic_email", Text: "enrol.dynamic", Type: "checkbox"},
	}, append(pinFields("enrol"), field{Name: "description", Text: "enrol.description", Type: "text", Complete: "off", Max: 250})...)
}

// enrol shows the form, with the address that the user's record has.
func (v *visit) enrol() error {
	q := v.r.URL.Query()
	u, err := v.userNamed(q.Get("user"), q.Get("realm"))
	if err != nil {
		return err
	}
	p := enrolPage{User: u.Username, Realm: u.Realm, Fields: enrolFields()}
	p.Fields[0].Value = u.Email
	v.show(http.StatusOK, "enrol", p)
	return nil
}

// enrolToken makes the token and sends its first message.
func (v *visit) enrolToken() error {
	typed := v.r.PostForm
	p := enrolPage{User: typed.Get("user"), Realm: typed.Get("realm"), Fields: enrolFields()}
	fields := each(p.Fields)
	fill(fields, typed)
	if v.differ(fields) {
		v.show(http.StatusBadRequest, "enrol", p)
		return nil
	}
	asked := params(fields, typed)
	asked.Del("repeat")
	asked.Set("type", "email")
	asked.Set("user", p.User)
	asked.Set("realm", p.Realm)
	a, err := v.call(http.MethodPost, "/token/init", asked)
	if err != nil {
		if p.Above, err = v.blame(fields, err); err != nil {
			return err
		}
		v.show(http.StatusBadRequest, "enrol", p)
		return nil
	}
	var made struct{ Serial string }
	if err := json.Unmarshal(a.Detail, &made); err != nil {
		return err
	}
	return v.sendCode(made.Serial, "token_made")
}
