// Package plans asks SQLite for the plan of every statement that the program can send.
//
// The tests of the packages write down what they run (storetest.Record). This one wants each statement of the
// source among them, and for each the plan on a database whose tables are filled: a scan or a sort of a table that
// grows needs an entry in exceptions.
package plans

import (
	"bufio"
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	_ "modernc.org/sqlite"

	"otpost/internal/store"
	"otpost/internal/store/storetest"
	"otpost/test/e2e"
)

// rowsEach is how many rows each table gets. The plan does not depend on it: nothing runs
// ANALYZE, here as in production.
const rowsEach = 2000

// small are the tables that stay short, with the reason.
var small = map[string]string{
	"goose_db_version": "a row for each step of the schema",
	"instance":         "one row",
	"lease":            "a row for each task that one process does at a time",
	"queue_worker":     "a row for each running worker",
	"setting":          "settings have fixed names",
	"resolver":         "made by administrators",
	"realm":            "made by administrators",
	"realm_resolver":   "made by administrators",
	"administrator":    "made on the command line",
	"smtp_server":      "made by administrators",
}

// recorded returns the statements that the tests have run.
func recorded(t *testing.T) []string {
	t.Helper()
	folder := os.Getenv(storetest.StatementsIn)
	if folder == "" {
		e2e.Missing(t, storetest.StatementsIn+" (scripts/test sets it before it runs the tests of the packages)")
	}
	names, err := filepath.Glob(filepath.Join(folder, "*"))
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for _, name := range names {
		file, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(file)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			var text string
			if err := json.Unmarshal(lines.Bytes(), &text); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			seen[text] = true
		}
		if err := lines.Err(); err != nil {
			t.Fatal(err)
		}
		file.Close() //nolint:errcheck // it was read
	}
	if len(seen) == 0 {
		t.Fatalf("%s is empty: the tests of the packages have not run", folder)
	}
	all := make([]string, 0, len(seen))
	for text := range seen {
		all = append(all, text)
	}
	slices.Sort(all)
	return all
}

// filled opens a database with rowsEach rows in each table.
func filled(t *testing.T) *sql.DB {
	t.Helper()
	path := filepath.Join(t.TempDir(), "otpost.db")
	ours, err := store.Open(t.Context(), store.Options{Path: path, Migrate: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := ours.Close(); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { db.Close() }) //nolint:errcheck // nothing is to be kept
	for table, columns := range tables(t, db) {
		if small[table] != "" {
			continue
		}
		values := make([]string, len(columns))
		for i, c := range columns {
			values[i] = "i"
			switch c.kind {
			case "BLOB":
				values[i] = fmt.Sprintf("CAST(printf('%%016d', i + %d) AS BLOB)", i)
			case "TEXT":
				values[i] = fmt.Sprintf("'%s ' || i", c.name)
			}
		}
		fill := fmt.Sprintf(`WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < %d)
			INSERT INTO %s SELECT %s FROM n`, rowsEach, table, strings.Join(values, ", "))
		if _, err := db.ExecContext(t.Context(), fill); err != nil {
			t.Fatalf("fill %s: %v", table, err)
		}
	}
	return db
}

type column struct{ name, kind string }

// tables returns the columns of all tables, in their order.
func tables(t *testing.T, db *sql.DB) map[string][]column {
	t.Helper()
	rows, err := db.QueryContext(t.Context(),
		`SELECT m.name, c.name, c.type FROM sqlite_master m, pragma_table_info(m.name) c
		WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%' ORDER BY m.name, c.cid`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	all := make(map[string][]column)
	for rows.Next() {
		var table string
		var c column
		if err := rows.Scan(&table, &c.name, &c.kind); err != nil {
			t.Fatal(err)
		}
		all[table] = append(all[table], c)
	}
	if err := rows.Err(); err != nil || len(all) == 0 {
		t.Fatalf("%d tables, %v", len(all), err)
	}
	return all
}

var parameter = regexp.MustCompile(`\$(\d+)`)

// plan returns the lines of a statement's plan.
func plan(t *testing.T, db *sql.DB, text string) []string {
	t.Helper()
	args := []any{}
	for _, m := range parameter.FindAllStringSubmatch(text, -1) {
		n, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		for len(args) < n {
			args = append(args, nil)
		}
	}
	rows, err := db.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+text, args...)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	defer rows.Close()
	var lines []string
	for rows.Next() {
		var id, parent, unused int
		var line string
		if err := rows.Scan(&id, &parent, &unused, &line); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, line)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return lines
}

var scanned = regexp.MustCompile(`^SCAN (\S+)`)

// costly returns the lines of a plan that grow with a table: scans of one that is not small, and
// sorts beside any table that grows.
func costly(lines []string, text string, all map[string][]column) []string {
	var found []string
	grows := false
	for _, line := range lines {
		words := strings.Fields(line)
		if len(words) < 2 || words[0] != "SCAN" && words[0] != "SEARCH" {
			continue
		}
		if table := resolve(words[1], text, all); table != "" && small[table] == "" {
			grows = true
			if scanned.MatchString(line) {
				found = append(found, line)
			}
		}
	}
	for _, line := range lines {
		if grows && strings.HasPrefix(line, "USE TEMP B-TREE") {
			found = append(found, line)
		}
	}
	return found
}

// resolve returns the table that a name of a plan means; "" for a subquery or constants.
func resolve(name, text string, all map[string][]column) string {
	if all[name] != nil {
		return name
	}
	for table := range all {
		if regexp.MustCompile(`\b` + table + `\s+(?:AS\s+)?` + regexp.QuoteMeta(name) + `\b`).MatchString(text) {
			return table
		}
	}
	return ""
}

// statement reports whether a text has a plan: transactions and settings of a connection have none.
func statement(text string) bool {
	first, _, _ := strings.Cut(strings.TrimSpace(text), " ")
	return slices.Contains([]string{"SELECT", "INSERT", "UPDATE", "DELETE", "WITH"},
		strings.ToUpper(strings.Fields(first + " ")[0]))
}

var space = regexp.MustCompile(`\s+`)

func TestNoStatementReadsAWholeTableThatGrows(t *testing.T) {
	t.Parallel()
	texts := recorded(t)
	db := filled(t)
	all := tables(t, db)
	used := make(map[int]bool)
	asked := 0
	for _, text := range texts {
		if !statement(text) {
			continue
		}
		asked++
		text = space.ReplaceAllString(text, " ")
		for _, line := range costly(plan(t, db, text), text, all) {
			excepted := false
			for i, e := range exceptions {
				if e.text.MatchString(text) && strings.HasPrefix(line, e.plan) {
					used[i], excepted = true, true
				}
			}
			if !excepted {
				t.Errorf("%s\n\t%s", line, text)
			}
		}
	}
	for i, e := range exceptions {
		if !used[i] {
			t.Errorf("exception %q of %q is needed no more: remove it", e.plan, e.text)
		}
	}
	t.Logf("%d statements, %d exceptions", asked, len(exceptions))
}
