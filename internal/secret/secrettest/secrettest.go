// Package secrettest makes keys for tests.
package secrettest

import (
	"testing"

	"otpost/internal/secret"
)

// Keys returns the keys of a fresh key file.
func Keys(t testing.TB) *secret.Keys {
	t.Helper()
	keys, err := secret.NewKeys(secret.NewKeyFile())
	if err != nil {
		t.Fatal(err)
	}
	return keys
}
