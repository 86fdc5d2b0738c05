package system

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"otpost/internal/fault"
	"otpost/internal/secret"
	"otpost/internal/store"
)

// The limits that docs/security.md promises: a code that lives longer, or a token that locks later,
// can be guessed more often.
const (
	MostValidTime = 600 * time.Second
	MostFailCount = 100
)

// The results of Set for a key.
const (
	Insert = "insert"
	Update = "update"
)

// Setting is one value to set. TypePassword seals the value; the value Censored keeps a stored
// password.
type Setting struct{ Key, Value, Type, Description string }

// Set writes all settings in one transaction, or none of them with fault 905, and returns
// Insert or Update for each key.
func (s *Settings) Set(ctx context.Context, settings ...Setting) (map[string]string, error) {
	for _, one := range settings {
		if err := check(one); err != nil {
			return nil, err
		}
	}
	sealed := make([][]byte, len(settings)) // sealed before the transaction
	for i, one := range settings {
		if one.Type == TypePassword && one.Value != Censored {
			sealed[i] = s.seal(one)
		}
	}
	var done map[string]string
	err := s.db.Write(ctx, func(tx *store.Tx) error {
		s.changed(tx)
		results := make(map[string]string, len(settings))
		for i, one := range settings {
			result, err := put(tx, one, sealed[i])
			if err != nil {
				return err
			}
			results[one.Key] = result
		}
		done = results
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("set settings: %w", err)
	}
	return done, nil
}

// Delete removes a setting and reports whether it was stored.
func (s *Settings) Delete(ctx context.Context, key string) (bool, error) {
	var found bool
	err := s.db.Write(ctx, func(tx *store.Tx) (err error) {
		if found, err = tx.Changed(`DELETE FROM setting WHERE key = $1 RETURNING key`, key); found {
			s.changed(tx)
		}
		return err
	})
	if err != nil {
		return false, fmt.Errorf("delete setting %s: %w", key, err)
	}
	return found, nil
}

// put writes one checked setting and returns Insert or Update. The value Censored keeps a stored
// password.
func put(tx *store.Tx, one Setting, sealed []byte) (string, error) {
	var kind string
	err := tx.Get([]any{&kind}, `SELECT type FROM setting WHERE key = $1`, one.Key)
	exists := err == nil
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return "", err
	}
	if one.Value == Censored && exists && kind == TypePassword {
		return Update, nil
	}
	if one.Value == Censored {
		return "", refused(one.Key, "no_stored_password", "no password is stored that could be kept")
	}
	if one.Type == TypePassword {
		one.Value = ""
	}
	tx.Put(`INSERT INTO setting (key, value, sealed, type, description) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (key) DO UPDATE SET value = excluded.value, sealed = excluded.sealed, type = excluded.type,
		description = excluded.description`, one.Key, one.Value, sealed, one.Type, one.Description)
	_, shown := Values{}.Text(one.Key) // a default of a fresh installation counts as set
	if exists || shown {
		return Update, nil
	}
	return Insert, nil
}

// seal encrypts the value of a password for the row of its key.
func (s *Settings) seal(one Setting) []byte {
	return s.keys.Seal(secret.Setting, secret.Place("setting", "sealed", one.Key), []byte(one.Value))
}

// changed records that the settings of this database have changed.
func (s *Settings) changed(tx *store.Tx) {
	at := fmt.Sprintf("%.6f", float64(store.Millis(s.db.Now()))/1000)
	tx.Put(`INSERT INTO setting (key, value, type, description) VALUES ($1, $2, '', '')
		ON CONFLICT (key) DO UPDATE SET value = excluded.value`, timestamp, at)
	tx.RaiseGeneration()
}

// check returns fault 905 for a key or value that must not be stored.
func check(one Setting) error {
	switch {
	case one.Key == "" || one.Key == timestamp:
		return refused(one.Key, "key", "this key cannot be set")
	case len(one.Key) > 255:
		return refused(one.Key[:64], "long_key", "the key is longer than 255 characters")
	case len(one.Value) > 2000:
		return refused(one.Key, "long_value", "the value is longer than 2000 characters")
	}
	switch one.Key {
	case EmailValidTime:
		return checkNumber(one, 1, int(MostValidTime/time.Second))
	case DefaultMaxFailCount:
		return checkNumber(one, 1, MostFailCount)
	case DefaultOTPLen:
		return checkNumber(one, 4, 10)
	case DefaultSyncWindow, DefaultCountWindow:
		return checkNumber(one, 1, 1_000_000)
	case EmailConcurrent, PrependPIN, SplitAtSign, IncFailCountOnFalsePIN, DefaultResetFailCount:
		if _, ok := Bool(one.Value); !ok && strings.TrimSpace(one.Value) != "" {
			return refused(one.Key, "bool", "the value must be True or False")
		}
	}
	return nil
}

// refused returns fault 905 about a setting.
func refused(setting, key, reason string, args ...any) error {
	e := fault.Wrong(setting, key, reason, args...)
	e.Message = "ERR905: " + setting + ": " + fmt.Sprintf(reason, args...)
	return e
}

func checkNumber(one Setting, least, most int) error {
	n, err := strconv.Atoi(strings.TrimSpace(one.Value))
	if err != nil || n < least || n > most {
		return refused(one.Key, "number", "the value must be a number from %d to %d", least, most)
	}
	return nil
}
