package storetest

import (
	"sync/atomic"
	"testing"
	"time"

	"otpost/internal/store"
)

// Work counts what a database does. It is safe for concurrent use.
type Work struct{ snapshots, light, durable atomic.Int64 }

// Take returns the snapshots and the commits since the call before, and counts from 0 again.
func (w *Work) Take() (snapshots, light, durable int64) {
	return w.snapshots.Swap(0), w.light.Swap(0), w.durable.Swap(0)
}

// OpenCounted is OpenAt with the count of what the database does.
func OpenCounted(t testing.TB, path string, now func() time.Time) (*store.DB, *Work) {
	t.Helper()
	w := &Work{}
	return open(t, store.Options{
		Path:     path,
		Now:      now,
		Snapshot: func() { w.snapshots.Add(1) },
		Committed: func(durable bool) {
			if durable {
				w.durable.Add(1)
			} else {
				w.light.Add(1)
			}
		},
	}), w
}
