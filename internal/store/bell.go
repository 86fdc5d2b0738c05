package store

import (
	"fmt"
	"os"
	"sync"

	"github.com/fsnotify/fsnotify"
)

// bell wakes the subscribers of all processes after a commit by a byte written to a file that each of them watches,
// this one too. (An event on SQLite's own -wal file comes before the commit can be seen.)
type bell struct {
	path    string
	watcher *fsnotify.Watcher
	done    chan struct{}

	mu          sync.Mutex
	file        *os.File
	subscribers map[chan struct{}]struct{}
}

// newBell makes the wake file at path, if it is missing, and watches it.
func newBell(path string) (*bell, error) {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("watch the wake file: %w", err)
	}
	b := &bell{path: path, watcher: watcher, done: make(chan struct{}), subscribers: make(map[chan struct{}]struct{})}
	if b.file, err = b.open(); err != nil {
		watcher.Close() //nolint:errcheck // err is the one to tell
		return nil, err
	}
	go b.listen()
	return b, nil
}

// open opens the wake file and watches it.
func (b *bell) open() (*os.File, error) {
	file, err := os.OpenFile(b.path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the wake file: %w", translate(err))
	}
	if err := b.watcher.Add(b.path); err != nil {
		file.Close() //nolint:errcheck // err is the one to tell
		return nil, fmt.Errorf("watch the wake file: %w", err)
	}
	return file, nil
}

// renew makes a wake file that was deleted or replaced again, so that all processes use the same
// one, and wakes the subscribers.
func (b *bell) renew() error {
	b.mu.Lock()
	own := b.file
	b.mu.Unlock()
	if isFile(own, b.path) {
		return nil
	}
	b.watcher.Remove(b.path) //nolint:errcheck // the watch of a deleted file is gone already
	file, err := b.open()
	if err != nil {
		return err
	}
	b.mu.Lock()
	b.file = file
	b.mu.Unlock()
	own.Close() //nolint:errcheck // nothing is buffered
	b.wake()    // for what was missed
	return nil
}

// ring wakes the subscribers of all processes. When the write fails, it wakes those of this process; the
// others look each second anyway.
func (b *bell) ring() {
	b.mu.Lock()
	_, err := b.file.WriteAt([]byte{1}, 0)
	b.mu.Unlock()
	if err != nil {
		b.wake()
	}
}

// listen passes on what all processes ring, until close.
func (b *bell) listen() {
	defer close(b.done)
	for {
		select {
		case event, open := <-b.watcher.Events:
			if !open {
				return
			}
			if event.Has(fsnotify.Write) {
				b.wake()
			}
		case _, open := <-b.watcher.Errors: // events were lost; nobody reading it would stop the watcher
			if !open {
				return
			}
			b.wake()
		}
	}
}

func (b *bell) wake() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for c := range b.subscribers {
		select {
		case c <- struct{}{}:
		default: // it is awake already
		}
	}
}

func (b *bell) subscribe() (<-chan struct{}, func()) {
	c := make(chan struct{}, 1)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.subscribers[c] = struct{}{}
	return c, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.subscribers, c)
	}
}

func (b *bell) close() error {
	err := b.watcher.Close()
	<-b.done
	b.file.Close() //nolint:errcheck // nothing is buffered
	return err
}
