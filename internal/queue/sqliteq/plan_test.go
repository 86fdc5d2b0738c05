package sqliteq_test

import (
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"otpost/internal/queue"
	"otpost/internal/queue/sqliteq"
	"otpost/internal/store"
)

// plan returns the steps of a statement's plan that touch the table of jobs.
func plan(t *testing.T, db *store.DB, query string, args ...any) []string {
	t.Helper()
	var steps []string
	err := db.Read(t.Context(), func(r store.Reader) error {
		return r.Query(func(scan store.Scan) error {
			var id, parent, unused int
			var step string
			err := scan(&id, &parent, &unused, &step)
			if strings.Contains(step, " job") || strings.Contains(step, " j ") {
				steps = append(steps, step)
			}
			return err
		}, "EXPLAIN QUERY PLAN "+query, args...)
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(steps) == 0 {
		t.Fatalf("no step touches a job: %s", query)
	}
	return steps
}

// filled opens a queue with n jobs in each of some kinds, lanes and states.
func filled(t *testing.T, n int) (*store.DB, *sqliteq.Driver) {
	t.Helper()
	db, d := opened(t, t.TempDir(), nil)
	now := store.Millis(time.Now())
	for _, state := range []int{0, 2} {
		for _, of := range []string{kind, "test.unknown"} {
			for _, lane := range []string{"", "full"} {
				change(t, db, `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1)
					INSERT INTO job (id, queue, kind, lane, priority, state, run_at_ms, not_after_ms, token, verdict,
						crashes, reason, created_ms)
					SELECT randomblob(16), 'test', $2, $3, 0, $4, $5 + i, $5 + i + 1000000, 1, 0, 0, '', $5 FROM n`,
					n, of, lane, state, now+int64(state)*1_000_000)
			}
		}
	}
	return db, d
}

// A claim, a wait and a list of jobs search an index, whatever the queue holds.
func TestHotStatementsSearchAnIndex(t *testing.T) {
	t.Parallel()
	db, _ := filled(t, 1000)
	change(t, db, `ANALYZE`)
	for name, query := range sqliteq.HotQueries() {
		args := []any{"test", `["a"]`, `[]`, 1, 1, 1, `[0]`, []byte{1}, 1, 1}
		for len(args) > 0 && !regexp.MustCompile(`\$`+strconv.Itoa(len(args))+`\b`).MatchString(query) {
			args = args[:len(args)-1]
		}
		for _, step := range plan(t, db, query, args...) {
			if !strings.HasPrefix(step, "SEARCH ") && step != "SCAN job USING INDEX job_leased" &&
				step != "SCAN job USING COVERING INDEX job_leased" {
				t.Errorf("%s: %s", name, step)
			}
		}
	}
}

// What a claim costs does not grow with jobs that it does not want. The least of many times is
// compared, for the machine may be busy.
func TestClaimCostsTheSameBesideOtherKindsLanesAndStaleJobs(t *testing.T) {
	t.Parallel()
	cost := func(n int) time.Duration {
		db, d := filled(t, n)
		old := store.Millis(time.Now().Add(-time.Hour))
		change(t, db, `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1)
			INSERT INTO job (id, queue, kind, lane, priority, state, run_at_ms, not_after_ms, token, verdict,
				crashes, reason, created_ms)
			SELECT randomblob(16), 'test', $2, 'stale', 0, 0, $3 + i, $3 + i, 1, 0, 0, '', $3 FROM n`, n, kind, old)
		w := register(t, d)
		least := time.Hour
		for range 20 {
			j := job()
			j.Lane = "stale"
			if err := d.Enqueue(t.Context(), j); err != nil {
				t.Fatal(err)
			}
			begun := time.Now()
			got, err := d.Claim(t.Context(), queue.ClaimRequest{Worker: w, Most: 1, Kinds: []string{kind},
				Full: []string{"", "full"}})
			least = min(least, time.Since(begun))
			if err != nil || len(got) != 1 {
				t.Fatal(got, err)
			}
			report(t, d, w, queue.Result{ID: got[0].ID, Token: got[0].Token})
		}
		return least
	}
	few, many := cost(600), cost(10_000)
	t.Logf("a claim beside 600 jobs of each sort takes %s, beside 10,000 %s", few, many)
	if many > 8*few {
		t.Error("a claim reads jobs that it does not want")
	}
}
