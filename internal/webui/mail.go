package webui

import (
	"encoding/json"
	"net/http"
	"time"
)

// mailOf asks polltransaction how the message of a transaction stands. A transaction that tells nothing (unknown,
// answered or superseded) has ended for the visitor.
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

// count says how many seconds are left until the next try. It stands apart from the text, so that a screen reader
// is not told each second.
func (v *visit) count(n *news) {
	if n.next != nil {
		n.More = v.text.say("try.next_try", max(1, int(n.next.Sub(v.site.options.Now()).Round(time.Second)/time.Second)))
	}
}

// quickLooks is how many seconds polltransaction is asked each second, then each third: most mails leave within them.
const quickLooks = 5

// tryLive streams the state of the message to a client that knows the transaction.
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
		if err == nil && looks == 1 && n.until == nil { // an unknown transaction takes no place
			return n, &refusal{Status: http.StatusNotFound, Message: n.Text}
		}
		last = n
		return n, err
	})
}
