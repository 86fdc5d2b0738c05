// Package system is the settings of /system/, typed.
//
// It promises: Set refuses a value that a typed method cannot use; a value of type password is
// stored sealed and never returned. Names are privacyIDEA's, in exact case (recorded in
// testdata/rest/system.json).
package system

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"otpost/internal/secret"
	"otpost/internal/store"
)

// The keys that otpost itself reads. Other keys are stored and shown, without effect.
const (
	EmailIdentifier             = "email.identifier"            // SMTP server of e-mail tokens
	EmailValidTime              = "email.validtime"             // seconds a code lives
	EmailConcurrent             = "email.concurrent_challenges" // several codes of a token may be open
	PrependPIN                  = "PrependPin"                  // the PIN comes before the code
	SplitAtSign                 = "splitAtSign"                 // user@realm is split
	IncFailCountOnFalsePIN      = "IncFailCountOnFalsePin"      // stored and shown; a wrong PIN always counts
	DefaultOTPLen               = "DefaultOtpLen"
	DefaultMaxFailCount         = "DefaultMaxFailCount"
	DefaultSyncWindow           = "DefaultSyncWindow"
	DefaultCountWindow          = "DefaultCountWindow"
	DefaultResetFailCount       = "DefaultResetFailCount"
	OverrideAuthorizationClient = "OverrideAuthorizationClient" // proxies that may name their client
)

const (
	timestamp = "__timestamp__" // when the settings were last changed: shown as the original does, not settable
	// Censored replaces a stored secret in answers, and in forms that are sent back.
	Censored = "__CENSORED__"
	// TypePassword is the type of values that are stored sealed.
	TypePassword = "password"
)

// Settings reads and writes the settings of a database. It is safe for concurrent use.
type Settings struct {
	db   *store.DB
	keys *secret.Keys
}

// New returns the settings of a database; keys seal the values of type password.
func New(db *store.DB, keys *secret.Keys) *Settings { return &Settings{db: db, keys: keys} }

// Values are all settings at one moment, immutable. The zero value is that of a fresh installation.
type Values struct{ stored map[string]string }

// Load reads all settings in a snapshot of its own.
func (s *Settings) Load(ctx context.Context) (v Values, err error) {
	err = s.db.Read(ctx, func(r store.Reader) (err error) {
		v, err = Read(r)
		return err
	})
	return v, err
}

// Read reads all settings.
func Read(r store.Reader) (Values, error) {
	v := Values{stored: make(map[string]string)}
	err := store.List(r, func(scan store.Scan) error {
		var key, value, kind string
		if err := scan(&key, &value, &kind); err != nil {
			return err
		}
		if kind == TypePassword {
			value = Censored
		}
		v.stored[key] = value
		return nil
	}, `SELECT key, value, type FROM setting`)
	if err != nil {
		return Values{}, fmt.Errorf("load settings: %w", err)
	}
	return v, nil
}

// All returns every setting as its text, with the defaults that a fresh installation shows
// (recorded: "get all, fresh"). Values of type password are Censored. The caller owns the map.
func (v Values) All() map[string]string {
	all := map[string]string{PrependPIN: "True", SplitAtSign: "True", IncFailCountOnFalsePIN: "True"}
	for key, value := range v.stored {
		all[key] = value
	}
	return all
}

// Text returns one setting as All does; ok is false when it is not set.
func (v Values) Text(key string) (string, bool) {
	value, ok := v.All()[key]
	return value, ok
}

// EmailIdentifier returns the SMTP server of e-mail tokens that name none; empty when it is not
// set.
func (v Values) EmailIdentifier() string { return v.stored[EmailIdentifier] }

// EmailValidTime returns the lifetime of a code sent by e-mail: 120 s by default, from 1 s to
// MostValidTime.
func (v Values) EmailValidTime() time.Duration {
	return time.Duration(v.number(EmailValidTime, 120, int(MostValidTime/time.Second))) * time.Second
}

// EmailConcurrent reports whether several challenges of an e-mail token may be open. Default false.
func (v Values) EmailConcurrent() bool { return v.flag(EmailConcurrent, false) }

// PrependPIN reports whether the PIN comes before the code in "pass". Default true.
func (v Values) PrependPIN() bool { return v.flag(PrependPIN, true) }

// SplitAtSign reports whether user@realm names a user of that realm. Default true.
func (v Values) SplitAtSign() bool { return v.flag(SplitAtSign, true) }

// DefaultOTPLen returns how many digits the codes of new tokens have: 6 by default, 4 to 10.
func (v Values) DefaultOTPLen() int { return v.number(DefaultOTPLen, 6, 10) }

// DefaultMaxFailCount returns after how many wrong guesses a new token is locked: 10 by default, at most MostFailCount.
func (v Values) DefaultMaxFailCount() int { return v.number(DefaultMaxFailCount, 10, MostFailCount) }

// DefaultSyncWindow returns the sync window of new tokens, 1000 by default.
func (v Values) DefaultSyncWindow() int { return v.number(DefaultSyncWindow, 1000, 1_000_000) }

// DefaultCountWindow returns the count window of new tokens, 10 by default.
func (v Values) DefaultCountWindow() int { return v.number(DefaultCountWindow, 10, 1_000_000) }

// OverrideAuthorizationClient returns the proxies that may name their client, as they were set; empty for none.
func (v Values) OverrideAuthorizationClient() string { return v.stored[OverrideAuthorizationClient] }

// number returns a setting between 1 and most. A stored value outside (written by another program)
// counts as the nearest one, an unreadable value as absent: a login must not fail because of it.
func (v Values) number(key string, absent, most int) int {
	n, err := strconv.Atoi(strings.TrimSpace(v.stored[key]))
	if err != nil {
		return absent
	}
	return min(max(n, 1), most)
}

// flag returns a setting of yes or no. An empty value means no; a value that is neither (written by
// another program) counts as absent.
func (v Values) flag(key string, absent bool) bool {
	value, ok := v.stored[key]
	if !ok {
		return absent
	}
	if strings.TrimSpace(value) == "" {
		return false
	}
	if yes, ok := Bool(value); ok {
		return yes
	}
	return absent
}

// Bool reads a text that means yes (1, true, yes, on) or no (0, false, no, off), in any case and
// with spaces around; ok is false for every other text, the empty one too.
func Bool(text string) (yes, ok bool) {
	switch strings.ToLower(strings.TrimSpace(text)) {
	case "1", "true", "yes", "on":
		return true, true
	case "0", "false", "no", "off":
		return false, true
	}
	return false, false
}
