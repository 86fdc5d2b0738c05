// Package token holds the tokens.
//
// These are their records, PINs and fail counters, and what each type sends. It promises: a guess
// is paid for before a PIN or code is looked at, and every compare function asks for the receipt
// (Guess) that only that commit gives; the fail counter never leaves 0..max_failcount, whatever
// runs at the same time; codes are drawn uniformly, and no token has a seed. Disabling, deleting or
// re-enrolling a token ends its challenges and what waits to be sent for them in the same
// transaction. login decides about a login.
package token

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"otpost/internal/delivery"
	"otpost/internal/fault"
	"otpost/internal/pinhash"
	"otpost/internal/secret"
	"otpost/internal/store"
	"otpost/internal/system"
	"otpost/internal/user"
)

// TypeEmail is the type of tokens whose codes go out by mail, the only one of the program so far.
const TypeEmail = "email"

// Enrolled is the rollout state of a token that can be used.
const Enrolled = "enrolled"

// Text is what a user types: a PIN, a code, or both. It never prints.
type Text = secret.Text

// Token is one token as it was read. It has as many fields as the row has columns.
type Token struct {
	Serial              string
	ID                  int64
	Type                string
	Description         string
	Active              bool
	Revoked             bool
	RolloutState        string
	OTPLen              int // digits of a code
	FailCount           int
	MaxFailCount        int
	CountWindow         int
	SyncWindow          int
	CountAuth           int
	CountAuthSuccess    int
	LastAuth            time.Time // zero: never
	FailCounterExceeded time.Time // zero: the counter is below its limit
	Resolver            string    // with UserID and UserRealm empty: no user
	UserID              string
	UserRealm           string
	Assigned            time.Time // zero: no user
	DynamicEmail        bool
	EmailIdentifier     string // own SMTP server; empty: that of /system/
	ChallengeCount      int    // challenges that were made for it
	Created             time.Time

	pinHash     string // empty: an empty PIN
	emailSealed []byte
}

// Locked reports whether the fail counter has reached its limit.
func (t Token) Locked() bool { return t.FailCount >= t.MaxFailCount }

// Usable reports whether a login may try the token: enabled, enrolled and not revoked. A locked
// token is usable, and paying for a guess at it fails.
func (t Token) Usable() bool { return t.Active && !t.Revoked && t.RolloutState == Enrolled }

// HasUser reports whether the token belongs to a user.
func (t Token) HasUser() bool { return t.UserID != "" }

// Owned reports whether the token belongs to that user.
func (t Token) Owned(u user.User) bool {
	return t.HasUser() && t.Resolver == u.Resolver && t.UserID == u.UID && t.UserRealm == u.Realm
}

// Users finds a token's user.
type Users interface {
	ByUID(ctx context.Context, resolver, uid string) (user.User, error)
}

// Options are what a Service needs. Rand may stay nil.
type Options struct {
	DB         *store.DB
	Keys       *secret.Keys
	Settings   *system.Settings
	Users      Users
	PINs       *pinhash.Verifier // one for the process
	Deliveries *delivery.Service
	// ValidAddress returns nil when mail can be sent to the address (mail.ParseAddress).
	ValidAddress func(address string) error
	Types        map[string]Type // beside "email", by name; nil: none
	Turn         time.Duration   // how long a guess waits for those before it (docs/security.md, "Codes and guesses"); 2 s
	Rand         io.Reader       // of codes; crypto/rand
	Log          *slog.Logger    // discards
}

// Service reads and changes tokens. It is safe for concurrent use.
type Service struct {
	Options
	types  map[string]Type // by name; it never changes
	turns  turns
	sealed *sealed
}

// sealed is which tokens were logged because their address does not open. It is safe for concurrent use.
type sealed struct {
	mu     sync.Mutex
	logged map[string]struct{}
}

// New returns a Service; it does no I/O.
func New(o Options) *Service {
	if o.Turn == 0 {
		o.Turn = longestTurn
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.Log = o.Log.With("component", "token")
	s := &Service{
		Options: o,
		types:   make(map[string]Type),
		turns:   newTurns(),
		sealed:  &sealed{logged: make(map[string]struct{})},
	}
	maps.Copy(s.types, o.Types)
	s.types[TypeEmail] = email{s}
	return s
}

// BySerial returns one token. The error wraps store.ErrNotFound when there is none.
func (s *Service) BySerial(ctx context.Context, serial string) (t Token, err error) {
	err = s.DB.Read(ctx, func(r store.Reader) error {
		t, err = Load(r, serial)
		return err
	})
	return t, err
}

// Serials returns the serials of tokens, in their order.
func Serials(tokens []Token) []string {
	serials := make([]string, len(tokens))
	for i, t := range tokens {
		serials[i] = t.Serial
	}
	return serials
}

// Selection names the token that an administrative call is about: by its serial, or by the only token of a user.
type Selection struct {
	Serial string
	Owner  *user.User
}

// one returns the selected token, or the recorded faults of testdata/rest/token.json ("enable
// unknown", "disable user").
func one(r store.Reader, sel Selection) (Token, error) {
	switch {
	case sel.Serial != "":
		t, err := Load(r, sel.Serial)
		if errors.Is(err, store.ErrNotFound) || (err == nil && sel.Owner != nil && !t.Owned(*sel.Owner)) {
			return t, fault.Newf(fault.NotFound, "no_token_of_serial", "No token found for serials: %s", sel.Serial)
		}
		return t, err
	case sel.Owner != nil:
		found, err := OfUser(r, *sel.Owner)
		switch {
		case err != nil:
			return Token{}, err
		case len(found) == 0:
			return Token{}, fault.New(fault.NotFound, "no_tokens", "The user has no tokens assigned")
		case len(found) > 1:
			return Token{}, fault.New(fault.Parameter, "several_tokens", "ERR905: More than one matching token was found.")
		}
		return found[0], nil
	}
	return Token{}, fault.Missing("serial")
}

// change runs f on the selected token in a durable transaction. A revoked token is refused, as
// recorded ("revoked token: pin").
func (s *Service) change(ctx context.Context, sel Selection, f func(tx *store.Tx, t Token) error) error {
	return s.DB.Write(ctx, func(tx *store.Tx) error {
		t, err := one(tx, sel)
		if err != nil {
			return err
		}
		if t.Revoked {
			return ErrLocked()
		}
		return f(tx, t)
	})
}

// ErrLocked returns the recorded fault for an act on a revoked token.
func ErrLocked() error {
	return fault.New(fault.TokenLocked, "token_locked", "ERR1007: This action is not possible, since the token is locked")
}

// address returns the address that codes go to: the token's own, or the user's as it is now. Empty: there is none.
func (s *Service) address(ctx context.Context, t Token, users Users) (string, error) {
	if !t.DynamicEmail {
		return s.ownEmail(t)
	}
	if !t.HasUser() {
		return "", nil
	}
	u, err := users.ByUID(ctx, t.Resolver, t.UserID)
	if errors.Is(err, user.ErrNotFound) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("look up address of a token's user: %w", err)
	}
	return u.Email, nil
}

func (s *Service) ownEmail(t Token) (string, error) {
	if len(t.emailSealed) == 0 {
		return "", nil
	}
	plain, err := s.Keys.Open(secret.Seed, place(t.Serial), t.emailSealed)
	if err != nil {
		return "", fmt.Errorf("open address of token %s: %w", t.Serial, err)
	}
	return string(plain), nil
}

func place(serial string) secret.Context { return secret.Place("token", "email", serial) }

// sortedUnique returns the texts in order, each once.
func sortedUnique(texts []string) []string {
	texts = slices.Clone(texts)
	slices.Sort(texts)
	return slices.Compact(texts)
}
