package store

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
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

func TestWakeFileThatCannotBeOpenedIsTriedAgain(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "wake")
	b, err := newBell(path)
	if err != nil {
		t.Fatal(err)
	}
	defer b.close() //nolint:errcheck // nothing is written
	if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o700)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := b.renew(); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("with a folder in its place: %v", err)
		}
		b.ring() // it wakes this process at least
	}
	if err := errors.Join(os.Remove(path), b.renew()); err != nil {
		t.Fatal(err)
	}
	wake, end := b.subscribe()
	defer end()
	b.ring()
	select {
	case <-wake:
	case <-time.After(time.Minute):
		t.Error("the wake file that was made again wakes no subscriber")
	}
}
