package storetest

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"otpost/internal/store"
)

// template returns the file of an empty database whose schema is up to date. The migrations need more processor
// time than most tests, so that they run once in a test program.
var template = sync.OnceValues(func() ([]byte, error) {
	folder, err := os.MkdirTemp("", "otpost-template-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(folder) //nolint:errcheck // a temporary folder
	path := filepath.Join(folder, "otpost.db")
	db, err := store.Open(context.Background(), store.Options{Path: path, Migrate: true})
	if err != nil {
		return nil, err
	}
	if err := db.Close(); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
})

// Create writes an empty database whose schema is up to date to path. A file that exists stays as it is. All
// databases of a test program are copies of one, and have the same instance.
func Create(t testing.TB, path string) {
	t.Helper()
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return
	}
	file, err := template()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
}
