package token

import (
	"context"
	"errors"
	"fmt"

	"otpost/internal/fault"
	"otpost/internal/pinhash"
)

// administration is on whose behalf PINs are hashed when they are set.
const administration = "administration"

// Fit says how a PIN fits what was typed.
type Fit int

// The fits.
const (
	NoFit    Fit = iota
	WholeFit     // the PIN is all that was typed
	SplitFit     // the PIN and a code were typed
)

// Typed is the content of "pass": a PIN, or a PIN and a code.
type Typed struct {
	Text    Text
	Prepend bool // the PIN stands before the code (PrependPin)
}

// plains returns the PINs that may be meant with a token of n digits: the whole, and the text beside n digits.
func (t Typed) plains(n int) []string {
	plains := []string{t.Text.Reveal()}
	if pin, _, ok := t.split(n); ok {
		plains = append(plains, pin.Reveal())
	}
	return plains
}

// HasCode reports whether a code of the token may be in the text.
func (t Typed) HasCode(of Token) bool {
	_, _, ok := t.split(of.OTPLen)
	return ok
}

// split cuts a code of n digits off. ok is false when there is none.
func (t Typed) split(n int) (pin, code Text, ok bool) {
	typed := t.Text
	if n < 1 || len(typed) < n {
		return "", "", false
	}
	pin, code = typed[:len(typed)-n], typed[len(typed)-n:]
	if !t.Prepend {
		pin, code = typed[n:], typed[:n]
	}
	return pin, code, digits(code)
}

// digits reports whether a text consists of ASCII digits alone.
func digits(code Text) bool {
	for i := range len(code) {
		if code[i] < '0' || code[i] > '9' {
			return false
		}
	}
	return true
}

// Reservation is the right to check one guess against the PINs of some tokens: a hashing slot,
// unless the PIN of each is remembered; what was typed makes no difference to that. It is for one
// goroutine.
type Reservation struct {
	turn       *pinhash.Permit
	typed      Typed
	challenges func(Token) bool // Service.Challenges
}

// Reserve takes what checking a guess needs, on behalf of a peer (a client's address). It is called
// before the guess is paid for: with fault.Busy nothing is lost. Locked, disabled and revoked
// tokens must not be among the tokens.
func (s *Service) Reserve(ctx context.Context, peer string, typed Typed, tokens ...Token) (*Reservation, error) {
	hashes := make([]string, 0, len(tokens))
	for _, t := range tokens {
		if t.pinHash != "" {
			hashes = append(hashes, t.pinHash)
		}
	}
	turn, err := s.PINs.Begin(ctx, peer, hashes...)
	if err != nil {
		return nil, hashing(err)
	}
	return &Reservation{turn: turn, typed: typed, challenges: s.Challenges}, nil
}

// Release gives the slot back and says whether the guess was right, which gives the peer a better place next time.
func (r *Reservation) Release(right bool) { r.turn.End(right) }

// CheckPIN looks for the token's PIN in what was typed: first as the whole, which only a token that
// challenges takes, then beside a code of the token's length, which is returned with SplitFit.
// Without a paid guess nothing fits. An error is a fault of the server.
func (r *Reservation) CheckPIN(ctx context.Context, g Guess) (Fit, Text, error) {
	if !g.PaidFor(g.token.Serial) {
		return NoFit, "", nil
	}
	plains := r.typed.plains(g.token.OTPLen)
	at, err := r.match(ctx, g.token.pinHash, plains)
	if err != nil {
		return NoFit, "", hashing(err)
	}
	switch {
	case at == 0 && r.challenges(g.token):
		return WholeFit, "", nil
	case at == 1:
		_, code, _ := r.typed.split(g.token.OTPLen)
		return SplitFit, code, nil
	}
	return NoFit, "", nil
}

// match returns which of the texts is the PIN, or -1. A token without a PIN has the empty one.
func (r *Reservation) match(ctx context.Context, hash string, plains []string) (int, error) {
	if hash != "" {
		return r.turn.Match(ctx, hash, plains...)
	}
	for i, plain := range plains {
		if plain == "" {
			return i, nil
		}
	}
	return -1, nil
}

// hash returns the stored form of a PIN; an empty one is stored as nothing.
func (s *Service) hash(ctx context.Context, pin Text) (string, error) {
	if pin == "" {
		return "", nil
	}
	hash, err := s.PINs.Hash(ctx, administration, pin.Reveal())
	return hash, hashing(err)
}

// hashing turns "no slot in time" into the fault that asks the client to try again.
func hashing(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, pinhash.ErrBusy):
		return fault.NoSlot(err)
	}
	return fmt.Errorf("compute PIN hash: %w", err)
}
