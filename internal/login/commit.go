package login

import (
	"context"
	"errors"
	"fmt"
	"time"

	"otpost/internal/audit"
	"otpost/internal/challenge"
	"otpost/internal/delivery"
	"otpost/internal/store"
	"otpost/internal/token"
)

// commit is the one transaction of a login: payments settled, challenges ended and made, messages put into the outbox, an
// acceptance recorded. A right code that was used meanwhile becomes a refusal: what its type wrote is taken back, and the
// refusal is written instead.
func (s *Service) commit(ctx context.Context, r Request, sub subject, d *decision) error {
	err := s.write(ctx, r, sub, d)
	if errors.Is(err, token.ErrUsed) && d.accept != nil {
		*d = d.accept.lost
		err = s.write(ctx, r, sub, d)
	}
	if err != nil {
		return fmt.Errorf("write decision: %w", err)
	}
	return nil
}

func (s *Service) write(ctx context.Context, r Request, sub subject, d *decision) error {
	now := s.DB.Now()
	var written decision
	err := s.DB.Write(ctx, func(tx *store.Tx) error {
		w := *d
		if w.accept != nil {
			if err := s.accept(tx, now, w.accept); err != nil {
				return err
			}
			w.result.Recorded = true
			audit.Put(tx, now, acceptanceEntry(r, sub, d))
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
	if err == nil {
		*d = written
	}
	return err
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

// acceptanceEntry is the journal's row of an acceptance.
func acceptanceEntry(r Request, sub subject, d *decision) audit.Entry {
	t, c := d.accept.match.Guess.Token(), d.accept.match.Challenge
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
