package store_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"otpost/internal/store"
)

var update = flag.Bool("update", false, "write testdata/schema.sql anew")

// raw runs statements on a database file without the store, as another program would.
func raw(t *testing.T, path string, statements ...string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, s := range statements {
		if _, err := db.ExecContext(context.Background(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

// contents reads all files of a folder.
func contents(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all[f.Name()] = b
	}
	return all
}

// refused checks that opening path fails with want (nil: any error) and these words, and that no file of its folder changes.
func refused(t *testing.T, o store.Options, want error, words string) {
	t.Helper()
	dir := filepath.Dir(o.Path)
	before := contents(t, dir)
	db, err := store.Open(t.Context(), o)
	if err == nil {
		db.Close() //nolint:errcheck // the test has failed
		t.Fatal("it was opened")
	}
	if want != nil && !errors.Is(err, want) || !strings.Contains(err.Error(), words) {
		t.Errorf("error %q, want %q with %q", err, want, words)
	}
	after := contents(t, dir)
	for name := range after {
		if old, known := before[name]; !known || !bytes.Equal(old, after[name]) {
			t.Errorf("file %s was written", name)
		}
	}
	if len(after) < len(before) {
		t.Error("files were removed")
	}
}

func TestDatabaseOfPrivacyIDEAIsNotTouched(t *testing.T) {
	t.Parallel()
	for _, tables := range [][]string{
		{"CREATE TABLE token (id INTEGER PRIMARY KEY, serial VARCHAR(40))", "CREATE TABLE tokeninfo (id INTEGER)", "CREATE TABLE pidea_audit (id INTEGER)", "INSERT INTO token VALUES (1, 'PIEM1')"},
		{"CREATE TABLE TokenRealm (id INTEGER)"},
		{"CREATE TABLE pidea_audit (id INTEGER)", "CREATE TABLE instance (id INTEGER)", "CREATE TABLE delivery (id INTEGER)"},
	} {
		path := filepath.Join(t.TempDir(), "privacyidea.sqlite")
		raw(t, path, tables...)
		refused(t, store.Options{Path: path, Migrate: true}, store.ErrForeign, "OTPOST_DATABASE_URI")
		refused(t, store.Options{Path: path}, store.ErrForeign, "OTPOST_DATABASE_URI")
	}
}

func TestForeignFileIsNotTouched(t *testing.T) {
	t.Parallel()
	other := filepath.Join(t.TempDir(), "other.db")
	raw(t, other, "CREATE TABLE customer (id INTEGER)")
	refused(t, store.Options{Path: other, Migrate: true}, store.ErrForeign, "not a database of otpost")
	text := filepath.Join(t.TempDir(), "notes.txt")
	if err := os.WriteFile(text, bytes.Repeat([]byte("not a database\n"), 100), 0o600); err != nil {
		t.Fatal(err)
	}
	refused(t, store.Options{Path: text, Migrate: true}, store.ErrForeign, "not a database of otpost")
}

func TestDatabaseIsMadeOnlyWhenAsked(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "otpost.db")
	refused(t, store.Options{Path: path}, nil, "otpost setup")
	if _, err := store.Open(t.Context(), store.Options{Path: filepath.Join(path, "none", "otpost.db"), Migrate: true}); err == nil || !strings.Contains(err.Error(), "folder") {
		t.Errorf("without a folder: %v", err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	refused(t, store.Options{Path: path}, store.ErrSchema, "otpost setup")
	if _, err := store.Open(t.Context(), store.Options{Path: filepath.Dir(path), Migrate: true}); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("a folder: %v", err)
	}
}

func TestDatabaseOfAnotherUserIsRefused(t *testing.T) {
	t.Parallel()
	path := "/etc/passwd" // root's, for those who are not root
	if os.Geteuid() == 0 {
		path = filepath.Join(t.TempDir(), "otpost.db")
		raw(t, path, "CREATE TABLE instance (id INTEGER)", "CREATE TABLE delivery (id INTEGER)")
		if err := os.Chown(path, 65534, 65534); err != nil {
			t.Fatal(err)
		}
		refused(t, store.Options{Path: path, Migrate: true}, nil, "belongs to uid 65534")
		return
	}
	if _, err := store.Open(t.Context(), store.Options{Path: path}); err == nil || !strings.Contains(err.Error(), "belongs to uid 0") {
		t.Fatal(err)
	}
}

func TestSchemaOfANewerProgramIsRefused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "otpost.db")
	open(t, path)
	raw(t, path, "UPDATE instance SET oldest_program = oldest_program + 1")
	if _, err := store.Open(t.Context(), store.Options{Path: path, Migrate: true}); !errors.Is(err, store.ErrSchema) || !strings.Contains(err.Error(), "newer otpost") {
		t.Fatal(err)
	}
}

// open opens the database of path and closes it again.
func open(t *testing.T, path string) store.Instance {
	t.Helper()
	db, err := store.Open(t.Context(), store.Options{Path: path, Migrate: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return db.Instance()
}

func TestInstanceStaysTheSame(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "otpost.db")
	first := open(t, path)
	if again := open(t, path); again != first || len(first.ID) != 16 || first.Host == "" {
		t.Fatalf("%+v, then %+v", first, again)
	}
}

func TestSetupThatWasKilledIsFinishedByTheNext(t *testing.T) {
	t.Parallel()
	begun := filepath.Join(t.TempDir(), "otpost.db")
	raw(t, begun, `CREATE TABLE goose_db_version (id INTEGER PRIMARY KEY AUTOINCREMENT, version_id INTEGER NOT NULL, is_applied INTEGER NOT NULL, tstamp TIMESTAMP DEFAULT (datetime('now')))`,
		`INSERT INTO goose_db_version (version_id, is_applied) VALUES (0, 1)`)
	open(t, begun)

	nameless := filepath.Join(t.TempDir(), "otpost.db")
	open(t, nameless)
	raw(t, nameless, `DELETE FROM instance`)
	if _, err := store.Open(t.Context(), store.Options{Path: nameless}); !errors.Is(err, store.ErrSchema) || !strings.Contains(err.Error(), "broken off") {
		t.Errorf("without --migrate: %v", err)
	}
	if open(t, nameless).ID == "" {
		t.Error("still nameless")
	}
}

// A fresh database has the schema of testdata/schema.sql, so that no step changes it unseen.
// After a deliberate change: go test ./internal/store -run Schema -update.
func TestFreshSchemaIsTheGoldenOne(t *testing.T) {
	t.Parallel()
	db := opened(t, t.TempDir())
	var got strings.Builder
	err := db.Read(t.Context(), func(r store.Reader) error {
		return r.Query(func(scan store.Scan) error {
			var text string
			if err := scan(&text); err != nil {
				return err
			}
			got.WriteString(text + ";\n\n")
			return nil
		}, `SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' AND name NOT LIKE 'goose_%' ORDER BY tbl_name, type DESC, name`)
	})
	if err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", "schema.sql")
	if *update {
		if err := os.WriteFile(golden, []byte(got.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("schema (-golden +fresh):\n%s", diff)
	}
}

func TestFullDatabaseLosesNothing(t *testing.T) {
	t.Parallel()
	db := opened(t, t.TempDir())
	var pages int
	err := db.Write(t.Context(), func(tx *store.Tx) error {
		put(tx, "before", "x")
		if err := tx.Get([]any{&pages}, `PRAGMA page_count`); err != nil {
			return err
		}
		return tx.Get([]any{&pages}, `PRAGMA max_page_count = 120`)
	})
	if err != nil || pages != 120 {
		t.Fatal(pages, err)
	}
	fillUp(t, db)
}

// fillUp writes until the database is full, and checks that it then refuses, loses nothing, and goes on when there is room.
func fillUp(t *testing.T, db *store.DB) {
	t.Helper()
	big := strings.Repeat("x", 10_000)
	written := 0
	err := error(nil)
	for ; written < 10_000; written++ {
		err = db.Write(context.Background(), func(tx *store.Tx) error {
			put(tx, big[:written], "half")
			put(tx, "big"+big[:written], big)
			return nil
		})
		if err != nil {
			break
		}
	}
	if !errors.Is(err, store.ErrFull) {
		t.Fatalf("after %d rows: %v", written, err)
	}
	if value(t, db, big[:written]) != "" {
		t.Error("half-written")
	}
	for i := range written {
		if value(t, db, "big"+big[:i]) == "" {
			t.Fatalf("row %d is lost", i)
		}
	}
	err = db.Write(context.Background(), func(tx *store.Tx) error { tx.Put(`DELETE FROM setting WHERE value <> 'x'`); return nil })
	if err != nil {
		t.Fatalf("making room: %v", err)
	}
	if err := db.Write(context.Background(), func(tx *store.Tx) error { put(tx, "again", "x"); return nil }); err != nil {
		t.Fatalf("after making room: %v", err)
	}
}
