package login

import (
	"context"
	"slices"

	"otpost/internal/challenge"
	"otpost/internal/store"
	"otpost/internal/token"
)

// Check decides what a client has sent for a user or a token (rows 1 to 17 and 19 of docs/login.md). A Result is a
// decision, also a refusal; an error is a fault for the client (904, 905, 601, 1007, 503) or one of ours, and then nothing was
// counted. When the client goes away in between, the guess stays paid.
func (s *Service) Check(ctx context.Context, r Request) (Result, error) {
	sub, err := s.find(ctx, r, unknownToCheck)
	if err != nil {
		return Result{}, err
	}
	done, err := s.decide(ctx, r, sub)
	if err != nil {
		return Result{}, err
	}
	result := s.dispatch(ctx, done)
	result.User = sub.user
	result.HideDetail = r.otponly()
	return result, nil
}

// decide holds the turn at the tokens from before the payment until the decision is written. What is sent afterwards takes
// longer and needs no turn.
func (s *Service) decide(ctx context.Context, r Request, sub subject) (decision, error) {
	if len(sub.tokens) == 0 {
		return decision{result: rejected(noTokens)}, nil
	}
	release, err := s.Tokens.Turn(ctx, token.Serials(sub.tokens)...)
	if err != nil {
		return decision{}, err
	}
	defer release()
	c, refusal, err := s.candidates(ctx, r, sub)
	if err != nil || refusal != "" {
		return decision{result: rejected(refusal).judged(token.Serials(sub.tokens))}, err
	}
	d, err := s.guess(ctx, c)
	if err != nil {
		return d, err
	}
	d.result = d.result.judged(token.Serials(c.tokens))
	return d, nil
}

// candidates are the tokens that a guess is tried on, as they are while the turn is held.
type candidates struct {
	request Request
	subject subject
	tokens  []token.Token                    // usable and unlocked, at least one
	answers map[string][]challenge.Challenge // by serial: what the transaction asks for; empty without one
}

// candidates reads tokens and transaction anew, or says why nothing is tried (rows 1 to 3). Tokens without an unanswered
// challenge in the transaction are left out; a transaction that has none at all counts as not given (row 16).
func (s *Service) candidates(ctx context.Context, r Request, sub subject) (candidates, string, error) {
	c := candidates{request: r, subject: sub}
	var asked []challenge.Challenge
	err := s.DB.Read(ctx, func(reader store.Reader) (err error) {
		if c.subject.tokens, err = token.Again(reader, token.Serials(sub.tokens)...); err == nil {
			asked, err = challenge.OfTransaction(reader, r.TransactionID)
		}
		return err
	})
	if err != nil {
		return c, "", err
	}
	usable, why, err := c.subject.usable()
	if err != nil || len(usable) == 0 {
		return c, why, err
	}
	c.answers = make(map[string][]challenge.Challenge)
	for _, one := range asked {
		if one.State != challenge.Answered {
			c.answers[one.Serial] = append(c.answers[one.Serial], one)
		}
	}
	named := usable[:0:0]
	for _, t := range usable {
		if len(c.answers[t.Serial]) > 0 {
			named = append(named, t)
		}
	}
	if len(named) == 0 || r.otponly() {
		named, c.answers = usable, nil
	}
	if c.tokens = unlocked(named); len(c.tokens) == 0 {
		return c, exceeded, nil
	}
	return c, "", nil
}

// otponly reports whether a code alone was sent (row 17).
func (r Request) otponly() bool { return r.OTPOnly && r.Serial != "" }

// guess takes the hashing slot, the payment, and then looks. A fault of ours gives the payment back (row 19); a client that
// went away does not get it back.
func (s *Service) guess(ctx context.Context, c candidates) (decision, error) {
	var pins *token.Reservation
	if c.answers == nil && !c.request.otponly() {
		var err error
		if pins, err = s.Tokens.Reserve(ctx, c.request.Client, c.typed(), c.tokens...); err != nil {
			return decision{}, err
		}
	}
	if pins != nil {
		defer pins.Release(false) // on the ways out where no PIN was looked at
	}
	paid, err := s.Tokens.Pay(ctx, token.Serials(c.tokens)...)
	if err != nil {
		return decision{}, err
	}
	if len(paid) == 0 {
		return decision{result: rejected(exceeded)}, nil
	}
	d, err := s.judge(ctx, c, pins, paid)
	if err == nil {
		err = s.commit(ctx, c.request, c.subject, &d)
	}
	d.result.Counted = slices.ContainsFunc(d.settle, func(one settlement) bool { return one.verdict != token.Returned })
	if err != nil && ctx.Err() == nil {
		if lost := s.Tokens.Refund(ctx, paid...); lost != nil {
			s.Log.Error("guess not refunded", "serial", token.Serials(c.tokens), "err", lost)
		}
	}
	return d, err
}
