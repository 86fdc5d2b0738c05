package store

import (
	"fmt"
	"os"
	"sync"

	"github.com/fsnotify/fsnotify"
)

// notifier wakes the subscribers of all processes after a commit: it writes a byte to a file that each process
// watches. (An event on SQLite's own -wal file comes before the commit is visible.)
type notifier struct {
	path    string
	watcher *fsnotify.Watcher
	done    chan struct{}

	mu          sync.Mutex
	file        *os.File
	subscribers map[chan struct{}]struct{}
}

// newNotifier makes the wake file at path, if it is missing, and watches it.
func newNotifier(path string) (*notifier, error) {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("watch the wake file: %w", err)
	}
	n := &notifier{path: path, watcher: watcher, done: make(chan struct{}), subscribers: make(map[chan struct{}]struct{})}
	if n.file, err = n.open(); err != nil {
		watcher.Close() //nolint:errcheck // err is returned
		return nil, err
	}
	go n.listen()
	return n, nil
}

// open opens the wake file and watches it.
func (n *notifier) open() (*os.File, error) {
	file, err := os.OpenFile(n.path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the wake file: %w", translate(err))
	}
	if err := n.watcher.Add(n.path); err != nil {
		file.Close() //nolint:errcheck // err is returned
		return nil, fmt.Errorf("watch the wake file: %w", err)
	}
	return file, nil
}

// renew makes the wake file again after it was deleted or replaced, so that all processes use the same file. It then
// wakes the subscribers.
func (n *notifier) renew() error {
	n.mu.Lock()
	own := n.file
	n.mu.Unlock()
	if isFile(own, n.path) {
		return nil
	}
	n.watcher.Remove(n.path) //nolint:errcheck // the watch of a deleted file is gone already
	file, err := n.open()
	if err != nil {
		return err
	}
	n.mu.Lock()
	n.file = file
	n.mu.Unlock()
	own.Close() //nolint:errcheck // nothing is buffered
	n.wake()    // for the commits in between
	return nil
}

// notify wakes the subscribers of all processes. When the write fails, it wakes the subscribers of this process; the
// other processes look each second anyway.
func (n *notifier) notify() {
	n.mu.Lock()
	_, err := n.file.WriteAt([]byte{1}, 0)
	n.mu.Unlock()
	if err != nil {
		n.wake()
	}
}

// listen wakes the subscribers at each write to the file, until close.
func (n *notifier) listen() {
	defer close(n.done)
	for {
		select {
		case event, open := <-n.watcher.Events:
			if !open {
				return
			}
			if event.Has(fsnotify.Write) {
				n.wake()
			}
		case _, open := <-n.watcher.Errors: // events were lost; an error that is not read stops the watcher
			if !open {
				return
			}
			n.wake()
		}
	}
}

func (n *notifier) wake() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for c := range n.subscribers {
		select {
		case c <- struct{}{}:
		default: // its wake-up is pending already
		}
	}
}

func (n *notifier) subscribe() (<-chan struct{}, func()) {
	c := make(chan struct{}, 1)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.subscribers[c] = struct{}{}
	return c, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.subscribers, c)
	}
}

func (n *notifier) close() error {
	err := n.watcher.Close()
	<-n.done
	n.file.Close() //nolint:errcheck // nothing is buffered
	return err
}
