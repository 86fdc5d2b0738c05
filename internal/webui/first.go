package webui

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
)

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
	address, why := pathOfToken(serial)+"/first", ""
	switch key := a.about(0).key; {
	case detail.TransactionID != "":
		address += "?transaction_id=" + url.QueryEscape(detail.TransactionID)
	case key == disabled, key == exceeded:
		why = "fault." + key
	default:
		why = noCode[0]
	}
	v.flash(address, "done."+done, why)
	return v.redirect(address, "")
}

// noCode are the texts that say why there is no code; the first stands for all others.
var noCode = []string{"first.unsent", "fault." + disabled, "fault." + exceeded} //nolint:gochecknoglobals // a constant table

// first shows how the message stands.
func (v *visit) first() error {
	p := firstPage{Serial: v.r.PathValue("serial"), Transaction: v.r.URL.Query().Get("transaction_id")}
	for _, key := range v.flashes {
		if slices.Contains(noCode, key) {
			p.Above = v.text.say(key)
		}
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
	p.Error = v.refused(a, detail.Message, wrongCode)
	return v.showFirst(http.StatusOK, p)
}
