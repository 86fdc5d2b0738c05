package store

import (
	"database/sql"
	"errors"
	"path/filepath"
	"testing"
)

func TestDatabaseThatCannotBeOpenedIsNotCalledReadOnly(t *testing.T) {
	t.Parallel()
	db, err := sql.Open("sqlite", dsn(filepath.Join(t.TempDir(), "missing", "otpost.db"), "synchronous(FULL)"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := translate(db.PingContext(t.Context())); !errors.Is(err, errCannotOpen) || errors.Is(err, ErrReadOnly) {
		t.Errorf("a file that cannot be opened: %v", err)
	}
}
