package access

import (
	"context"
	"errors"
	"fmt"
	"time"

	"otpost/internal/fault"
	"otpost/internal/store"
)

const (
	freeFailures = 3                // so many wrong passwords cost no time: people mistype
	longestDelay = 15 * time.Minute // and no delay is longer, so that nobody is locked out by a stranger for good
	forgetAfter  = 24 * time.Hour   // without another failure
)

// Guard slows the guessing of passwords at /auth, by name and client address (docs/security.md, "Codes and guesses"). It counts in the
// database, so that a restart helps nobody. It is safe for concurrent use.
type Guard struct{ db *store.DB }

// NewGuard returns the guard of a database.
func NewGuard(db *store.DB) *Guard { return &Guard{db: db} }

// Waiting is fault 4031 while a delay runs: nothing was counted.
type Waiting struct {
	Refusal *fault.Error
	Seconds int64 // until a guess is looked at again
}

// Error returns that of the fault, for the log.
func (w *Waiting) Error() string { return w.Refusal.Error() }

// Unwrap returns the fault.
func (w *Waiting) Unwrap() error { return w.Refusal }

// Pay counts a guess before it is checked; Clear takes it back when it was right. While a delay runs, it counts nothing and
// returns *Waiting: the password must not be looked at then. The delay after the fourth wrong guess is 1 s and doubles.
func (g *Guard) Pay(ctx context.Context, name, client string) error {
	now := g.db.Now()
	var wait time.Duration
	err := g.db.WriteLight(ctx, func(tx *store.Tx) error {
		var count, notBefore int64
		err := tx.Get([]any{&count, &notBefore},
			`SELECT count, not_before_ms FROM auth_failure WHERE name = $1 AND client = $2`, name, client)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		wait = store.Time(notBefore).Sub(now)
		if wait > 0 {
			return nil
		}
		count++
		tx.Put(`INSERT INTO auth_failure (name, client, count, not_before_ms) VALUES ($1, $2, $3, $4)
			ON CONFLICT (name, client) DO UPDATE SET count = excluded.count, not_before_ms = excluded.not_before_ms`,
			name, client, count, store.Millis(now.Add(delay(count))))
		tx.Put(`DELETE FROM auth_failure WHERE not_before_ms < $1`, store.Millis(now.Add(-forgetAfter)))
		return nil
	})
	if err != nil {
		return fmt.Errorf("count a password guess: %w", err)
	}
	if wait > 0 {
		seconds := int64((wait + time.Second - 1) / time.Second)
		return &Waiting{Seconds: seconds,
			Refusal: fault.Newf(fault.BadCredentials, "Authentication failed. Too many wrong passwords: try again in %d s.", seconds)}
	}
	return nil
}

// Clear forgets the wrong guesses after a right one.
func (g *Guard) Clear(ctx context.Context, name, client string) error {
	err := g.db.WriteLight(ctx, func(tx *store.Tx) error {
		tx.Put(`DELETE FROM auth_failure WHERE name = $1 AND client = $2`, name, client)
		return nil
	})
	if err != nil {
		return fmt.Errorf("forget password guesses: %w", err)
	}
	return nil
}

// Return gives back one guess that was paid and not judged, by a fault of ours.
func (g *Guard) Return(ctx context.Context, name, client string) error {
	now := store.Millis(g.db.Now())
	err := g.db.WriteLight(ctx, func(tx *store.Tx) error {
		tx.Put(`UPDATE auth_failure SET count = count - 1, not_before_ms = $3 WHERE name = $1 AND client = $2 AND count > 0`, name, client, now)
		return nil
	})
	if err != nil {
		return fmt.Errorf("give a password guess back: %w", err)
	}
	return nil
}

// delay returns how long nothing is looked at after so many wrong guesses.
func delay(count int64) time.Duration {
	if count <= freeFailures {
		return 0
	}
	shift := min(count-freeFailures-1, 20)
	return min(time.Second<<shift, longestDelay)
}
