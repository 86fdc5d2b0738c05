package login

import (
	"context"
	"fmt"
	"slices"
	"time"

	"otpost/internal/challenge"
	"otpost/internal/token"
)

// decision is what was found and what shall be written for it.
type decision struct {
	result Result
	settle []settlement
	tried  []challenge.Challenge // of wrong answers
	accept *acceptance           // nil: no code is accepted
	ask    []token.Token         // that answer their PIN with a challenge
	drafts []draft               // of the tokens of ask, once they are drafted
}

// settlement is what becomes of some payments.
type settlement struct {
	verdict token.Verdict
	guesses []token.Guess
}

// acceptance is a right code, valid if it is still unused when the decision is written.
type acceptance struct {
	match       token.Match
	transaction bool     // the challenge was named: all of its transaction end with it
	lost        decision // what is written instead when another answer came first
}

// judge compares what was typed and says what shall be written, and for which tokens a challenge shall be drafted. It
// writes, draws and drafts nothing. An error is a fault of the server, while a PIN was hashed.
func (s *Service) judge(
	ctx context.Context, c candidates, pins *token.Reservation, paid []token.Guess,
) (decision, error) {
	now := s.DB.Now()
	switch {
	case c.request.otponly():
		return s.judgeCode(now, c, paid), nil
	case c.answers != nil:
		return s.judgeAnswer(now, c, paid), nil
	}
	return s.judgePIN(ctx, now, c, pins, paid)
}

// typed is what was typed, with the order of PIN and code that the settings ask for.
func (c candidates) typed() token.Typed {
	return token.Typed{Text: c.request.Pass, Prepend: c.subject.values.PrependPIN()}
}

// judgePIN is rows 4 and 7 to 11.
func (s *Service) judgePIN(
	ctx context.Context, now time.Time, c candidates, pins *token.Reservation, paid []token.Guess,
) (decision, error) {
	var whole []token.Token
	var split []token.Attempt
	for _, g := range paid {
		fit, code, err := pins.CheckPIN(ctx, g)
		if err != nil {
			return decision{}, err
		}
		switch fit {
		case token.WholeFit:
			whole = append(whole, g.Token())
		case token.SplitFit:
			split = append(split, token.Attempt{Guess: g, Code: code, Challenges: c.kept[g.Serial()], Now: now})
		}
	}
	pins.Release(len(whole)+len(split) > 0) // nothing is hashed from here on, and commits take long
	switch {
	case len(whole) > 0:
		return decision{ask: whole, settle: []settlement{{token.Returned, paid}}}, nil
	case len(split) > 0:
		return s.judgeSplit(paid, split), nil
	}
	return decision{result: rejected(wrongPIN), settle: []settlement{{token.WrongCounted, paid}}}, nil
}

// judgeSplit is rows 8 to 11: the PIN fits, and there is a code beside it.
func (s *Service) judgeSplit(paid []token.Guess, split []token.Attempt) decision {
	message := wrongCode
	var fitting []token.Guess
	for _, a := range split {
		switch m := s.Tokens.Compare(a); m.Validity {
		case token.Valid:
			d := accepted(m, paid)
			d.result = Result{Authentication: Accept, Message: rightCode}.about(a.Guess.Token(), true)
			d.accept.lost = refusedCode(usedCode, paid, []token.Guess{a.Guess})
			return d
		case token.UsedBefore:
			message = usedCode
		}
		fitting = append(fitting, a.Guess)
	}
	return refusedCode(message, paid, fitting)
}

// accepted settles the payments for a code that may be accepted: the other tokens get theirs back.
func accepted(m token.Match, paid []token.Guess) decision {
	right := []token.Guess{m.Guess}
	return decision{
		settle: []settlement{{token.RightCounted, right}, {token.Returned, without(paid, m.Guess)}},
		accept: &acceptance{match: m},
	}
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
func (s *Service) judgeAnswer(now time.Time, c candidates, paid []token.Guess) decision {
	var tried []challenge.Challenge
	for _, g := range paid {
		asked := c.answers[g.Serial()]
		m := s.Tokens.Compare(token.Attempt{Guess: g, Code: c.request.Pass, Challenges: asked, Now: now})
		if m.Validity == token.Valid {
			d := accepted(m, paid)
			d.result = Result{Authentication: Accept, Message: rightAnswer, Serial: g.Serial()}
			d.accept.transaction = true
			d.accept.lost = decision{result: rejected(wrongPIN), settle: []settlement{{token.WrongCounted, paid}}}
			return d
		}
		tried = append(tried, asked...)
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
func (s *Service) judgeCode(now time.Time, c candidates, paid []token.Guess) decision {
	g := paid[0]
	refused := decision{result: rejected(wrongCode), settle: []settlement{{token.Wrong, paid}}}
	m := s.Tokens.Compare(token.Attempt{Guess: g, Code: c.request.Pass, Challenges: c.kept[g.Serial()], Now: now})
	if m.Validity != token.Valid {
		return refused
	}
	return decision{
		result: Result{Authentication: Accept, Message: rightCode},
		settle: []settlement{{token.Right, paid}},
		accept: &acceptance{match: m, lost: refused},
	}
}

// without returns the guesses that are not among those.
func without(all []token.Guess, those ...token.Guess) []token.Guess {
	return slices.DeleteFunc(slices.Clone(all), func(g token.Guess) bool {
		return slices.ContainsFunc(those, func(other token.Guess) bool { return other.Serial() == g.Serial() })
	})
}
