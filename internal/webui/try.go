package webui

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
)

// tryPage is a login, step by step: name and PIN, then the code. It is the administrators' page "try a login" and,
// for everybody, the sample login.
type tryPage struct {
	Path        string // of this page
	User, Realm string
	Fields      []field // of the step of name and PIN
	Transaction string  // '' : the step of name and PIN
	Serial      string
	Mail        news   // how the message stands
	Above       string // why the first step failed
	Code        string // what was typed and not looked at
	Error       string // what is wrong with the code
	Accepted    bool
}

// pathLogin is the sample login.
const pathLogin = "/ui/login"

// tryFields are the first step of a login.
func tryFields(user string) []field {
	return []field{
		{Name: "user", Text: "try.user", Type: "text", Complete: "username", Max: 255, Required: true, Value: user, Focus: user == ""},
		{Name: "pass", Text: "try.pin", Type: "password", Complete: "current-password", Max: longestPIN + 10, Focus: user != ""}, // with a code behind it
	}
}

// tryLogin shows the first step.
func (v *visit) tryLogin() error {
	q := v.r.URL.Query()
	v.show(http.StatusOK, "try", tryPage{Path: v.r.URL.Path, User: q.Get("user"), Realm: q.Get("realm"), Fields: tryFields(q.Get("user"))})
	return nil
}

// tryStep sends name and PIN, or name and code, to /validate/check, and shows the next step. With look it only
// shows anew how the message stands: the way without JavaScript.
func (v *visit) tryStep() error {
	form := v.r.PostForm
	p := tryPage{Path: v.r.URL.Path, User: form.Get("user"), Realm: form.Get("realm"), Fields: tryFields(form.Get("user")),
		Transaction: form.Get("transaction_id"), Serial: form.Get("serial")}
	switch {
	case p.Transaction != "" && form.Get("look") != "":
		p.Code = form.Get("pass")
		return v.showCode(p, http.StatusOK)
	case p.Transaction != "" && form.Get("pass") == "":
		p.Error = v.text.say("try.nocode")
		return v.showCode(p, http.StatusBadRequest)
	case strings.TrimSpace(p.User) == "":
		fill(each(p.Fields), form)
		p.Fields[0].Error = v.text.say("try.nouser")
		v.show(http.StatusBadRequest, "try", p)
		return nil
	}
	asked := url.Values{"user": {p.User}, "pass": {form.Get("pass")}}
	if p.Realm != "" {
		asked.Set("realm", p.Realm)
	}
	if p.Transaction != "" {
		asked.Set("transaction_id", p.Transaction)
	}
	a, err := v.call(http.MethodPost, "/validate/check", asked)
	var refused *refusal
	switch {
	case errors.As(err, &refused):
		return v.tryRefused(p, refused)
	case err != nil:
		return err
	}
	var detail checkDetail
	if err := json.Unmarshal(a.Detail, &detail); err != nil {
		return err
	}
	return v.tryAnswered(p, a, detail)
}

// tryAnswered shows what follows from an answer to the login.
func (v *visit) tryAnswered(p tryPage, a answer, detail checkDetail) error {
	p.Serial = detail.Serial
	switch {
	case a.Authentication == "ACCEPT":
		p.Accepted = true
	case a.Authentication == "CHALLENGE":
		p.Transaction = detail.TransactionID
		return v.showCode(p, http.StatusOK)
	case p.Transaction != "":
		p.Error = v.refused(a, detail.Message, wrongCode, exceeded) // ten wrong codes lock a token
		return v.showCode(p, http.StatusOK)
	default:
		p.Above = v.refused(a, detail.Message, wrongPIN, unsent)
	}
	v.show(http.StatusOK, "try", p)
	return nil
}

// Numbers of REST's refusals: a user that there is not, who gets the sentence of a wrong PIN, and a token that was
// revoked.
const (
	unknownUser = 904
	revoked     = 1007
)

// tryRefused shows why a login was not looked at.
func (v *visit) tryRefused(p tryPage, refused *refusal) error {
	if refused.Code == unknownUser || refused.Code == revoked && v.stranger() {
		if p.Transaction != "" && v.stranger() { // with one made up, it must look as for a user that there is
			p.Error = v.text.say("fault.wrong_code")
			return v.showCode(p, http.StatusOK)
		}
		p.Above = v.text.say("fault.wrong_pin")
		v.show(http.StatusOK, "try", p)
		return nil
	}
	if p.Transaction != "" {
		p.Code, p.Error = v.r.PostForm.Get("pass"), refused.Message
		return v.showCode(p, refused.Status)
	}
	fill(each(p.Fields), v.r.PostForm)
	var err error
	if p.Above, err = v.blame(each(p.Fields), refused); err != nil {
		return err
	}
	v.show(refused.Status, "try", p)
	return nil
}

// showCode shows the step of the code, with how the message stands now.
func (v *visit) showCode(p tryPage, status int) (err error) {
	if p.Mail, err = v.mailOf(p.Transaction); err != nil {
		return err
	}
	v.show(status, "try", p)
	return nil
}
