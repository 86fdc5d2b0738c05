package store

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
)

// subscribed returns a new bell and what wakes its subscriber.
func subscribed(t *testing.T) (b *bell, wake <-chan struct{}) {
	t.Helper()
	b, err := newBell(filepath.Join(t.TempDir(), "wake"))
	if err != nil {
		t.Fatal(err)
	}
	wake, end := b.subscribe()
	t.Cleanup(end)
	return b, wake
}

func TestLostEventsWakeAndDoNotStopTheBell(t *testing.T) {
	t.Parallel()
	b, wake := subscribed(t)
	for range 3 {
		b.watcher.Errors <- fsnotify.ErrEventOverflow
		<-wake
	}
	if err := b.close(); err != nil {
		t.Fatal(err)
	}
}

func TestRingWakesItsOwnProcessOnce(t *testing.T) {
	t.Parallel()
	b, wake := subscribed(t)
	for range 100 {
		b.ring()
		<-wake
	}
	select {
	case <-wake:
		t.Error("the last ring has woken twice")
	// a second wake-up is there by then, or the test passes without having seen it
	case <-time.After(50 * time.Millisecond):
	}
	if err := b.close(); err != nil {
		t.Fatal(err)
	}
}
