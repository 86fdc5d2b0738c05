package login

import (
	"context"
	"fmt"

	"otpost/internal/challenge"
	"otpost/internal/store"
	"otpost/internal/token"
)

// Check decides what a client has sent for a user or a token (rows 1 to 17 and 19 of DESIGN.md section 11). A Result is a
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
	result.HideDetail = r.OTPOnly && r.Serial != ""
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
	right := false
	if pins != nil {
		defer func() { pins.Release(right) }()
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
		right = d.accept != nil || len(d.drafts) > 0
		err = s.commit(ctx, c.request, c.subject, &d)
	}
	if err != nil && ctx.Err() == nil {
		if lost := s.Tokens.Refund(ctx, paid...); lost != nil {
			s.Log.Error("guess not refunded", "serial", token.Serials(c.tokens), "err", lost)
		}
	}
	return d, err
}

// judge compares what was typed and says what shall be written. It writes nothing.
func (s *Service) judge(ctx context.Context, c candidates, pins *token.Reservation, paid []token.Guess) (decision, error) {
	switch {
	case c.request.otponly():
		return s.judgeCode(ctx, c, paid)
	case c.answers != nil:
		return s.judgeAnswer(c, paid), nil
	}
	return s.judgePIN(ctx, c, pins, paid)
}

func (c candidates) typed() token.Typed {
	return token.Typed{Text: c.request.Pass, Prepend: c.subject.values.PrependPIN()}
}

// judgePIN is rows 4 and 7 to 11.
func (s *Service) judgePIN(ctx context.Context, c candidates, pins *token.Reservation, paid []token.Guess) (decision, error) {
	var whole, split []token.Guess
	codes := make(map[string]token.Text)
	for _, g := range paid {
		fit, code, err := pins.CheckPIN(ctx, g)
		if err != nil {
			return decision{}, err
		}
		switch fit {
		case token.WholeFit:
			whole = append(whole, g)
		case token.SplitFit:
			split = append(split, g)
			codes[g.Serial()] = code
		}
	}
	switch {
	case len(whole) > 0:
		return s.challenge(ctx, c.subject, whole, settlement{token.Returned, paid})
	case len(split) > 0:
		return s.judgeSplit(ctx, paid, split, codes)
	}
	return decision{result: rejected(wrongPIN), settle: []settlement{{token.WrongCounted, paid}}}, nil
}

// judgeSplit is rows 8 to 11: the PIN fits, and there is a code beside it.
func (s *Service) judgeSplit(ctx context.Context, paid, split []token.Guess, codes map[string]token.Text) (decision, error) {
	message := wrongCode
	for _, g := range split {
		kept, err := s.challengesOf(ctx, g.Serial())
		if err != nil {
			return decision{}, err
		}
		for _, one := range kept {
			if !s.Tokens.CodeFits(g, one, codes[g.Serial()]) {
				continue
			}
			if one.Open(s.DB.Now()) {
				d := decision{result: Result{Authentication: Accept, Message: rightCode}.about(g.Token(), true)}
				d.settle = []settlement{{token.RightCounted, []token.Guess{g}}, {token.Returned, without(paid, g)}}
				d.accept = &acceptance{challenge: one, token: g.Token()}
				d.accept.lost = refusedCode(usedCode, paid, []token.Guess{g})
				return d, nil
			}
			if one.State == challenge.Answered {
				message = usedCode
			}
		}
	}
	return refusedCode(message, paid, split), nil
}

// refusedCode is rows 9 to 11: the tokens whose PIN fitted keep the payment.
func refusedCode(message string, paid, split []token.Guess) decision {
	d := decision{result: rejected(message)}
	if len(split) == 1 {
		d.result = d.result.about(split[0].Token(), true)
	}
	d.settle = []settlement{{token.WrongCounted, split}, {token.Returned, without(paid, split...)}}
	return d
}

// judgeAnswer is rows 12 to 15: the code for a transaction.
func (s *Service) judgeAnswer(c candidates, paid []token.Guess) decision {
	var tried []challenge.Challenge
	for _, g := range paid {
		for _, one := range c.answers[g.Serial()] {
			if one.Open(s.DB.Now()) && s.Tokens.CodeFits(g, one, c.request.Pass) {
				d := decision{result: Result{Authentication: Accept, Message: rightAnswer, Serial: g.Serial()}}
				d.settle = []settlement{{token.RightCounted, []token.Guess{g}}, {token.Returned, without(paid, g)}}
				d.accept = &acceptance{challenge: one, token: g.Token(), transaction: true}
				d.accept.lost = decision{result: rejected(wrongPIN), settle: []settlement{{token.WrongCounted, paid}}}
				return d
			}
			tried = append(tried, one)
		}
	}
	d := decision{result: rejected(wrongAnswer), settle: []settlement{{token.Wrong, paid}}, tried: tried}
	if len(paid) == 1 {
		d.result = d.result.about(paid[0].Token(), false)
	} else {
		d.result.Message = fmt.Sprintf(wrongAnswers, len(paid))
	}
	return d
}

// judgeCode is row 17: a code alone, for the token of a serial.
func (s *Service) judgeCode(ctx context.Context, c candidates, paid []token.Guess) (decision, error) {
	g := paid[0]
	kept, err := s.challengesOf(ctx, g.Serial())
	if err != nil {
		return decision{}, err
	}
	refused := decision{result: rejected(wrongCode), settle: []settlement{{token.Wrong, paid}}}
	for _, one := range kept {
		if one.Open(s.DB.Now()) && s.Tokens.CodeFits(g, one, c.request.Pass) {
			return decision{
				result: Result{Authentication: Accept, Message: rightCode},
				settle: []settlement{{token.Right, paid}},
				accept: &acceptance{challenge: one, token: g.Token(), lost: refused},
			}, nil
		}
	}
	return refused, nil
}

func (s *Service) challengesOf(ctx context.Context, serial string) (kept []challenge.Challenge, err error) {
	err = s.DB.Read(ctx, func(r store.Reader) error {
		kept, err = challenge.OfSerial(r, serial)
		return err
	})
	return kept, err
}

// without returns the guesses that are not among those.
func without(all []token.Guess, those ...token.Guess) []token.Guess {
	var rest []token.Guess
next:
	for _, g := range all {
		for _, other := range those {
			if g.Serial() == other.Serial() {
				continue next
			}
		}
		rest = append(rest, g)
	}
	return rest
}
