package login

import (
	"context"

	"otpost/internal/challenge"
	"otpost/internal/store"
	"otpost/internal/token"
)

// Check decides what a client has sent for a user or a token (rows 1 to 17 and 19 of
// docs/login.md). A Result is a decision, also a refusal; an error is a fault for the client (904,
// 905, 601, 1007, 503) or of the server, and then nothing was counted. When the client goes away in
// between, the guess stays paid.
func (s *Service) Check(ctx context.Context, r Request) (Result, error) {
	c := candidates{request: r}
	sub, err := s.find(ctx, r, unknownToCheck, c.read)
	if err != nil {
		return Result{}, err
	}
	c.subject = sub
	done, err := s.decide(ctx, c)
	if err != nil {
		return Result{}, err
	}
	result := s.dispatch(ctx, done)
	result.User = sub.user
	result.HideDetail = r.otponly()
	return result, nil
}

// decide holds the turn at the tokens from before the payment until the decision is written. What
// is sent afterwards takes longer and needs no turn. What was read before the turn is read again
// where another guess may have changed it: after a wait, and when a token is locked, because the
// payment of another guess, to be given back, may have locked it.
func (s *Service) decide(ctx context.Context, c candidates) (decision, error) {
	serials := token.Serials(c.subject.tokens)
	if len(serials) == 0 {
		return decision{result: rejected(noTokens)}, nil
	}
	release, waited, err := s.Tokens.Turn(ctx, serials...)
	if err != nil {
		return decision{}, err
	}
	defer release()
	if waited || c.locked {
		err = s.DB.Read(ctx, func(reader store.Reader) error {
			if err := c.subject.read(reader, c.request); err != nil {
				return err
			}
			return c.read(reader, c.subject)
		})
	}
	if err == nil {
		err = c.fault
	}
	if err != nil || c.refusal != "" {
		return decision{result: rejected(c.refusal).judged(serials)}, err
	}
	return s.guess(ctx, c)
}

// candidates are the tokens that a guess is tried on, or why there is none.
type candidates struct {
	request Request
	subject subject
	refusal string                           // why nothing is tried (rows 1 to 3); empty: there are tokens
	fault   error                            // the same, as a fault for the client
	locked  bool                             // a usable token is left out, because its fail counter is at its limit
	tokens  []token.Token                    // usable and unlocked
	answers map[string][]challenge.Challenge // by serial: what the transaction asks for; nil without one
	kept    map[string][]challenge.Challenge // by serial: all, whatever their state; only if a code may be in Pass
}

// read chooses the candidates among the tokens of the subject, in the snapshot that holds these.
// Tokens without an unanswered challenge in the transaction are left out; a transaction that has
// none at all counts as not given (row 16).
func (c *candidates) read(reader store.Reader, sub subject) error {
	*c = candidates{request: c.request, subject: sub}
	var usable []token.Token
	usable, c.refusal, c.fault = sub.usable()
	if len(usable) == 0 {
		return nil
	}
	named, err := c.readAnswers(reader, usable)
	if err != nil {
		return err
	}
	c.tokens, c.refusal = unlocked(named), ""
	c.locked = len(c.tokens) < len(named)
	if len(c.tokens) == 0 {
		c.refusal = exceeded
	}
	return c.readKept(reader)
}

// readAnswers reads what the transaction asks for and returns the tokens that it names, or all where it names none.
func (c *candidates) readAnswers(reader store.Reader, usable []token.Token) ([]token.Token, error) {
	if c.request.otponly() {
		return usable, nil
	}
	asked, err := challenge.OfTransaction(reader, c.request.TransactionID)
	if err != nil {
		return nil, err
	}
	answers := make(map[string][]challenge.Challenge)
	for _, one := range asked {
		if one.State != challenge.Answered {
			answers[one.Serial] = append(answers[one.Serial], one)
		}
	}
	var named []token.Token
	for _, t := range usable {
		if len(answers[t.Serial]) > 0 {
			named = append(named, t)
		}
	}
	if len(named) == 0 {
		return usable, nil
	}
	c.answers = answers
	return named, nil
}

// readKept reads the challenges that a code in Pass may belong to, where no transaction names them.
func (c *candidates) readKept(reader store.Reader) (err error) {
	if c.answers != nil {
		return nil
	}
	c.kept = make(map[string][]challenge.Challenge)
	for _, t := range c.tokens {
		if !c.request.otponly() && !c.typed().HasCode(t) {
			continue
		}
		if c.kept[t.Serial], err = challenge.OfSerial(reader, t.Serial); err != nil {
			return err
		}
	}
	return nil
}

// otponly reports whether a code alone was sent (row 17).
func (r Request) otponly() bool { return r.OTPOnly && r.Serial != "" }

// guess takes the hashing slot and the payment, and then compares. A fault of the server gives the
// payment back (row 19); a client that went away does not get it back.
func (s *Service) guess(ctx context.Context, c candidates) (decision, error) {
	var pins *token.Reservation
	if c.answers == nil && !c.request.otponly() {
		var err error
		if pins, err = s.Tokens.Reserve(ctx, c.request.Client, c.typed(), c.tokens...); err != nil {
			return decision{}, err
		}
	}
	if pins != nil {
		defer pins.Release(false) // on the ways out where no PIN was compared
	}
	paid, err := s.Tokens.Pay(ctx, token.Serials(c.tokens)...)
	if err != nil {
		return decision{}, err
	}
	if len(paid) == 0 {
		return decision{result: rejected(exceeded).judged(token.Serials(c.tokens))}, nil
	}
	d, err := s.judge(ctx, c, pins, paid)
	if err == nil {
		d, err = s.draft(ctx, c.subject, d)
	}
	if err == nil {
		d.result.User, d.result.Judged = c.subject.user, token.Serials(c.tokens)
		d, err = s.commit(ctx, c.request, d)
	}
	if err != nil && ctx.Err() == nil {
		if lost := s.Tokens.Refund(ctx, paid...); lost != nil {
			s.Log.Error("guess not refunded", "serial", token.Serials(c.tokens), "err", lost)
		}
	}
	return d, err
}
