package token

import (
	"context"
	"fmt"
	"slices"
	"time"

	"otpost/internal/store"
)

// Guess is the receipt for one paid guess at one token. To compare a PIN or a code takes one, and
// only Pay makes one that is valid.
type Guess struct{ token Token }

// PaidFor implements challenge.Receipt.
func (g Guess) PaidFor(serial string) bool { return serial != "" && g.token.Serial == serial }

// Token returns the token as it was when the guess was paid, the payment included.
func (g Guess) Token() Token { return g.token }

// Serial returns the serial of the token.
func (g Guess) Serial() string { return g.token.Serial }

// Pay takes one guess from each of the tokens, in one statement that is committed when it returns,
// and returns the receipts in the order of the serials. A token that is missing in the answer is
// locked or cannot be used any more: nothing of it may be looked at. After a crash the payment
// stays.
func (s *Service) Pay(ctx context.Context, serials ...string) ([]Guess, error) {
	if len(serials) == 0 {
		return nil, nil
	}
	condition, args := among("serial", 2, serials)
	var paid []Guess
	err := s.DB.WriteLight(ctx, func(tx *store.Tx) error {
		found, err := read(tx, `UPDATE token SET failcount = failcount + 1
			WHERE failcount < max_failcount AND active = 1 AND revoked = 0 AND rollout_state = $1 AND `+condition+`
			RETURNING `+columns, append([]any{Enrolled}, args...)...)
		if err != nil {
			return err
		}
		guesses := make([]Guess, 0, len(found))
		for _, t := range found {
			guesses = append(guesses, Guess{token: t})
		}
		paid = guesses
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("pay for a guess: %w", err)
	}
	slices.SortFunc(paid, func(a, b Guess) int {
		return slices.Index(serials, a.Serial()) - slices.Index(serials, b.Serial())
	})
	return paid, nil
}

// Verdict says what becomes of a paid guess (docs/login.md, the column "fail counter" and what
// stands below on count_auth).
type Verdict int

// The verdicts.
const (
	Returned     Verdict = iota // the payment is given back
	Wrong                       // it stays
	WrongCounted                // it stays, and count_auth rises
	Right                       // the counter starts anew
	RightCounted                // the counter starts anew; count_auth and count_auth_success rise, last_auth is now
)

// Settle writes a verdict on guesses in the transaction of the decision. Every change is relative,
// or the start from 0, so that payments of others that are under way stay counted and the counter
// never falls below 0.
func Settle(tx *store.Tx, now time.Time, v Verdict, guesses ...Guess) {
	for _, g := range guesses {
		switch serial := g.Serial(); v {
		case Returned:
			tx.Put(`UPDATE token SET failcount = failcount - 1 WHERE serial = $1 AND failcount > 0`, serial)
		case Wrong, WrongCounted:
			tx.Put(`UPDATE token SET count_auth = count_auth + $2,
				failcounter_exceeded_ms = CASE WHEN failcount >= max_failcount THEN $3 ELSE failcounter_exceeded_ms END
				WHERE serial = $1`, serial, store.Flag(v == WrongCounted), store.Millis(now))
		case Right:
			tx.Put(`UPDATE token SET failcount = 0, failcounter_exceeded_ms = NULL WHERE serial = $1`, serial)
		case RightCounted:
			tx.Put(`UPDATE token SET failcount = 0, failcounter_exceeded_ms = NULL, count_auth = count_auth + 1,
				count_auth_success = count_auth_success + 1, last_auth_ms = $2 WHERE serial = $1`, serial, store.Millis(now))
		}
	}
}

// Refund gives payments back after a fault of the server. It waits for the database even when the
// caller's context ends meanwhile.
func (s *Service) Refund(ctx context.Context, guesses ...Guess) error {
	err := s.DB.WriteLight(context.WithoutCancel(ctx), func(tx *store.Tx) error {
		Settle(tx, time.Time{}, Returned, guesses...)
		return nil
	})
	if err != nil {
		return fmt.Errorf("refund guesses: %w", err)
	}
	return nil
}
