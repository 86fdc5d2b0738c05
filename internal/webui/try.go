package webui

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"time"
)

// tryPage is a login, step by step: name and PIN, then the code. It is the administrators' page "try a login" and, for everybody,
// the sample login.
type tryPage struct {
	Path        string // of this page
	User, Realm string
	Transaction string // '' : the step of name and PIN
	Prompt      string // what the API says to do now
	Mail        news   // how the message stands
	ValidUntil  *time.Time
	Error       string
	Accepted    string // what the API says of a login that succeeded; '' : it has not yet
	Serial      string
}

// tryLogin shows the first step.
func (v *visit) tryLogin() error {
	q := v.r.URL.Query()
	v.show(http.StatusOK, "try", tryPage{Path: v.r.URL.Path, User: q.Get("user"), Realm: q.Get("realm")})
	return nil
}

// checkDetail is the part of POST /validate/check's detail that a login page reads.
type checkDetail struct {
	Message       string
	TransactionID string `json:"transaction_id"`
	Serial        string
}

// tryStep sends name and PIN, or name and code, to /validate/check, and shows the next step. With look=1 it only shows anew how
// the message stands: the way without JavaScript.
func (v *visit) tryStep() error {
	form := v.r.PostForm
	p := tryPage{Path: v.r.URL.Path, User: form.Get("user"), Realm: form.Get("realm"), Transaction: form.Get("transaction_id"),
		Prompt: form.Get("prompt"), Serial: form.Get("serial")}
	if form.Get("look") != "" && p.Transaction != "" {
		return v.showCode(p, http.StatusOK)
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
	if errors.As(err, &refused) {
		p.Error = v.said(refused.Message, refused.Code)
		v.show(http.StatusOK, "try", p)
		return nil
	}
	if err != nil {
		return err
	}
	var detail checkDetail
	if err := json.Unmarshal(a.Detail, &detail); err != nil {
		return err
	}
	p.Serial = detail.Serial
	switch a.Authentication {
	case "ACCEPT":
		p.Accepted = detail.Message
		v.show(http.StatusOK, "try", p)
		return nil
	case "CHALLENGE":
		p.Transaction, p.Prompt = detail.TransactionID, detail.Message
		return v.showCode(p, http.StatusOK)
	}
	p.Error = v.said(detail.Message, 0)
	if p.Transaction != "" {
		return v.showCode(p, http.StatusOK)
	}
	v.show(http.StatusOK, "try", p)
	return nil
}

// Sentences of the API that the page says in its own words; an unknown user gets the sentence of a wrong PIN.
const (
	unknownUser = 904
	wrongPIN    = "wrong otp pin"
	wrongCode   = "Response did not match the challenge."
	locked      = "Failcounter exceeded"
	unsent      = "The PIN was correct, but the EMail could not be sent!"
)

// said returns a refusal in the visitor's language, where there is one.
func (v *visit) said(message string, code int) string {
	key, ok := map[string]string{wrongPIN: "try.wrongpin", wrongCode: "try.wrongcode", locked: "try.locked", unsent: "try.unsent"}[message]
	switch {
	case code == unknownUser:
		return v.text.say("try.wrongpin")
	case ok:
		return v.text.say(key)
	}
	return message
}

// showCode shows the step of the code, with how the message stands now.
func (v *visit) showCode(p tryPage, status int) error {
	mail, until, err := v.mailOf(p.Transaction)
	if err != nil {
		return err
	}
	p.Mail, p.ValidUntil = mail, until
	v.show(status, "try", p)
	return nil
}

// mailOf asks polltransaction how the message of a transaction stands. A transaction that tells nothing (unknown, answered or
// superseded) has ended for the visitor.
func (v *visit) mailOf(transaction string) (news, *time.Time, error) {
	a, err := v.call(http.MethodGet, pathTo("validate", "polltransaction", transaction), nil)
	if err != nil {
		return news{}, nil, err
	}
	var detail struct {
		Delivery *struct {
			State      string
			NextTry    *time.Time `json:"next_try"`
			ValidUntil *time.Time `json:"valid_until"`
		}
	}
	if err := json.Unmarshal(a.Detail, &detail); err != nil {
		return news{}, nil, err
	}
	d := detail.Delivery
	if d == nil {
		return news{State: "over", Text: v.text.say("try.over"), Final: true}, nil, nil
	}
	n := news{State: d.State, Text: v.text.say("try." + d.State), Final: d.State != "on_its_way"}
	if d.NextTry != nil && !n.Final {
		n.Text = v.text.say("try.again", max(1, int(d.NextTry.Sub(v.site.options.Now()).Round(time.Second)/time.Second)))
	}
	return n, d.ValidUntil, nil
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
			return last, nil
		}
		n, until, err := v.mailOf(transaction)
		if err == nil && looks == 1 && until == nil {
			return n, &apiError{Status: http.StatusNotFound, Message: n.Text}
		}
		last = n
		return n, err
	})
}
