package store

import (
	"path/filepath"
	"testing"

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
