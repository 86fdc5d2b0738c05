package store_test

import (
	"os"
	"strings"
	"testing"

	"otpost/internal/store"
)

// TestLockFileThatCannotBeOpenedIsTriedAgain puts a folder in the place of the writers' lock for some writes.
func TestLockFileThatCannotBeOpenedIsTriedAgain(t *testing.T) {
	t.Parallel()
	db := opened(t, t.TempDir())
	lock := db.Path() + "-writer"
	write := func(key string) error {
		return db.Write(t.Context(), func(tx *store.Tx) error { put(tx, key, "x"); return nil })
	}
	if err := write("before"); err != nil {
		t.Fatal(err)
	}
	remove(t, lock)
	if err := os.Mkdir(lock, 0o700); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := write("while"); err == nil || !strings.Contains(err.Error(), lock+": is a directory") {
			t.Errorf("with a folder in its place: %v", err)
		}
	}
	if err := os.Remove(lock); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"after", "again"} {
		if err := write(key); err != nil || value(t, db, key) != "x" {
			t.Errorf("with its place free: %v", err)
		}
	}
}
