package webui

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
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

// firstPage is the second step: the first message is on its way, and its code proves that the token works.
type firstPage struct {
	Serial      string
	Transaction string // '' : there is no code to wait for
	Mail        news
	Code        string // what was typed and not looked at
	Error       string // what is wrong with the code
	Above       string // why there is none
}

// again sends a code for a token once more.
func (v *visit) again() error { return v.sendCode(v.r.PathValue("serial"), "") }

// sendCode triggers a challenge and goes on to the page that shows what becomes of its message; done is said there.
func (v *visit) sendCode(serial, done string) error {
	a, err := v.call(http.MethodPost, "/validate/triggerchallenge", url.Values{"serial": {serial}})
	if err != nil && (status(err) == 0 || status(err) == http.StatusUnauthorized) {
		return err
	}
	var detail checkDetail
	if err == nil {
		if err := json.Unmarshal(a.Detail, &detail); err != nil {
			return err
		}
	}
	q := url.Values{}
	if done != "" {
		q.Set("done", done)
	}
	switch key := saidKey(detail.Message); {
	case detail.TransactionID != "":
		q.Set("transaction_id", detail.TransactionID)
	case slices.Contains(noCode, key):
		q.Set("why", key)
	default:
		q.Set("why", noCode[0])
	}
	return v.redirectWith(pathOfToken(serial)+"/first", q)
}

// noCode are the texts that say why there is no code; the first stands for all others.
var noCode = []string{"first.unsent", "try.disabled", "try.locked"} //nolint:gochecknoglobals // a constant table

// first shows how the message stands.
func (v *visit) first() error {
	q := v.r.URL.Query()
	p := firstPage{Serial: v.r.PathValue("serial"), Transaction: q.Get("transaction_id")}
	if why := q.Get("why"); slices.Contains(noCode, why) {
		p.Above = v.text.say(why)
	}
	return v.showFirst(http.StatusOK, p)
}

func (v *visit) showFirst(status int, p firstPage) (err error) {
	if p.Transaction != "" {
		if p.Mail, err = v.mailOf(p.Transaction); err != nil {
			return err
		}
	}
	v.show(status, "first", p)
	return nil
}

// tryFirst checks the code of the first message.
func (v *visit) tryFirst() error {
	form := v.r.PostForm
	p := firstPage{Serial: v.r.PathValue("serial"), Transaction: form.Get("transaction_id")}
	switch {
	case form.Get("look") != "":
		p.Code = form.Get("pass")
		return v.showFirst(http.StatusOK, p)
	case form.Get("pass") == "":
		p.Error = v.text.say("try.nocode")
		return v.showFirst(http.StatusBadRequest, p)
	}
	a, err := v.call(http.MethodPost, "/validate/check", url.Values{"serial": {p.Serial}, "transaction_id": {p.Transaction}, "pass": {form.Get("pass")}})
	if err != nil {
		if p.Error, err = v.blame(nil, err); err != nil {
			return err
		}
		p.Code = form.Get("pass")
		return v.showFirst(http.StatusBadRequest, p)
	}
	if a.Authentication == "ACCEPT" {
		return v.redirect(pathOfToken(p.Serial), "token_works")
	}
	var detail checkDetail
	if err := json.Unmarshal(a.Detail, &detail); err != nil {
		return err
	}
	p.Error = v.said(detail.Message)
	return v.showFirst(http.StatusOK, p)
}
