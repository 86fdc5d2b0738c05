package store

import (
	"fmt"
	"os"
	"sync"

	"github.com/fsnotify/fsnotify"
)

// bell wakes whoever waits for a commit, in this process by a channel, in others by a byte written to a file that they watch.
// (An event on SQLite's own -wal file comes before the commit can be seen.)
type bell struct {
	file    *os.File
	watcher *fsnotify.Watcher
	done    chan struct{}

	mu          sync.Mutex
	subscribers map[chan struct{}]struct{}
}

// newBell makes the wake file at path, if it is missing, and watches it.
func newBell(path string) (*bell, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the wake file: %w", translate(err))
	}
	watcher, err := fsnotify.NewWatcher()
	if err == nil {
		err = watcher.Add(path)
	}
	if err != nil {
		file.Close() //nolint:errcheck // err is the one to tell
		return nil, fmt.Errorf("watch the wake file: %w", err)
	}
	b := &bell{file: file, watcher: watcher, done: make(chan struct{}), subscribers: make(map[chan struct{}]struct{})}
	go b.listen()
	return b, nil
}

// ring wakes the subscribers of all processes. A failed write costs the others their wake-up; they look each second anyway.
func (b *bell) ring() {
	b.wake()
	b.file.WriteAt([]byte{1}, 0) //nolint:errcheck // see above
}

// listen passes on what other processes ring, until close.
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
