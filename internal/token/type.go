package token

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"otpost/internal/challenge"
	"otpost/internal/fault"
	"otpost/internal/store"
)

// Type is one kind of token: what its codes are, and what a used one leaves behind. A type that
// also answers a PIN with a challenge is a Challenger. The methods are safe for concurrent use.
type Type interface {
	// Enrol returns fault 905 for an enrolment that this type cannot take.
	Enrol(e Enrolment) error
	// Compare says what a code is to the token. It writes nothing. The guess of the attempt is paid.
	Compare(a Attempt) Match
	// Accept writes, in the transaction of the decision, that the code of a valid match was used. It may run more than
	// once. The error is ErrUsed when the code was used since Compare. After an error nothing that it wrote stays.
	Accept(tx *store.Tx, now time.Time, m Match) error
}

// Challenger is a Type whose tokens answer their PIN with a challenge.
type Challenger interface {
	// Draft draws a code and what carries it, see Draft. An error is a fault of the server.
	Draft(ctx context.Context, t Token, a Asked) (Draft, error)
}

// ErrUsed says that a code which was valid has been used meanwhile.
var ErrUsed = errors.New("the code was used meanwhile")

// Attempt is a code that a client sent for a token.
type Attempt struct {
	Guess      Guess // names the token
	Code       Text
	Challenges []challenge.Challenge // that the code may answer, oldest first
	Now        time.Time
}

// Match is what a code is to a token.
type Match struct {
	Validity  Validity
	Guess     Guess
	Challenge challenge.Challenge // that a valid code answers; zero: none
	Step      int64               // of a computed code: its counter or time step
}

// Validity says whether a code may be accepted.
type Validity int

// The validities.
const (
	Invalid    Validity = iota // another code, or one whose time is over
	UsedBefore                 // the code was accepted before
	Valid
)

// Compare says what a code is to the token of the guess. Without a payment, and for a type that this server does not
// know, every code is Invalid.
func (s *Service) Compare(a Attempt) Match {
	kind, ok := s.types[a.Guess.token.Type]
	if !ok || !a.Guess.PaidFor(a.Guess.token.Serial) {
		return Match{Guess: a.Guess}
	}
	m := kind.Compare(a)
	m.Guess = a.Guess
	return m
}

// Accept is Type.Accept of the token's type.
func (s *Service) Accept(tx *store.Tx, now time.Time, m Match) error {
	return s.types[m.Guess.token.Type].Accept(tx, now, m)
}

// Challenges reports whether the token answers its PIN with a challenge.
func (s *Service) Challenges(t Token) bool {
	_, ok := s.types[t.Type].(Challenger)
	return ok
}

// Draft is Challenger.Draft of the type of a token that challenges.
func (s *Service) Draft(ctx context.Context, t Token, a Asked) (Draft, error) {
	return s.types[t.Type].(Challenger).Draft(ctx, t, a)
}

// typeOf returns the type of a name, and fault 905 when there is none.
func (s *Service) typeOf(name string) (Type, error) {
	kind, ok := s.types[name]
	if !ok {
		return nil, fault.Wrong("type", "token_type", "there is no token type %q here, this server knows: %s.",
			clip(name), strings.Join(slices.Sorted(maps.Keys(s.types)), ", "))
	}
	return kind, nil
}
