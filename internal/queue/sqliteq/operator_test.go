package sqliteq_test

import (
	"strings"
	"testing"
	"time"

	"otpost/internal/queue/sqliteq"
)

// A status that read jobs would read all of them.
func TestStatusReadsIndexesAlone(t *testing.T) {
	t.Parallel()
	db, _ := opened(t, t.TempDir(), time.Now)
	for _, query := range sqliteq.StatusQueries() {
		for _, step := range plan(t, db, query, "test", 0) {
			// Leased jobs are few, and their queues are read.
			if !strings.HasPrefix(step, "SEARCH job USING COVERING INDEX job_") && step != "SCAN job USING INDEX job_leased" {
				t.Errorf("step %q", step)
			}
		}
	}
}
