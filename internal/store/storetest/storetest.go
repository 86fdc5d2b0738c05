// Package storetest opens databases for tests, and moves the time that they go by.
package storetest

import (
	"path/filepath"
	"testing"
	"time"

	"otpost/internal/store"
)

// Open returns a fresh database in a temporary folder, with the clock now (nil: time.Now). The end of the test closes
// it. Each closure of a transaction runs twice (store.Options.Twice), except in benchmarks.
func Open(t testing.TB, now func() time.Time) *store.DB {
	t.Helper()
	return OpenAt(t, filepath.Join(t.TempDir(), "otpost.db"), now)
}

// OpenAt is Open for a file that is there or is made.
func OpenAt(t testing.TB, path string, now func() time.Time) *store.DB {
	t.Helper()
	return open(t, store.Options{Path: path, Now: now})
}

func open(t testing.TB, o store.Options) *store.DB {
	t.Helper()
	Create(t, o.Path)
	_, measures := t.(*testing.B)
	o.Migrate, o.Prepared, o.Twice = true, Record(), !measures
	db, err := store.Open(t.Context(), o)
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
