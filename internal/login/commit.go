package login

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"otpost/internal/audit"
	"otpost/internal/challenge"
	"otpost/internal/delivery"
	"otpost/internal/store"
	"otpost/internal/token"
)

// commit is the one transaction of a login: payments settled, challenges ended and made, messages
// put into the outbox, an acceptance recorded, the audit row. A right code that was used meanwhile
// becomes a refusal: what its type wrote is taken back, and the refusal is written instead.
func (s *Service) commit(ctx context.Context, r Request, d decision) (decision, error) {
	written, err := s.write(ctx, r, d)
	if errors.Is(err, token.ErrUsed) && d.accept != nil {
		lost := d.accept.lost
		lost.result.User, lost.result.Judged = d.result.User, d.result.Judged
		written, err = s.write(ctx, r, lost)
	}
	if err != nil {
		return d, fmt.Errorf("write decision: %w", err)
	}
	return written, nil
}

// write returns the decision as it is written. The commit is durable when a client may rely on it:
// after an acceptance and with a message. A power cut may take back a refusal, as it may take back
// the payment.
func (s *Service) write(ctx context.Context, r Request, d decision) (written decision, err error) {
	now := s.DB.Now()
	write := s.DB.WriteLight
	if d.accept != nil || slices.ContainsFunc(d.drafts, func(one draft) bool { return one.sendable }) {
		write = s.DB.Write
	}
	err = write(ctx, func(tx *store.Tx) (err error) {
		w := d
		if w.accept != nil {
			if err := s.accept(tx, now, w.accept); err != nil {
				return err
			}
		}
		for _, one := range w.settle {
			token.Settle(tx, now, one.verdict, one.guesses...)
		}
		for _, one := range w.tried {
			challenge.Tried(tx, one.ID)
		}
		if w.drafts, err = s.putDrafts(tx, now, w); err != nil {
			return err
		}
		s.record(tx, now, r, &w)
		written = w
		return nil
	})
	return written, err
}

// record puts the audit row into the transaction where the commit settles the answer: nothing is
// sent inside the request. A refusal that no fail counter counts is left to the caller, which
// bounds such rows.
func (s *Service) record(tx *store.Tx, now time.Time, r Request, d *decision) {
	d.result.Counted = slices.ContainsFunc(d.settle, func(one settlement) bool { return one.verdict != token.Returned })
	for _, one := range d.drafts {
		if one.sendable && !s.Deliveries.Promised(one.ticket) {
			return
		}
	}
	if len(d.drafts) > 0 {
		d.result = d.prompted(func(one draft) bool { return one.sendable })
	}
	if d.result.Authentication != Reject || d.result.Counted {
		d.result.Recorded = true
		audit.Put(tx, now, d.entry(r))
	}
}

// accept writes the use of a code through its type, ends the rest of its transaction, and drops what still waits to be
// sent for that.
func (s *Service) accept(tx *store.Tx, now time.Time, a *acceptance) error {
	if err := s.Tokens.Accept(tx, now, a.match); err != nil || !a.transaction {
		return err
	}
	rest, err := challenge.AnswerTransaction(tx, now, a.match.Challenge.TransactionID)
	if err != nil {
		return err
	}
	return s.Deliveries.Drop(tx, now, delivery.Answered, rest...)
}

// putDrafts writes challenges and messages and returns the drafts with their tickets. A token that
// was disabled meanwhile gets none.
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
		older, err := challenge.Supersede(tx, now, one.Serial, one.Keep)
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
