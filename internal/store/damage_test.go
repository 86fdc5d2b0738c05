package store_test

import (
	"bytes"
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"otpost/internal/store"
)

func TestListReadsWhatCanBeReadAndLogsDamageOnce(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	db, err := store.Open(t.Context(), store.Options{
		Path: filepath.Join(t.TempDir(), "otpost.db"), Migrate: true, Log: slog.New(slog.NewTextHandler(&log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.Write(t.Context(), func(tx *store.Tx) error {
		for _, one := range [][]any{{"a", 1}, {"b", "hidden value"}, {"c", 3}} {
			tx.Put(`INSERT INTO lease (name, holder, term, expires_ms) VALUES ($1, 'holder', $2, 0)`, one...)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	list := func(r store.Reader, leave bool) (names []string, sum int64) {
		t.Helper()
		err := store.List(r, func(scan store.Scan) error {
			var name, holder string
			var term int64
			if err := scan(&name, &term, &holder); err != nil && (leave || !errors.Is(err, store.ErrDamaged)) {
				return err
			}
			if holder != "holder" {
				t.Errorf("%s: holder = %q", name, holder)
			}
			names, sum = append(names, name), sum+term
			return nil
		}, `SELECT name, term, holder FROM lease ORDER BY name`)
		if err != nil {
			t.Error(err)
		}
		return names, sum
	}
	check := func(r store.Reader) error {
		if names, sum := list(r, false); !slices.Equal(names, []string{"a", "b", "c"}) || sum != 4 {
			t.Errorf("with the damaged row: %v, %d", names, sum)
		}
		if names, _ := list(r, true); !slices.Equal(names, []string{"a", "c"}) {
			t.Errorf("without the damaged row: %v", names)
		}
		return nil
	}
	if err := db.Read(t.Context(), check); err != nil {
		t.Error(err)
	}
	if err := db.Write(t.Context(), func(tx *store.Tx) error { return check(tx) }); err != nil {
		t.Error(err)
	}
	told := log.String()
	if strings.Count(told, "cannot be read") != 1 || !strings.Contains(told, "table=lease") ||
		!strings.Contains(told, "term") ||
		strings.Contains(told, "hidden value") {
		t.Errorf("the log: %s", told)
	}
	own := errors.New("the reader's own")
	err = db.Read(t.Context(), func(r store.Reader) error {
		return store.List(r, func(store.Scan) error { return own }, `SELECT name FROM lease`)
	})
	if !errors.Is(err, own) {
		t.Errorf("another error of each: %v", err)
	}
}
