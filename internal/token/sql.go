package token

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"otpost/internal/pinhash"
	"otpost/internal/store"
	"otpost/internal/user"
)

// columns are those of destinations, in its order.
const columns = `serial, id, type, description, active, revoked, rollout_state, pin_hash, otplen, failcount,
	max_failcount, count_window, sync_window, count_auth, count_auth_success, last_auth_ms, failcounter_exceeded_ms,
	resolver, user_id, user_realm, assigned_ms, email_sealed, dynamic_email, email_identifier, challenge_count, created_ms`

// destinations returns where the columns of a row go.
func (t *Token) destinations() []any {
	return []any{
		&t.Serial, &t.ID, &t.Type, &t.Description, &t.Active, &t.Revoked, &t.RolloutState,
		store.Checked{To: &t.pinHash, Check: isHash}, &t.OTPLen, &t.FailCount,
		&t.MaxFailCount, &t.CountWindow, &t.SyncWindow, &t.CountAuth, &t.CountAuthSuccess, store.NullTime{To: &t.LastAuth},
		store.NullTime{To: &t.FailCounterExceeded}, &t.Resolver, &t.UserID, &t.UserRealm,
		store.NullTime{To: &t.Assigned}, &t.emailSealed, &t.DynamicEmail, &t.EmailIdentifier, &t.ChallengeCount,
		store.NullTime{To: &t.Created},
	}
}

// isHash reports a text that a PIN can be checked against; an empty one means an empty PIN.
func isHash(text string) bool {
	_, err := pinhash.Cost(text)
	return text == "" || err == nil
}

// Load reads one token. The error wraps store.ErrNotFound when there is none, and store.ErrDamaged
// when its row cannot be read.
func Load(r store.Reader, serial string) (Token, error) {
	var t Token
	if err := r.Get(t.destinations(), `SELECT `+columns+` FROM token WHERE serial = $1`, serial); err != nil {
		return t, fmt.Errorf("load token: %w", err)
	}
	return t, nil
}

// OfUser returns the tokens of a user by type and age, the recorded order of several challenges
// (testdata/rest/validate.json, "trigger admin", "multi: pin -> three challenges"); none is no
// error. Damaged ones are left out.
func OfUser(r store.Reader, u user.User) ([]Token, error) {
	return read(r, `SELECT `+columns+` FROM token
		WHERE resolver = $1 AND user_id = $2 AND user_realm = $3 AND user_id <> '' ORDER BY type, id`,
		u.Resolver, u.UID, u.Realm)
}

// read returns the tokens that a query finds, without those whose row is damaged: none of them can be used.
func read(r store.Reader, query string, args ...any) ([]Token, error) {
	return readWith(r, func(error) bool { return false }, query, args...)
}

// readAll is read with what can be read of damaged rows, for those who look.
func readAll(r store.Reader, query string, args ...any) ([]Token, error) {
	return readWith(r, func(err error) bool { return errors.Is(err, store.ErrDamaged) }, query, args...)
}

func readWith(r store.Reader, take func(err error) bool, query string, args ...any) ([]Token, error) {
	var found []Token
	err := store.List(r, func(scan store.Scan) error {
		var t Token
		if err := scan(t.destinations()...); err != nil && !take(err) {
			return err
		}
		found = append(found, t)
		return nil
	}, query, args...)
	if err != nil {
		return nil, fmt.Errorf("read tokens: %w", err)
	}
	return found, nil
}

// among returns "column IN ($n, ...)" for the serials, and them as arguments; n is the number of the first.
func among(column string, n int, serials []string) (string, []any) {
	marks := make([]string, len(serials))
	args := make([]any, len(serials))
	for i, serial := range serials {
		marks[i], args[i] = fmt.Sprintf("$%d", n+i), serial
	}
	return column + " IN (" + strings.Join(marks, ", ") + ")", args
}

// insert writes a new token and gives it the next id.
func insert(tx *store.Tx, t Token) error {
	id, err := tx.Next("token")
	if err != nil {
		return err
	}
	tx.Put(`INSERT INTO token (`+columns+`)
		VALUES ($1, $18, $2, $3, 1, 0, $4, $5, $6, 0, $7, $8, $9, 0, 0, NULL, NULL, $10, $11, $12, $13, $14, $15, $16, 0,
			$17)`,
		t.Serial, t.Type, t.Description, t.RolloutState, t.pinHash, t.OTPLen, t.MaxFailCount, t.CountWindow, t.SyncWindow,
		t.Resolver, t.UserID, t.UserRealm, nullable(t.Assigned), t.emailSealed, store.Flag(t.DynamicEmail), t.EmailIdentifier,
		store.Millis(t.Created), id)
	return nil
}

// update writes what an enrolment of an existing token may change. The fail counter starts anew.
func update(tx *store.Tx, t Token) {
	tx.Put(`UPDATE token SET description = $2, rollout_state = $3, pin_hash = $4, otplen = $5, resolver = $6, user_id = $7,
		user_realm = $8, assigned_ms = $9, email_sealed = $10, dynamic_email = $11, email_identifier = $12, failcount = 0,
		failcounter_exceeded_ms = NULL WHERE serial = $1`,
		t.Serial, t.Description, t.RolloutState, t.pinHash, t.OTPLen, t.Resolver, t.UserID, t.UserRealm, nullable(t.Assigned),
		t.emailSealed, store.Flag(t.DynamicEmail), t.EmailIdentifier)
}

// nullable returns a time as it is stored; the zero time is NULL.
func nullable(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return store.Millis(t)
}
