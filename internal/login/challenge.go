package login

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"otpost/internal/audit"
	"otpost/internal/challenge"
	"otpost/internal/delivery"
	"otpost/internal/store"
	"otpost/internal/token"
)

// mostOpen is how many challenges of a token stay open with email.concurrent_challenges, the new one included.
const mostOpen = 5

// decision is what was found and what shall be written for it.
type decision struct {
	result Result
	settle []settlement
	tried  []challenge.Challenge // of wrong answers
	accept *acceptance           // nil: nobody is let in
	drafts []draft               // of tokens that challenge
	keep   int                   // how many older challenges of a token stay open beside the new one
}

// settlement is what becomes of some payments.
type settlement struct {
	verdict token.Verdict
	guesses []token.Guess
}

// acceptance is a right code, valid if its challenge is still open when the decision is written.
type acceptance struct {
	challenge   challenge.Challenge
	token       token.Token
	transaction bool     // the challenge was named: all of its transaction end with it
	lost        decision // what is written instead when another answer came first
}

// draft is one message with its way, ready to be written.
type draft struct {
	token.Draft
	prepared delivery.Prepared
	sendable bool            // false: there is no way to send it, and nothing is written
	ticket   delivery.Ticket // after the commit
}

// challenge drafts a message for each of the tokens, all in one new transaction (row 4). A token without address or without an
// SMTP server is told as not sent (row 5). An error is a fault of ours.
func (s *Service) challenge(ctx context.Context, sub subject, tokens []token.Token, settle ...settlement) (decision, error) {
	d := decision{result: Result{Lists: true, TransactionID: challenge.NewTransactionID()}, settle: settle}
	if sub.values.EmailConcurrent() {
		d.keep = mostOpen - 1
	}
	for _, t := range tokens {
		made, err := s.Tokens.Draft(ctx, t, token.Asked{Values: sub.values, Users: sub.users, TransactionID: d.result.TransactionID})
		if err != nil {
			return d, err
		}
		one := draft{Draft: made}
		if made.Sendable {
			one.prepared, err = s.Deliveries.Prepare(made.DeliveryID, made.Message, sub.routes)
			if err != nil && !errors.Is(err, delivery.ErrNoRoute) {
				return d, fmt.Errorf("prepare message: %w", err)
			}
			one.sendable = err == nil
		}
		if !one.sendable {
			s.warnUnsent(sub, made.Serial, noMessage(made, err))
		}
		d.drafts = append(d.drafts, one)
	}
	return d, nil
}

// noMessage says why a draft has no message.
func noMessage(made token.Draft, err error) string {
	switch {
	case !made.Sendable:
		return made.Why
	case made.Message.Route == "":
		return "no SMTP server is chosen: set email.identifier"
	}
	if errors.Is(err, store.ErrDamaged) {
		return fmt.Sprintf("the row of the SMTP server %.64q in the database is damaged: save the server again",
			made.Message.Route)
	}
	return fmt.Sprintf("%v: define it, or set email.identifier", err)
}

// commit is the one transaction of a login: payments settled, challenges ended and made, messages put into the outbox, an
// acceptance recorded. A right code whose challenge is not open any more becomes a refusal here, and nowhere earlier.
func (s *Service) commit(ctx context.Context, r Request, sub subject, d *decision) error {
	now := s.DB.Now()
	var written decision
	err := s.DB.Write(ctx, func(tx *store.Tx) error {
		w := *d
		if d.accept != nil {
			accepted, err := s.accept(tx, now, d.accept)
			if err != nil {
				return err
			}
			if !accepted {
				w = d.accept.lost
			} else {
				w.result.Recorded = true
				audit.Put(tx, now, acceptanceEntry(r, sub, d))
			}
		}
		for _, one := range w.settle {
			token.Settle(tx, now, one.verdict, one.guesses...)
		}
		for _, one := range w.tried {
			challenge.Tried(tx, one.ID)
		}
		var err error
		w.drafts, err = s.putDrafts(tx, now, w)
		written = w
		return err
	})
	if err != nil {
		return fmt.Errorf("write decision: %w", err)
	}
	*d = written
	return nil
}

// accept closes the challenge and all that end with it, and drops what still waits to be sent for them. It reports false when
// the challenge was not open any more.
func (s *Service) accept(tx *store.Tx, now time.Time, a *acceptance) (bool, error) {
	ok, err := challenge.Answer(tx, now, a.challenge.ID)
	if err != nil || !ok {
		return false, err
	}
	ended := []uuid.UUID{a.challenge.ID}
	sharing, err := challenge.AnswerSharing(tx, now, a.challenge.DeliveryID)
	if err != nil {
		return false, err
	}
	ended = append(ended, sharing...)
	if a.transaction {
		rest, err := challenge.AnswerTransaction(tx, now, a.challenge.TransactionID)
		if err != nil {
			return false, err
		}
		ended = append(ended, rest...)
	}
	return true, s.Deliveries.Drop(tx, now, delivery.Answered, ended...)
}

// acceptanceEntry is the journal's row of an acceptance.
func acceptanceEntry(r Request, sub subject, d *decision) audit.Entry {
	t, c := d.accept.token, d.accept.challenge
	return audit.Entry{
		Action: r.Action, Success: true, Authentication: string(Accept), Serial: t.Serial, TokenType: t.Type,
		Login: sub.user.Login, Realm: sub.user.Realm, Resolver: sub.user.Resolver, Client: r.Client,
		TransactionID: c.TransactionID, DeliveryID: c.DeliveryID, Info: d.result.Message,
	}
}

// putDrafts writes challenges and messages and returns the drafts with their tickets. A token that was disabled meanwhile gets
// none.
func (s *Service) putDrafts(tx *store.Tx, now time.Time, d decision) ([]draft, error) {
	put := make([]draft, len(d.drafts))
	for i, one := range d.drafts {
		put[i] = one
		if !one.sendable {
			continue
		}
		ok, err := token.Challenged(tx, one.Serial)
		if err != nil {
			return nil, err
		}
		if !ok {
			put[i].sendable = false
			continue
		}
		older, err := challenge.Supersede(tx, now, one.Serial, d.keep)
		if err != nil {
			return nil, err
		}
		if err := s.Deliveries.Drop(tx, now, delivery.Superseded, older...); err != nil {
			return nil, err
		}
		challenge.Put(tx, one.Challenge)
		put[i].ticket = s.Deliveries.Put(tx, one.prepared, delivery.Waiter{
			TransactionID: one.Challenge.TransactionID, Serial: one.Serial, ChallengeID: one.Challenge.ID,
		})
	}
	return put, nil
}

// dispatch sends what the decision has put into the outbox, and lets the outcomes choose the prompts (rows 4 to 6).
func (s *Service) dispatch(ctx context.Context, d decision) Result {
	result := d.result
	if !result.Lists || len(d.drafts) == 0 {
		return result
	}
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
	for _, one := range d.drafts {
		if !one.sendable || !promising[one.DeliveryID] {
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

// FollowOutcome is what a delivery's final state means for its challenges (delivery.Options.OnOutcome): a message that was sent
// in the request and did not get out ends them, so that the refusal is the truth; so does one that an administrator cancelled, for
// nothing is dropped that somebody could still answer. After "unknown" they stay open: the mail may arrive.
func FollowOutcome(tx *store.Tx, now time.Time, o delivery.Outcome) error {
	notSent := o.Via == delivery.ViaInline && (o.State == delivery.Failed || o.State == delivery.Expired)
	cancelled := o.State == delivery.Dropped && o.Reason == delivery.Cancelled
	if !notSent && !cancelled {
		return nil
	}
	_, err := challenge.EndDelivery(tx, now, o.ID)
	return err
}
