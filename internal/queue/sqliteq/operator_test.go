package sqliteq_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

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
	slices.Sort(plan)
	want := []string{
		"SCAN job USING INDEX job_leased", // these are few, and their queues are read
		"SEARCH job USING COVERING INDEX job_dead (queue=?)",
		"SEARCH job USING COVERING INDEX job_due (queue=?)",
		"SEARCH job USING COVERING INDEX job_due (queue=?)",
		"SEARCH job USING COVERING INDEX job_ready (queue=? AND priority=?)",
		"SEARCH job USING COVERING INDEX job_ready (queue=? AND priority=?)",
	}
	if diff := cmp.Diff(want, plan); diff != "" {
		t.Errorf("plan (-want +got):\n%s", diff)
	}
}
