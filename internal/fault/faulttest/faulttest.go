// Package faulttest checks in tests that a fault says what it is about.
package faulttest

import (
	"errors"
	"regexp"
	"testing"

	"otpost/internal/fault"
)

// named finds the parameter that a sentence of fault 905 names.
var named = regexp.MustCompile(`^ERR905: (?:Parameter |Missing parameter: )([\w.]+)`) //nolint:gochecknoglobals // a constant

// Check fails the test when err is a fault without a key, or with another field than the parameter that its
// sentence names.
func Check(t *testing.T, err error) {
	t.Helper()
	var f *fault.Error
	if !errors.As(err, &f) {
		return
	}
	if f.Key == "" {
		t.Errorf("%v has no key", err)
	}
	if m := named.FindStringSubmatch(f.Message); m != nil && f.Field != m[1] {
		t.Errorf("%v: the field is %q, want %q", err, f.Field, m[1])
	}
}
