package webui

import (
	"encoding/json"
	"net/http"
	"net/url"
)

// enrolPage is the first step of the wizard: whose token, which address, which PIN.
type enrolPage struct {
	User, Realm string
	Fields      []field
	Above       string
}

// enrolFields are the form of a new e-mail token. The names are those of /token/init.
func enrolFields() []field {
	return []field{
		{Name: "email", Text: "enrol.email", Type: "email", Complete: "off", Max: 254, Hint: "alice@example.com"},
		{Name: "dynamic_email", Text: "enrol.dynamic", Type: "checkbox"},
		{Name: "pin", Text: "enrol.pin", Type: "password", Complete: "new-password", Max: longestPIN},
		{Name: "repeat", Text: "enrol.repeat", Type: "password", Complete: "new-password", Max: longestPIN},
		{Name: "description", Text: "enrol.description", Type: "text", Max: 80},
	}
}

// enrol shows the form, with the address that the user's record has.
func (v *visit) enrol() error {
	q := v.r.URL.Query()
	p := enrolPage{User: q.Get("user"), Realm: q.Get("realm"), Fields: enrolFields()}
	var found []user
	if err := v.get("/user/", url.Values{"username": {p.User}, "realm": {p.Realm}}, &found); err != nil {
		return err
	}
	for _, u := range found {
		if u.Username == p.User {
			p.Fields[0].Value = u.Email
			v.show(http.StatusOK, "enrol", p)
			return nil
		}
	}
	return &apiError{Status: http.StatusNotFound, Message: v.text.say("users.unknown", p.User, p.Realm)}
}

// enrolToken makes the token and sends its first message.
func (v *visit) enrolToken() error {
	typed := v.r.PostForm
	p := enrolPage{User: typed.Get("user"), Realm: typed.Get("realm"), Fields: enrolFields()}
	fill(each(p.Fields), typed)
	if typed.Get("pin") != typed.Get("repeat") {
		p.Fields[3].Error = v.text.say("tokens.differ")
		v.show(http.StatusBadRequest, "enrol", p)
		return nil
	}
	asked := params(each(p.Fields), typed)
	asked.Del("repeat")
	asked.Set("type", "email")
	asked.Set("user", p.User)
	asked.Set("realm", p.Realm)
	a, err := v.call(http.MethodPost, "/token/init", asked)
	if err != nil {
		above, other := v.blame(each(p.Fields), err)
		if other != nil {
			return other
		}
		p.Above = above
		v.show(http.StatusBadRequest, "enrol", p)
		return nil
	}
	var made struct{ Serial string }
	if err := json.Unmarshal(a.Detail, &made); err != nil {
		return err
	}
	return v.firstMessage(made.Serial)
}

// firstPage is the second step: the first message is on its way, and its code proves that the token works.
type firstPage struct {
	Serial      string
	Transaction string
	Mail        news
	Error       string
	Works       bool
}

// again sends a message for a token once more.
func (v *visit) again() error { return v.firstMessage(v.r.PathValue("serial")) }

// firstMessage triggers a challenge and shows what becomes of its message.
func (v *visit) firstMessage(serial string) error {
	p := firstPage{Serial: serial}
	a, err := v.call(http.MethodPost, "/validate/triggerchallenge", url.Values{"serial": {serial}})
	if status(err) != 0 {
		p.Error = err.Error()
		v.show(http.StatusOK, "first", p)
		return nil
	}
	if err != nil {
		return err
	}
	var detail checkDetail
	if err := json.Unmarshal(a.Detail, &detail); err != nil {
		return err
	}
	if p.Transaction = detail.TransactionID; p.Transaction == "" {
		p.Error = v.said(detail.Message, 0)
		v.show(http.StatusOK, "first", p)
		return nil
	}
	return v.showFirst(p)
}

// showFirst shows how the first message stands.
func (v *visit) showFirst(p firstPage) (err error) {
	if p.Mail, _, err = v.mailOf(p.Transaction); err != nil {
		return err
	}
	v.show(http.StatusOK, "first", p)
	return nil
}

// tryFirst checks the code of the first message.
func (v *visit) tryFirst() error {
	p := firstPage{Serial: v.r.PathValue("serial"), Transaction: v.r.PostForm.Get("transaction_id")}
	if v.r.PostForm.Get("look") != "" {
		return v.showFirst(p)
	}
	a, err := v.call(http.MethodPost, "/validate/check", url.Values{"serial": {p.Serial}, "transaction_id": {p.Transaction}, "pass": {v.r.PostForm.Get("pass")}})
	if err != nil {
		return err
	}
	if p.Works = a.Authentication == "ACCEPT"; p.Works {
		v.show(http.StatusOK, "first", p)
		return nil
	}
	var detail checkDetail
	if err := json.Unmarshal(a.Detail, &detail); err != nil {
		return err
	}
	p.Error = v.said(detail.Message, 0)
	return v.showFirst(p)
}
