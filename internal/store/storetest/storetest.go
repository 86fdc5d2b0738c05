// Package storetest opens databases for tests, and moves the time that they go by.
package storetest

import (
	"path/filepath"
	"testing"
	"time"

	"otpost/internal/store"
)

// Open returns a fresh database in a temporary folder, with the clock now (nil: time.Now). The end of the test closes it.
func Open(t testing.TB, now func() time.Time) *store.DB {
	t.Helper()
	return OpenAt(t, filepath.Join(t.TempDir(), "otpost.db"), now)
}

// OpenAt is Open for a file that is there or is made.
func OpenAt(t testing.TB, path string, now func() time.Time) *store.DB {
	t.Helper()
	db, err := store.Open(t.Context(), store.Options{Path: path, Migrate: true, Now: now, Prepared: Record()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}
