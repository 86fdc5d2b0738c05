package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/google/uuid"

	"otpost/internal/challenge"
	"otpost/internal/delivery"
	"otpost/internal/fault"
)

// deliveryRecipient is the right to see whole addresses. It belongs to a parameter, not to a route.
const deliveryRecipient = "delivery_recipient"

// allRealms is the realm filter of an administrator: no policy restricts administrators to realms yet.
var allRealms []string //nolint:gochecknoglobals // a constant

func (s *server) deliveryRoutes() []route {
	return []route{
		{method: "GET", path: "/delivery/{$}", who: admins, right: "delivery_read", handler: s.deliveries, quiet: true},
		{method: "GET", path: "/delivery/statistics", who: admins, right: "delivery_read", handler: s.deliveryStatistics, quiet: true},
		{method: "GET", path: "/delivery/{id}", who: admins, right: "delivery_read", more: []string{deliveryRecipient}, handler: s.delivery, quiet: true},
		{method: "POST", path: "/delivery/{id}/retry", who: admins, right: "delivery_retry", handler: s.retryDelivery},
		{method: "POST", path: "/delivery/{id}/cancel", who: admins, right: "delivery_cancel", handler: s.cancelDelivery},
	}
}

// deliveries answers GET /delivery/: a page of deliveries, the newest first.
func (s *server) deliveries(w http.ResponseWriter, r *http.Request) error {
	f, err := deliveryFilter(paramsOf(r))
	if err != nil {
		return err
	}
	page, err := s.listed(r, f)
	if err != nil {
		return err
	}
	list := make([]object, len(page.Deliveries))
	for i, d := range page.Deliveries {
		list[i] = renderListed(d)
	}
	var next any
	if page.Next != uuid.Nil {
		next = page.Next.String()
	}
	return answer(w, r, object{"deliveries": list, "next": next})
}

// listed returns a page of deliveries. Callers who take an answer that is a second old (RFC 9111 section 5.2.1.1)
// share one look: the pages that many watch.
func (s *server) listed(r *http.Request, f delivery.Filter) (delivery.Page, error) {
	if r.Header.Get("Cache-Control") != "max-age=1" {
		return s.Delivery.List(r.Context(), f)
	}
	return s.lists.get(r.Context(), listKey(f), func(ctx context.Context) (delivery.Page, error) {
		return s.Delivery.List(ctx, f)
	})
}

// listKey returns a text that is different for each two filters.
func listKey(f delivery.Filter) string { return fmt.Sprintf("%#v", f) }

// deliveryFilter reads the filters of a list. What cannot be meant is refused, for an empty list would be read as
// "none".
func deliveryFilter(p Params) (f delivery.Filter, err error) {
	f = delivery.Filter{Server: p.Text("server"), Serial: p.Text("serial"), TransactionID: p.Text("transaction_id")}
	if f.States, err = statesOf(p); err != nil {
		return f, err
	}
	if f.TransactionID != "" && !challenge.WellFormed(f.TransactionID) {
		return f, fault.Wrong("transaction_id", "transaction_id", "write its 20 digits")
	}
	if f.Since, err = p.Time("since"); err != nil {
		return f, err
	}
	if f.Until, err = p.Time("until"); err != nil {
		return f, err
	}
	if !f.Since.IsZero() && !f.Until.IsZero() && !f.Until.After(f.Since) {
		return f, fault.Wrong("until", "until", "write a time after since")
	}
	if text := p.Text("before"); text != "" {
		if f.Before, err = idOf("before", text); err != nil {
			return f, err
		}
	}
	f.PageSize, err = p.Int("pagesize", delivery.DefaultPageSize, 1, delivery.MostPageSize)
	return f, err
}

// statesOf reads the states to list; nil: any.
func statesOf(p Params) ([]delivery.State, error) {
	var states []delivery.State
	known := delivery.States()
	for _, name := range p.List("state") {
		state := delivery.State(name)
		if !slices.Contains(known, state) {
			names := make([]string, len(known))
			for i, one := range known {
				names[i] = string(one)
			}
			return nil, fault.Wrong("state", "states", "write one or more of %s, with commas between them", strings.Join(names, ", "))
		}
		if !slices.Contains(states, state) {
			states = append(states, state)
		}
	}
	return states, nil
}

// idOf reads the id of a delivery.
func idOf(name, text string) (uuid.UUID, error) {
	id, err := uuid.Parse(text)
	if err != nil || len(text) != len(uuid.Nil.String()) || id == uuid.Nil {
		return uuid.Nil, fault.Wrong(name, "delivery_id", "write the id of a delivery, like %s", "0192f6e0-0000-7000-8000-000000000000")
	}
	return id, nil
}

// deliveryID reads the id of the path into the audit entry.
func deliveryID(r *http.Request) (uuid.UUID, error) {
	text, err := pathOf(r, "id")
	if err != nil {
		return uuid.Nil, err
	}
	id, err := idOf("id", text)
	callOf(r).entry.DeliveryID = id
	return id, err
}

// delivery answers GET /delivery/<id>: one delivery with its attempts and those who wait for it. recipient=full
// shows the whole address while there is one; that needs a right of its own, and is written into the journal.
func (s *server) delivery(w http.ResponseWriter, r *http.Request) error {
	id, err := deliveryID(r)
	if err != nil {
		return err
	}
	full := false
	switch paramsOf(r).Text("recipient") {
	case "", "masked":
	case "full":
		full = true
		c := callOf(r)
		c.loud, c.entry.Info = true, "recipient asked for"
		if err := s.require(r, deliveryRecipient); err != nil {
			return err
		}
	default:
		return fault.Wrong("recipient", "full_or_masked", "write full or masked")
	}
	d, err := s.Delivery.Record(r.Context(), id, allRealms)
	if err != nil {
		return deliveryFault(err)
	}
	callOf(r).entry.Serial = d.Serial
	if full {
		if d.Recipient, err = s.Delivery.Recipient(r.Context(), id, allRealms); err != nil {
			return deliveryFault(err)
		}
		callOf(r).entry.Info = "recipient shown"
	}
	return answer(w, r, renderDelivery(d))
}

// deliveryFault turns what the deliveries refuse into a sentence for the client.
func deliveryFault(err error) error {
	switch {
	case errors.Is(err, delivery.ErrNotFound):
		return fault.New(fault.NotFound, "no_delivery", "The requested delivery could not be found.")
	case errors.Is(err, delivery.ErrEnded):
		return fault.New(fault.Conflict, "delivery_ended",
			"The delivery has ended, and its content is erased. For another message the user starts a new login.")
	case errors.Is(err, delivery.ErrOnTheWire):
		return fault.New(fault.Conflict, "delivery_sending", "The delivery is being sent at this moment. Wait for its outcome, then look again.")
	case errors.Is(err, delivery.ErrInRequest):
		return fault.New(fault.Conflict, "delivery_inline", "The delivery is sent inside its request and has one try. "+
			"Wait for its outcome; for another message the user starts a new login.")
	}
	return err
}

// retryDelivery answers POST /delivery/<id>/retry with the delivery, which is due now.
func (s *server) retryDelivery(w http.ResponseWriter, r *http.Request) error {
	return s.actOnDelivery(w, r, s.Delivery.Retry)
}

// cancelDelivery answers POST /delivery/<id>/cancel with the delivery, which is dropped.
func (s *server) cancelDelivery(w http.ResponseWriter, r *http.Request) error {
	return s.actOnDelivery(w, r, s.Delivery.Cancel)
}

func (s *server) actOnDelivery(w http.ResponseWriter, r *http.Request, act func(context.Context, uuid.UUID, []string) error) error {
	id, err := deliveryID(r)
	if err != nil {
		return err
	}
	before, err := s.Delivery.Record(r.Context(), id, allRealms)
	if err != nil {
		return deliveryFault(err)
	}
	callOf(r).entry.Serial = before.Serial
	if err := act(r.Context(), id, allRealms); err != nil {
		return deliveryFault(err)
	}
	d, err := s.Delivery.Record(r.Context(), id, allRealms)
	if err != nil {
		return deliveryFault(err)
	}
	callOf(r).entry.Info = string(before.State) + " -> " + string(d.State)
	return answer(w, r, renderDelivery(d))
}

// renderRecord renders what a delivery in a list and one alone have in common.
func renderRecord(d delivery.Record) object {
	return object{"id": d.ID.String(), "channel": d.Channel, "state": string(d.State), "reason": string(d.Reason), "via": string(d.Via),
		"server": d.Server, "serial": d.Serial, "realm": d.Realm, "recipient": d.Recipient, "message_id": d.MessageID,
		"created": stamp(d.Created), "updated": stamp(d.Updated), "not_after": stamp(d.NotAfter), "next_try": stampOrNull(d.NextTry)}
}

// renderListed renders a delivery in a list: how many attempts it had, and the last one in brief.
func renderListed(d delivery.Record) object {
	one := renderRecord(d)
	transactions := []string{}
	for _, w := range d.Waiters {
		if !slices.Contains(transactions, w.TransactionID) {
			transactions = append(transactions, w.TransactionID)
		}
	}
	var last any
	if n := len(d.Attempts); n > 0 {
		brief := renderAttempt(d.Attempts[n-1])
		for _, name := range []string{"server", "dot_at", "phases"} {
			delete(brief, name)
		}
		last = brief
	}
	one["attempts"], one["transactions"], one["last"] = len(d.Attempts), transactions, last
	return one
}

// renderDelivery renders a delivery with its attempts and waiters.
func renderDelivery(d delivery.Record) object {
	one := renderRecord(d)
	attempts, waiters := make([]object, len(d.Attempts)), make([]object, len(d.Waiters))
	for i, a := range d.Attempts {
		attempts[i] = renderAttempt(a)
	}
	for i, w := range d.Waiters {
		waiters[i] = object{"transaction_id": w.TransactionID, "serial": w.Serial, "ended": string(w.Ended)}
	}
	one["attempts"], one["waiters"] = attempts, waiters
	return one
}

// renderAttempt renders one go at a mail server. The replies are scrubbed already.
func renderAttempt(a delivery.Attempt) object {
	return object{"number": a.Number, "server": a.Route, "started": stamp(a.Started), "dot_at": optionalStamp(a.DotAt),
		"ended": optionalStamp(a.Ended), "result": a.Class, "phase": a.Phase, "phases": a.Phases, "code": a.Code, "enhanced": a.Enhanced,
		"text": a.Text, "diagnosis": a.Diagnosis}
}
