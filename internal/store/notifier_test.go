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

// subscribed returns a new notifier and what wakes its subscriber.
func subscribed(t *testing.T) (n *notifier, wake <-chan struct{}) {
	t.Helper()
	n, err := newNotifier(filepath.Join(t.TempDir(), "wake"))
	if err != nil {
		t.Fatal(err)
	}
	wake, end := n.subscribe()
	t.Cleanup(end)
	return n, wake
}

func TestLostEventsWakeAndDoNotStopTheNotifier(t *testing.T) {
	t.Parallel()
	n, wake := subscribed(t)
	for range 3 {
		n.watcher.Errors <- fsnotify.ErrEventOverflow
		<-wake
	}
	if err := n.close(); err != nil {
		t.Fatal(err)
	}
}

func TestNotifyWakesItsOwnProcessOnce(t *testing.T) {
	t.Parallel()
	n, wake := subscribed(t)
	for range 100 {
		n.notify()
		<-wake
	}
	select {
	case <-wake:
		t.Error("the last notification has woken twice")
	// a second wake-up is there by then, or the test passes without having seen it
	case <-time.After(50 * time.Millisecond):
	}
	if err := n.close(); err != nil {
		t.Fatal(err)
	}
}

func TestWakeFileThatCannotBeOpenedIsTriedAgain(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "wake")
	n, err := newNotifier(path)
	if err != nil {
		t.Fatal(err)
	}
	defer n.close() //nolint:errcheck // nothing is written
	if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o700)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := n.renew(); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("with a folder in its place: %v", err)
		}
		n.notify() // it wakes this process at least
	}
	if err := errors.Join(os.Remove(path), n.renew()); err != nil {
		t.Fatal(err)
	}
	wake, end := n.subscribe()
	defer end()
	n.notify()
	select {
	case <-wake:
	case <-time.After(time.Minute):
		t.Error("the wake file that was made again wakes no subscriber")
	}
}
