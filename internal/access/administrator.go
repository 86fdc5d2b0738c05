package access

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"otpost/internal/fault"
	"otpost/internal/pinhash"
	"otpost/internal/secret"
	"otpost/internal/store"
)

// Errors that callers tell apart.
var (
	ErrExists   = errors.New("an administrator of this name exists")
	ErrNotFound = errors.New("no administrator of this name")
)

// Passwords makes and checks hashes of passwords on behalf of a peer, and can spend the time of a
// check for an unknown name; it is pinhash.Verifier. Each call waits for a hashing slot and fails
// with pinhash.ErrBusy when none is free in time.
type Passwords interface {
	Hash(ctx context.Context, peer, plain string) (string, error)
	Verify(ctx context.Context, peer, hash, plain string) (bool, error)
	Dummy(ctx context.Context, peer, like, plain string) error
}

// administration is the peer for which new passwords are hashed.
const administration = "administration"

// Administrator is a local administrator.
type Administrator struct {
	Name            string
	Email           string // may be empty
	PasswordChanged time.Time
	Created         time.Time
}

// Administrators keeps the local administrators. It is safe for concurrent use.
type Administrators struct {
	db        *store.DB
	passwords Passwords
}

// NewAdministrators returns the administrators of a database.
func NewAdministrators(db *store.DB, passwords Passwords) *Administrators {
	return &Administrators{db: db, passwords: passwords}
}

// Add makes a new administrator; ErrExists when the name is taken.
func (a *Administrators) Add(ctx context.Context, name, email string, password secret.Text) error {
	if err := checkName(name); err != nil {
		return err
	}
	hash, err := a.hash(ctx, password)
	if err != nil {
		return err
	}
	now := store.Millis(a.db.Now())
	err = a.db.Write(ctx, func(tx *store.Tx) error {
		tx.Put(`INSERT INTO administrator (name, email, password_hash, password_changed_ms, created_ms)
			VALUES ($1, $2, $3, $4, $4)`, name, email, hash, now)
		return nil
	})
	if errors.Is(err, store.ErrUnique) {
		return ErrExists
	}
	if err != nil {
		return fmt.Errorf("add administrator: %w", err)
	}
	return nil
}

// SetPassword changes a password, which ends the administrator's sessions; ErrNotFound when the
// name is unknown.
func (a *Administrators) SetPassword(ctx context.Context, name string, password secret.Text) error {
	hash, err := a.hash(ctx, password)
	if err != nil {
		return err
	}
	now := store.Millis(a.db.Now())
	return a.change(ctx,
		`UPDATE administrator SET password_hash = $2, password_changed_ms = $3 WHERE name = $1 RETURNING name`,
		name, hash, now)
}

// Delete removes an administrator, which ends his sessions; ErrNotFound when the name is unknown.
func (a *Administrators) Delete(ctx context.Context, name string) error {
	return a.change(ctx, `DELETE FROM administrator WHERE name = $1 RETURNING name`, name)
}

func (a *Administrators) change(ctx context.Context, query string, args ...any) error {
	var changed bool
	err := a.db.Write(ctx, func(tx *store.Tx) (err error) {
		changed, err = tx.Changed(query, args...)
		return err
	})
	if err != nil {
		return fmt.Errorf("change administrator: %w", err)
	}
	if !changed {
		return ErrNotFound
	}
	return nil
}

// List returns all administrators, by name.
func (a *Administrators) List(ctx context.Context) ([]Administrator, error) {
	list := []Administrator{}
	err := a.db.Read(ctx, func(r store.Reader) error {
		return store.List(r, func(scan store.Scan) error {
			var one Administrator
			var changed, created int64
			if err := scan(&one.Name, &one.Email, &changed, &created); err != nil && !errors.Is(err, store.ErrDamaged) {
				return err
			}
			one.PasswordChanged, one.Created = store.Time(changed), store.Time(created)
			list = append(list, one)
			return nil
		}, `SELECT name, email, password_changed_ms, created_ms FROM administrator ORDER BY name`)
	})
	if err != nil {
		return nil, fmt.Errorf("list administrators: %w", err)
	}
	return list, nil
}

// Known reports whether name is an administrator.
func (a *Administrators) Known(ctx context.Context, name string) (known bool, err error) {
	err = a.db.Read(ctx, func(r store.Reader) error {
		return r.Get([]any{&known}, `SELECT EXISTS (SELECT 1 FROM administrator WHERE name = $1)`, name)
	})
	if err != nil {
		return false, fmt.Errorf("look up administrator: %w", err)
	}
	return known, nil
}

// Mark returns a text that changes with the administrator's password; empty for an unknown name.
func (a *Administrators) Mark(ctx context.Context, name string) (secret.Text, error) {
	return markOf(ctx, a.db, name)
}

// markOf returns the stored hash of an administrator's password, empty when its row is damaged. The
// salt of the hash makes the mark of each password unique.
func markOf(ctx context.Context, db *store.DB, name string) (mark secret.Text, err error) {
	var hash string
	err = db.Read(ctx, func(r store.Reader) error {
		return r.Get([]any{&hash}, `SELECT password_hash FROM administrator WHERE name = $1`, name)
	})
	if errors.Is(err, store.ErrDamaged) {
		return "", nil // the store logs it; no password fits, and no session holds
	}
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return "", fmt.Errorf("read administrator: %w", err)
	}
	return secret.Text(hash), nil
}

// logHash lets the store log that no password can be checked against the stored hash of an administrator.
func (a *Administrators) logHash(ctx context.Context, name string) error {
	var hash string
	refused := store.Checked{To: &hash, Check: func(string) bool { return false }}
	err := a.db.Read(ctx, func(r store.Reader) error {
		return r.Get([]any{refused}, `SELECT password_hash FROM administrator WHERE name = $1`, name)
	})
	if errors.Is(err, store.ErrDamaged) || errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}

// CheckPassword reports whether name is an administrator with this password. An unknown name takes
// as long as a known one. client is the caller's address; fault 5003: out of hashing slots. The
// guess must have been paid (Guard.Pay).
func (a *Administrators) CheckPassword(ctx context.Context, name string, password secret.Text, client string) (
	bool, error,
) {
	hash, err := markOf(ctx, a.db, name)
	if err != nil {
		return false, err
	}
	if hash == "" {
		return false, busy(a.passwords.Dummy(ctx, client, "", password.Reveal()))
	}
	ok, err := a.passwords.Verify(ctx, client, hash.Reveal(), password.Reveal())
	if errors.Is(err, pinhash.ErrUnknownFormat) || errors.Is(err, pinhash.ErrTooCostly) {
		if err := a.logHash(ctx, name); err != nil {
			return false, err
		}
		return false, busy(a.passwords.Dummy(ctx, client, "", password.Reveal()))
	}
	return ok && err == nil, busy(err)
}

// busy gives the lack of a hashing slot (pinhash.ErrBusy) the number of fault 5003; other errors come back wrapped.
func busy(err error) error {
	if errors.Is(err, pinhash.ErrBusy) {
		return fault.NoSlot(err)
	}
	if err != nil {
		return fmt.Errorf("check password: %w", err)
	}
	return nil
}

func (a *Administrators) hash(ctx context.Context, password secret.Text) (string, error) {
	if password == "" {
		return "", errors.New("the password of an administrator must not be empty")
	}
	if plain := password.Reveal(); !utf8.ValidString(plain) || strings.ContainsFunc(plain, unicode.IsControl) {
		return "", errors.New("the password of an administrator must be valid UTF-8 without control characters")
	}
	hash, err := a.passwords.Hash(ctx, administration, password.Reveal())
	if err != nil {
		return "", fmt.Errorf("hash password: %w", err)
	}
	return hash, nil
}

func checkName(name string) error {
	control := strings.ContainsFunc(name, unicode.IsControl)
	if name == "" || len(name) > 255 || control || !utf8.ValidString(name) || strings.TrimSpace(name) != name {
		return errors.New("an administrator's name has 1 to 255 bytes, no control characters and no space at its ends")
	}
	return nil
}

var _ Passwords = (*pinhash.Verifier)(nil)
