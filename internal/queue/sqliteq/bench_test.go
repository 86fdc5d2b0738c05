package sqliteq_test

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"

	"otpost/internal/queue"
	"otpost/internal/queue/sqliteq"
	"otpost/internal/store"
)

// BenchmarkStatus looks at a queue in which jobs wait.
func BenchmarkStatus(b *testing.B) {
	for _, waiting := range []int{1_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprintf("waiting=%d", waiting), func(b *testing.B) {
			db, err := store.Open(context.Background(), store.Options{Path: filepath.Join(b.TempDir(), "otpost.db"), Migrate: true})
			if err != nil {
				b.Fatal(err)
			}
			defer db.Close() //nolint:errcheck // nothing is measured any more
			d, err := sqliteq.Open(db, sqliteq.Options{Queue: "test", LockDir: b.TempDir()})
			if err != nil {
				b.Fatal(err)
			}
			defer d.Close() //nolint:errcheck // as above
			for n := waiting; n > 0; {
				var jobs []queue.Job
				for range min(n, 10_000) {
					jobs = append(jobs, job())
				}
				n -= len(jobs)
				if err := d.Enqueue(context.Background(), jobs...); err != nil {
					b.Fatal(err)
				}
			}
			for b.Loop() {
				s, err := d.Status(context.Background())
				if err != nil || s.Ready[queue.Urgent].Jobs != waiting {
					b.Fatal(s, err)
				}
			}
		})
	}
}
