package store_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"otpost/internal/store"
)

func TestListReadsWhatCanBeReadAndLogsDamageOnce(t *testing.T) {
	t.Parallel()
	db, log := logged(t, 0)
	err := db.Write(t.Context(), func(tx *store.Tx) error {
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

// A single row that is damaged is told apart from a fault of the database, and logged by its key, without the value.
func TestGetTellsADamagedRowAndLogsItOnce(t *testing.T) {
	t.Parallel()
	db, log := logged(t, 0)
	get := func(r store.Reader, name string) (holder string, term int64, err error) {
		err = r.Get([]any{&term, store.Checked{To: &holder, Check: func(text string) bool { return text == "holder" }}},
			`SELECT term, holder FROM lease WHERE name = $1`, name)
		return holder, term, err
	}
	check := func(r store.Reader) error {
		holder, _, err := get(r, "number")
		if !errors.Is(err, store.ErrDamaged) || holder != "holder" || strings.Contains(err.Error(), "hidden") {
			t.Errorf("a wrong type: %q, %v", holder, err)
		}
		if _, term, err := get(r, "text"); !errors.Is(err, store.ErrDamaged) || term != 2 {
			t.Errorf("a wrong text: %d, %v", term, err)
		}
		if _, _, err := get(r, "missing"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("no row: %v", err)
		}
		if _, term, err := get(r, "whole"); err != nil || term != 3 {
			t.Errorf("a row that is whole: %d, %v", term, err)
		}
		return nil
	}
	err := db.Write(t.Context(), func(tx *store.Tx) error {
		for _, one := range [][]any{{"number", "holder", "hidden value"}, {"text", "hidden", 2}, {"whole", "holder", 3}} {
			tx.Put(`INSERT INTO lease (name, holder, term, expires_ms) VALUES ($1, $2, $3, 0)`, one...)
		}
		return check(tx)
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Read(t.Context(), check); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`row="\"number\"" columns=[term]`, `row="\"text\"" columns=[holder]`} {
		if strings.Count(log.String(), want) != 1 {
			t.Errorf("the log does not have %s once:\n%s", want, log.String())
		}
	}
	if strings.Contains(log.String(), "hidden") {
		t.Errorf("the log shows a value:\n%s", log.String())
	}
}
