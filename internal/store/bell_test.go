package store

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
)

func TestLostEventsWakeAndDoNotStopTheBell(t *testing.T) {
	t.Parallel()
	b, err := newBell(filepath.Join(t.TempDir(), "wake"))
	if err != nil {
		t.Fatal(err)
	}
	wake, end := b.subscribe()
	defer end()
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
	b, err := newBell(filepath.Join(t.TempDir(), "wake"))
	if err != nil {
		t.Fatal(err)
	}
	wake, end := b.subscribe()
	defer end()
	for range 100 {
		b.ring()
		<-wake
	}
	select {
	case <-wake:
		t.Error("the last ring has woken twice")
	case <-time.After(50 * time.Millisecond): // a second wake-up is there by then, or the test passes without having seen it
	}
	if err := b.close(); err != nil {
		t.Fatal(err)
	}
}
