package login

import (
	"context"
	"fmt"

	"otpost/internal/challenge"
	"otpost/internal/token"
)

// judge compares what was typed and says what shall be written. It writes nothing.
func (s *Service) judge(ctx context.Context, c candidates, pins *token.Reservation, paid []token.Guess) (decision, error) {
	switch {
	case c.request.otponly():
		return s.judgeCode(c, paid), nil
	case c.answers != nil:
		return s.judgeAnswer(c, paid), nil
	}
	return s.judgePIN(ctx, c, pins, paid)
}

// typed is what was typed, with the order of PIN and code that the settings ask for.
func (c candidates) typed() token.Typed {
	return token.Typed{Text: c.request.Pass, Prepend: c.subject.values.PrependPIN()}
}

// judgePIN is rows 4 and 7 to 11.
func (s *Service) judgePIN(ctx context.Context, c candidates, pins *token.Reservation, paid []token.Guess) (decision, error) {
	var whole []token.Token
	var split []token.Guess
	codes := make(map[string]token.Text)
	for _, g := range paid {
		fit, code, err := pins.CheckPIN(ctx, g)
		if err != nil {
			return decision{}, err
		}
		switch fit {
		case token.WholeFit:
			whole = append(whole, g.Token())
		case token.SplitFit:
			split = append(split, g)
			codes[g.Serial()] = code
		}
	}
	pins.Release(len(whole)+len(split) > 0) // nothing is hashed from here on, and commits take long
	switch {
	case len(whole) > 0:
		return s.challenge(ctx, c.subject, whole, settlement{token.Returned, paid})
	case len(split) > 0:
		return s.judgeSplit(c, paid, split, codes), nil
	}
	return decision{result: rejected(wrongPIN), settle: []settlement{{token.WrongCounted, paid}}}, nil
}

// judgeSplit is rows 8 to 11: the PIN fits, and there is a code beside it.
func (s *Service) judgeSplit(c candidates, paid, split []token.Guess, codes map[string]token.Text) decision {
	message := wrongCode
	for _, g := range split {
		for _, one := range c.kept[g.Serial()] {
			if !s.Tokens.CodeFits(g, one, codes[g.Serial()]) {
				continue
			}
			if one.Open(s.DB.Now()) {
				d := decision{result: Result{Authentication: Accept, Message: rightCode}.about(g.Token(), true)}
				d.settle = []settlement{{token.RightCounted, []token.Guess{g}}, {token.Returned, without(paid, g)}}
				d.accept = &acceptance{challenge: one, token: g.Token()}
				d.accept.lost = refusedCode(usedCode, paid, []token.Guess{g})
				return d
			}
			if one.State == challenge.Answered {
				message = usedCode
			}
		}
	}
	return refusedCode(message, paid, split)
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
func (s *Service) judgeCode(c candidates, paid []token.Guess) decision {
	g := paid[0]
	refused := decision{result: rejected(wrongCode), settle: []settlement{{token.Wrong, paid}}}
	for _, one := range c.kept[g.Serial()] {
		if one.Open(s.DB.Now()) && s.Tokens.CodeFits(g, one, c.request.Pass) {
			return decision{
				result: Result{Authentication: Accept, Message: rightCode},
				settle: []settlement{{token.Right, paid}},
				accept: &acceptance{challenge: one, token: g.Token(), lost: refused},
			}
		}
	}
	return refused
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
