package login

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"otpost/internal/challenge"
	"otpost/internal/delivery"
	"otpost/internal/store"
	"otpost/internal/token"
)

// draft is one message with its way, ready to be written.
type draft struct {
	token.Draft
	prepared delivery.Prepared
	sendable bool            // false: there is no way to send it, and nothing is written
	ticket   delivery.Ticket // after the commit
}

// draft drafts a message for each of the tokens that a decision asks, all in one new transaction
// (row 4). A token without address or without an SMTP server is reported as not sent (row 5). An
// error is a fault of the server.
func (s *Service) draft(ctx context.Context, sub subject, d decision) (decision, error) {
	if len(d.ask) == 0 {
		return d, nil
	}
	d.result = Result{Lists: true, TransactionID: challenge.NewTransactionID()}
	asked := token.Asked{Values: sub.values, Users: sub.users, TransactionID: d.result.TransactionID}
	for _, t := range d.ask {
		made, err := s.Tokens.Draft(ctx, t, asked)
		if err != nil {
			return d, err
		}
		one := draft{Draft: made, sendable: made.Sendable}
		if one.sendable {
			one.prepared, err = s.Deliveries.Prepare(made.DeliveryID, made.Message, sub.routes)
		}
		switch {
		case errors.Is(err, delivery.ErrNoRoute):
			one.sendable, one.Why = false, err.Error()
		case err != nil:
			return d, fmt.Errorf("prepare message: %w", err)
		}
		if !one.sendable {
			s.warnUnsent(sub, one.Serial, one.Why)
		}
		d.drafts = append(d.drafts, one)
	}
	return d, nil
}

// dispatch sends what the decision has put into the outbox. Where the commit has not settled the answer, the outcomes
// choose the prompts (rows 4 to 6).
func (s *Service) dispatch(ctx context.Context, d decision) Result {
	var tickets []delivery.Ticket
	for _, one := range d.drafts {
		if one.sendable {
			tickets = append(tickets, one.ticket)
		}
	}
	promising := make(map[uuid.UUID]bool)
	for _, outcome := range s.Deliveries.Dispatch(ctx, tickets...) {
		promising[outcome.ID] = outcome.Promising()
	}
	if len(d.drafts) == 0 || d.result.Authentication != "" {
		return d.result
	}
	return d.prompted(func(one draft) bool { return one.sendable && promising[one.DeliveryID] })
}

// prompted returns the result of a decision with the prompts of its drafts; sent says for which a
// message is on its way.
func (d *decision) prompted(sent func(draft) bool) Result {
	result := d.result
	for _, one := range d.drafts {
		if !sent(one) {
			result.Messages = append(result.Messages, one.PromptNotSent)
			continue
		}
		result.Messages = append(result.Messages, one.PromptSent)
		result.Challenges = append(result.Challenges, Prompted{one.Serial, one.Type, one.PromptSent, result.TransactionID})
		result.Serial, result.Type = one.Serial, one.Type // the last one's, as recorded
	}
	result.Message = joined(result.Messages)
	result.Authentication = Challenge
	if len(result.Challenges) == 0 {
		result.Authentication, result.TransactionID = Reject, ""
	}
	return result
}

// FollowOutcome ends the challenges of a delivery by its final state (delivery.Options.OnOutcome).
// A message of an inline delivery that was not sent ends them, because the user was refused. A
// cancelled message ends them, too: no message is dropped whose code is still accepted. After
// "unknown" they stay open, because the message may arrive.
func FollowOutcome(tx *store.Tx, now time.Time, o delivery.Outcome) error {
	notSent := o.Via == delivery.ViaInline && (o.State == delivery.Failed || o.State == delivery.Expired)
	cancelled := o.State == delivery.Dropped && o.Reason == delivery.Cancelled
	if !notSent && !cancelled {
		return nil
	}
	_, err := challenge.EndDelivery(tx, now, o.ID)
	return err
}
