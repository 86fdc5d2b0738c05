package httpapi

import (
	"context"
	"net/http"
	"time"

	"otpost/internal/delivery"
	"otpost/internal/fault"
)

// poll answers GET /validate/polltransaction and /validate/polltransaction/<transaction>: always pending for these
// tokens, as recorded, and beside it how the messages of the transaction stand.
func (s *server) poll(w http.ResponseWriter, r *http.Request) error {
	transaction, err := pathOf(r, "transaction")
	if err != nil {
		return err
	}
	if transaction == "" {
		transaction = paramsOf(r).Text("transaction_id")
	}
	if transaction == "" {
		return fault.Missing("transaction_id")
	}
	callOf(r).entry.TransactionID = transaction
	detail := object{"challenge_status": "pending"}
	told, err := s.deliveryDetail(r.Context(), transaction)
	if err != nil {
		return err
	}
	if told != nil {
		detail["delivery"] = told
	}
	return succeed(w, r, success{authentication: "REJECT", value: false, detail: detail})
}

// deliveryDetail returns detail.delivery. It is nil for a transaction that is unknown, answered or superseded: the
// three answer alike, so that a guessed id reveals nothing. An expired transaction has it as long as its challenge
// is kept.
func (s *server) deliveryDetail(ctx context.Context, transaction string) (object, error) {
	waiting, err := s.Unanswered(ctx, transaction)
	if err != nil || len(waiting) == 0 {
		return nil, err
	}
	status, err := s.Delivery.Status(ctx, transaction)
	if err != nil || len(status.Messages) == 0 {
		return nil, err
	}
	var until time.Time
	for _, c := range waiting {
		if c.ValidUntil.After(until) {
			until = c.ValidUntil
		}
	}
	return renderStatus(status, until), nil
}

// renderStatus renders the state of a transaction's messages: no address, no server's text. Times are UTC, a
// missing one null.
func renderStatus(status delivery.Status, until time.Time) object {
	messages := make([]object, len(status.Messages))
	for i, m := range status.Messages {
		messages[i] = object{"serial": m.Serial, "state": string(m.State), "next_try": stampOrNull(m.NextTry)}
	}
	return object{"state": string(status.State), "next_try": stampOrNull(status.NextTry), "valid_until": stampOrNull(until),
		"resend_after": stampOrNull(status.ResendAfter), "messages": messages}
}
