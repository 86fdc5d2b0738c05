package webui

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// tryPage is a login, step by step: name and PIN, then the code. It is the administrators' page "try a login" and, for everybody,
// the sample login.
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

// pathTry is the administrators' page.
const pathTry = "/ui/try"

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

// tryStep sends name and PIN, or name and code, to /validate/check, and shows the next step. With look it only shows anew how the
// message stands: the way without JavaScript.
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
	var refused *apiError
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
	return v.tryAnswered(p, a.Authentication, detail)
}

// checkDetail is the part of POST /validate/check's detail that a login page reads.
type checkDetail struct {
	Message       string
	TransactionID string `json:"transaction_id"`
	Serial        string
}

// tryAnswered shows what follows from an answer to the login.
func (v *visit) tryAnswered(p tryPage, authentication string, detail checkDetail) error {
	p.Serial = detail.Serial
	switch {
	case authentication == "ACCEPT":
		p.Accepted = true
	case authentication == "CHALLENGE":
		p.Transaction = detail.TransactionID
		return v.showCode(p, http.StatusOK)
	case p.Transaction != "":
		p.Error = v.said(detail.Message)
		return v.showCode(p, http.StatusOK)
	default:
		p.Above = v.said(detail.Message)
	}
	v.show(http.StatusOK, "try", p)
	return nil
}

// unknownUser is REST's number for a user that there is not. He gets the sentence of a wrong PIN.
const unknownUser = 904

// tryRefused shows why a login was not looked at.
func (v *visit) tryRefused(p tryPage, refused *apiError) error {
	if refused.Code == unknownUser {
		p.Above = v.text.say("try.wrongpin")
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

// saidKey returns the text that says a sentence of /validate/... in the visitor's language; ” : there is none.
func saidKey(message string) string {
	switch message {
	case "wrong otp pin":
		return "try.wrongpin"
	case "Response did not match the challenge.", "wrong otp value", "wrong otp value. previous otp used again":
		return "try.wrongcode"
	case "The user has no tokens assigned":
		return "try.notoken"
	case "Failcounter exceeded":
		return "try.locked"
	case "Token is disabled":
		return "try.disabled"
	case "The PIN was correct, but the EMail could not be sent!":
		return "try.unsent"
	}
	if strings.HasPrefix(message, "Response did not match for ") {
		return "try.wrongcode"
	}
	return ""
}

// said returns a sentence of /validate/... in the visitor's language, where there is one. The sample login tells nobody which users
// there are: one without a token gets the sentence of a wrong PIN.
func (v *visit) said(message string) string {
	key := saidKey(message)
	switch {
	case key == "":
		return message
	case key == "try.notoken" && v.r.URL.Path != pathTry:
		key = "try.wrongpin"
	}
	return v.text.say(key)
}

// showCode shows the step of the code, with how the message stands now.
func (v *visit) showCode(p tryPage, status int) (err error) {
	if p.Mail, err = v.mailOf(p.Transaction); err != nil {
		return err
	}
	v.show(status, "try", p)
	return nil
}

// mailOf asks polltransaction how the message of a transaction stands. A transaction that tells nothing (unknown, answered or
// superseded) has ended for the visitor.
func (v *visit) mailOf(transaction string) (news, error) {
	a, err := v.call(http.MethodGet, pathTo("validate", "polltransaction", transaction), nil)
	if err != nil {
		return news{}, err
	}
	var detail struct {
		Delivery *struct {
			State      string
			NextTry    *time.Time `json:"next_try"`
			ValidUntil *time.Time `json:"valid_until"`
		}
	}
	if err := json.Unmarshal(a.Detail, &detail); err != nil {
		return news{}, err
	}
	d := detail.Delivery
	switch {
	case d == nil:
		return news{State: "over", Text: v.text.say("try.over"), Final: true}, nil
	case d.ValidUntil != nil && !v.site.options.Now().Before(*d.ValidUntil) && d.State != "not_sent":
		return news{State: "over", Text: v.text.say("try.expired"), Final: true, until: d.ValidUntil}, nil
	}
	n := news{State: d.State, Text: v.text.say("try." + d.State), Final: d.State != "on_its_way", until: d.ValidUntil}
	if d.NextTry != nil && !n.Final {
		n.Text, n.next = v.text.say("try.deferred"), d.NextTry
	}
	v.count(&n)
	return n, nil
}

// count says how many seconds are left until the next try. It stands apart from the text, so that a screen reader is not told each
// second.
func (v *visit) count(n *news) {
	if n.next != nil {
		n.More = v.text.say("try.next_try", max(1, int(n.next.Sub(v.site.options.Now()).Round(time.Second)/time.Second)))
	}
}

// quickLooks is how many seconds polltransaction is asked each second; then each third: every question is a row of the journal.
const quickLooks = 5

// tryLive streams how the message stands, to whoever knows the transaction.
func (v *visit) tryLive() error {
	transaction := v.r.URL.Query().Get("transaction_id")
	looks, last := 0, news{}
	return v.stream("state", func() (news, error) {
		looks++
		if looks > quickLooks && looks%3 != 0 {
			v.count(&last)
			return last, nil
		}
		n, err := v.mailOf(transaction)
		if err == nil && looks == 1 && n.until == nil { // nobody's transaction takes no place
			return n, &apiError{Status: http.StatusNotFound, Message: n.Text}
		}
		last = n
		return n, err
	})
}
