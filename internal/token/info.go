package token

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"otpost/internal/fault"
	"otpost/internal/store"
)

// The forms of times in "info", as recorded ("list after the validate run", "lock: token list").
const (
	dateForm     = "2006-01-02T15:04:05-07:00"
	lastAuthForm = "2006-01-02 15:04:05.000000-0700"
	exceededForm = "2006-01-02T15:04-0700"
)

// The properties that the token itself manages.
const (
	keyEmail      = "email"
	keyDynamic    = "dynamic_email"
	keyIdentifier = "email.identifier"
)

// properties returns what "info" shows of what the token manages, in the order of the recorded key lists. tokenkind
// and hashlib are the original's constants for these tokens.
func (s *Service) properties(t Token) []Property {
	var all []Property
	managed := func(key, value string) {
		if value != "" {
			all = append(all, Property{Key: key, Value: value, Managed: true})
		}
	}
	managed("assignment_date", date(t.Assigned, dateForm))
	email, err := s.ownEmail(t)
	if err != nil { // a list must not fail over one address
		all = append(all, Property{Key: keyEmail, Managed: true, Unreadable: true})
		s.unreadable(t.Serial)
	}
	managed(keyEmail, email)
	if t.DynamicEmail {
		managed(keyDynamic, "True")
	}
	managed(keyIdentifier, t.EmailIdentifier)
	managed("tokenkind", "software")
	managed("hashlib", "sha1")
	managed("creation_date", date(t.Created, dateForm))
	managed("count_auth_success", positive(t.CountAuthSuccess))
	managed("count_auth", positive(t.CountAuth))
	managed("last_auth", date(t.LastAuth, lastAuthForm))
	managed("failcounter_exceeded", date(t.FailCounterExceeded, exceededForm))
	return all
}

// putBack is what an administrator does about an address that does not open.
const putBack = "put the right key file back; if it is lost, enter the address again"

// mostUnreadable bounds the serials that are remembered because they were logged.
const mostUnreadable = 10_000

// unreadable logs once for the process that the address of a token does not open.
func (s *Service) unreadable(serial string) {
	s.sealed.mu.Lock()
	defer s.sealed.mu.Unlock()
	if _, ok := s.sealed.logged[serial]; ok || len(s.sealed.logged) >= mostUnreadable {
		return
	}
	s.sealed.logged[serial] = struct{}{}
	s.Log.Error("the address of a token does not open with this key file (PI_ENCFILE): "+putBack,
		"serial", fmt.Sprintf("%.64s", serial))
}

func date(t time.Time, form string) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(form)
}

func positive(n int) string {
	if n < 1 {
		return ""
	}
	return strconv.Itoa(n)
}

// managed reports whether a property is one of those that the token keeps itself.
func managedKey(key string) bool {
	switch key {
	case "assignment_date", keyEmail, keyDynamic, keyIdentifier, "tokenkind", "hashlib", "creation_date",
		"count_auth_success", "count_auth", "last_auth", "failcounter_exceeded":
		return true
	}
	return false
}

// checkInfo refuses properties that the token manages, with the recorded fault 303
// (testdata/rest/mail_failure.json, "token info email.identifier through /token/info"), and names
// or values that do not fit.
func checkInfo(key, value string) error {
	switch {
	case key == "" || len(key) > 255 || !printable(key) || len(value) > 2000 || !printable(value):
		return fault.New(fault.Parameter, "token_info",
			"ERR905: A token info has a key of at most 255 and a value of at most 2000 bytes, each one line.")
	case managedKey(key):
		return fault.Newf(fault.Policy, "token_info_managed",
			"The token info key '%s' is managed by the token and can not be modified.", key)
	}
	return nil
}

// SetInfo sets a free property.
func (s *Service) SetInfo(ctx context.Context, sel Selection, key, value string) error {
	if err := checkInfo(key, value); err != nil {
		return err
	}
	return s.change(ctx, sel, func(tx *store.Tx, t Token) error {
		tx.Put(`INSERT INTO token_info (serial, key, value) VALUES ($1, $2, $3)
			ON CONFLICT (serial, key) DO UPDATE SET value = excluded.value`, t.Serial, key, value)
		return nil
	})
}

// DeleteInfo removes a free property, if there is one of this name.
func (s *Service) DeleteInfo(ctx context.Context, sel Selection, key string) error {
	if err := checkInfo(key, ""); err != nil {
		return err
	}
	return s.change(ctx, sel, func(tx *store.Tx, t Token) error {
		tx.Put(`DELETE FROM token_info WHERE serial = $1 AND key = $2`, t.Serial, key)
		return nil
	})
}
