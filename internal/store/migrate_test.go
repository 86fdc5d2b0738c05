package store_test

import (
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/pressly/goose/v3"

	"otpost/internal/store"
)

// step is a database on its way from one release to the next.
type step struct {
	*sql.DB
	t *testing.T
}

func openStep(t *testing.T, path string) step {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return step{db, t}
}

// rows returns the cells that a statement gives, by row.
func (s step) rows(query string) (all [][]any) {
	s.t.Helper()
	rows, err := s.QueryContext(s.t.Context(), query)
	if err != nil {
		s.t.Fatalf("%s: %v", query, err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		s.t.Fatal(err)
	}
	for rows.Next() {
		cells, into := make([]any, len(columns)), make([]any, len(columns))
		for i := range cells {
			into[i] = &cells[i]
		}
		if err := rows.Scan(into...); err != nil {
			s.t.Fatal(err)
		}
		all = append(all, cells)
	}
	if err := rows.Err(); err != nil {
		s.t.Fatal(err)
	}
	return all
}

// columns returns the names of all columns, joined, by table of ours.
func (s step) columns() map[string]string {
	s.t.Helper()
	all := map[string]string{}
	for _, table := range s.rows(`SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name NOT LIKE 'goose_%'`) {
		name := fmt.Sprint(table[0])
		var columns []string
		for _, c := range s.rows(`SELECT name FROM pragma_table_info('` + name + `')`) {
			columns = append(columns, fmt.Sprint(c[0]))
		}
		all[name] = strings.Join(columns, ", ")
	}
	return all
}

// fill puts three rows into a table, one of them without what may be missing; instance has one row in its life.
func (s step) fill(table string) {
	s.t.Helper()
	n := 3
	if table == "instance" {
		n = 1
	}
	for i := 1; i <= n; i++ {
		var names, values []string
		for _, c := range s.rows(`SELECT name, type, "notnull" FROM pragma_table_info('` + table + `')`) {
			value := fmt.Sprint(i)
			switch {
			case c[2] == int64(0) && i == 3:
				value = "NULL"
			case c[1] == "TEXT":
				value = fmt.Sprintf("'%s of row %d'", c[0], i)
			case c[1] == "BLOB":
				value = fmt.Sprintf("x'%032x'", i)
			}
			names, values = append(names, fmt.Sprint(c[0])), append(values, value)
		}
		raw(s.t, s.path(), `INSERT INTO `+table+` (`+strings.Join(names, ", ")+`) VALUES (`+strings.Join(values, ", ")+`)`)
	}
}

func (s step) path() string {
	s.t.Helper()
	return fmt.Sprint(s.rows(`SELECT file FROM pragma_database_list WHERE name = 'main'`)[0][0])
}

// snapshot returns all rows of the tables, as far as these columns go.
func (s step) snapshot(columns map[string]string) map[string][][]any {
	s.t.Helper()
	all := map[string][][]any{}
	for table, names := range columns {
		all[table] = s.rows(`SELECT ` + names + ` FROM ` + table + ` ORDER BY 1, 2`)
	}
	return all
}

// before makes a database of the schema of an earlier step, with rows in each table.
func before(t *testing.T, version int64) (path string, old step) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "otpost.db")
	old = openStep(t, path)
	provider, err := goose.NewProvider(goose.DialectSQLite3, old.DB, os.DirFS("migrations/sqlite"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := provider.UpTo(t.Context(), version); err != nil {
		t.Fatal(err)
	}
	for table := range old.columns() {
		old.fill(table)
	}
	return path, old
}

func TestEachStepKeepsTheRowsOfTheReleaseBefore(t *testing.T) {
	t.Parallel()
	steps, err := filepath.Glob("migrations/sqlite/*.sql")
	if err != nil || len(steps) < 2 {
		t.Fatalf("%d steps, %v", len(steps), err)
	}
	for version := range int64(len(steps) - 1) {
		t.Run(filepath.Base(steps[version+1]), func(t *testing.T) {
			t.Parallel()
			path, old := before(t, version+1)
			columns := old.columns()
			if version+1 < 8 {
				delete(columns, "auth_failure") // step 8 drops rows that strangers could make without end
			}
			delete(columns, "listener")                                                           // step 12 drops it
			columns["instance"] = strings.ReplaceAll(columns["instance"], ", oldest_program", "") // a step may raise it
			want := old.snapshot(columns)
			if err := old.Close(); err != nil {
				t.Fatal(err)
			}
			if _, err := store.Open(t.Context(), store.Options{Path: path}); err == nil || !strings.Contains(err.Error(), "otpost serve --migrate") {
				t.Errorf("without Migrate: %v", err)
			}
			opened(t, filepath.Dir(path))
			if diff := cmp.Diff(want, openStep(t, path).snapshot(columns)); diff != "" {
				t.Errorf("rows (-before +after):\n%s", diff)
			}
			opened(t, filepath.Dir(path)) // and once more, with nothing to do
		})
	}
}

// What an attempt of the first release did not know is nothing; a server has its first revision.
func TestRowsOfTheFirstReleaseGetTheirNewColumns(t *testing.T) {
	t.Parallel()
	path, old := before(t, 1)
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}
	opened(t, filepath.Dir(path))
	now := openStep(t, path)
	for query, want := range map[string]any{
		`SELECT DISTINCT diagnosis FROM attempt`: "", `SELECT DISTINCT revision FROM smtp_server`: int64(1),
	} {
		if got := now.rows(query); len(got) != 1 || got[0][0] != want {
			t.Errorf("%s: %v, want %v", query, got, want)
		}
	}
}

// A filter by realm would hide the messages of the first release, which did not keep theirs.
func TestMessagesOfTheFirstReleaseGetTheRealmOfTheirToken(t *testing.T) {
	t.Parallel()
	path, old := before(t, 1) // messages 1 to 3 of tokens 1 to 3
	for _, change := range []string{
		`DELETE FROM token WHERE id = 2`,
		`UPDATE token SET user_realm = '' WHERE id = 3`,
	} {
		raw(t, path, change)
	}
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}
	opened(t, filepath.Dir(path))
	want := [][]any{{"serial of row 1", "user_realm of row 1"}, {"serial of row 2", ""}, {"serial of row 3", ""}}
	if diff := cmp.Diff(want, openStep(t, path).rows(`SELECT serial, realm FROM delivery ORDER BY rowid`)); diff != "" {
		t.Errorf("serial, realm (-want +got):\n%s", diff)
	}
}

// A message that was made since, when its token had no owner, is not given to the realm of the owner that the token has now.
func TestMessagesWithoutARealmOfLaterReleasesKeepNone(t *testing.T) {
	t.Parallel()
	path, old := before(t, 4)
	raw(t, path, `UPDATE delivery SET realm = '', created_ms = `+fmt.Sprint(store.Millis(time.Now().Add(time.Hour))))
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}
	opened(t, filepath.Dir(path))
	if got := openStep(t, path).rows(`SELECT DISTINCT realm FROM delivery`); len(got) != 1 || got[0][0] != "" {
		t.Errorf("realms %v, want none", got)
	}
}

func TestNumbersGoOnBehindThoseOfTheReleaseBefore(t *testing.T) {
	t.Parallel()
	path, old := before(t, 10) // ids 1 to 3 in each table
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}
	db := opened(t, filepath.Dir(path))
	for _, series := range []string{"token", "realm", "resolver"} {
		var number int64
		err := db.Write(t.Context(), func(tx *store.Tx) (err error) {
			number, err = tx.Next(series)
			return err
		})
		if err != nil || number != 4 {
			t.Errorf("next %s: %d, %v; want 4", series, number, err)
		}
	}
}
