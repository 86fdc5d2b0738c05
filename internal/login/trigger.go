package login

import (
	"context"
	"errors"
	"strings"

	"otpost/internal/fault"
	"otpost/internal/store"
	"otpost/internal/token"
)

// Trigger sends codes for all tokens of a user, or for one token, on behalf of a trusted service:
// without a PIN, a guess or a payment (row 18). No usable token is a refusal, not an error. The
// errors are faults 904 and 905 and faults of the server.
func (s *Service) Trigger(ctx context.Context, r Request) (Result, error) {
	r.Triggered = true
	sub, err := s.find(ctx, r, unknownToTrigger, func(store.Reader, subject) error { return nil })
	if f := (*fault.Error)(nil); errors.As(err, &f) && f.Code == fault.NotFound {
		return Result{Authentication: Reject, Lists: true}, nil // no such serial
	}
	if err != nil {
		return Result{}, err
	}
	result, err := s.trigger(ctx, r, sub)
	result.User = sub.user
	return result, err
}

// trigger decides for a subject that was found.
func (s *Service) trigger(ctx context.Context, r Request, sub subject) (Result, error) {
	var usable []token.Token
	for _, t := range sub.tokens {
		if t.Usable() && s.Tokens.Challenges(t) && (r.Type == "" || strings.EqualFold(t.Type, r.Type)) {
			usable = append(usable, t)
		}
	}
	open := unlocked(usable)
	switch {
	case len(usable) == 0:
		return Result{Authentication: Reject, Lists: true, Judged: token.Serials(sub.tokens)}, nil
	case len(open) == 0:
		return Result{
			Authentication: Reject,
			Lists:          true,
			Message:        exceeded,
			Messages:       []string{exceeded},
			Judged:         token.Serials(usable),
		}, nil
	}
	d, err := s.draft(ctx, sub, decision{ask: open})
	if err == nil {
		d.result.User, d.result.Judged = sub.user, token.Serials(open)
		d, err = s.commit(ctx, r, d)
	}
	if err != nil {
		return Result{}, err
	}
	return s.dispatch(ctx, d), nil
}

// judged adds the serials of the tokens that a decision is about.
func (r Result) judged(serials []string) Result {
	r.Judged = serials
	return r
}
