package sqliteq_test

import (
	"strings"
	"testing"
	"time"

	"otpost/internal/queue/sqliteq"
	"otpost/internal/store"
)

// A status that read jobs would read all of them.
func TestStatusReadsIndexesAlone(t *testing.T) {
	t.Parallel()
	db, _ := opened(t, t.TempDir(), time.Now)
	var plan []string
	for _, query := range sqliteq.StatusQueries() {
		err := db.Read(t.Context(), func(r store.Reader) error {
			return r.Query(func(scan store.Scan) error {
				var id, parent, unused int
				var step string
				err := scan(&id, &parent, &unused, &step)
				if strings.Contains(step, " job") {
					plan = append(plan, step)
				}
				return err
			}, "EXPLAIN QUERY PLAN "+query, "test", 0)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(plan) < 4 {
		t.Errorf("plan: %v", plan)
	}
	for _, step := range plan {
		// Leased jobs are few, and their queues are read.
		if !strings.HasPrefix(step, "SEARCH job USING COVERING INDEX job_") && step != "SCAN job USING INDEX job_leased" {
			t.Errorf("step %q", step)
		}
	}
}
