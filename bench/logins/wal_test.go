package logins

import (
	"encoding/binary"
	"os"
	"sync"
	"testing"
	"time"
)

// walFrame is a page and its header in the WAL (sqlite.org/fileformat.html, 4.2).
const walFrame = 4096 + 24

// walMeter counts what all processes write to the WAL of a database. It reads the header of the WAL's index each
// millisecond, so that it misses the last frames before SQLite starts the WAL anew: less than one part in a hundred.
type walMeter struct {
	stop chan struct{}
	done sync.WaitGroup
	sum  int
}

// startWAL starts to count.
func startWAL(t *testing.T, database string) *walMeter {
	t.Helper()
	index, err := os.Open(database + "-shm")
	if err != nil {
		t.Fatal(err)
	}
	m := &walMeter{stop: make(chan struct{})}
	m.done.Go(func() {
		defer index.Close()
		var known, salt uint32
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for begun := false; ; begun = true {
			header := make([]byte, 48)
			if _, err := index.ReadAt(header, 0); err == nil {
				frames, now := binary.NativeEndian.Uint32(header[16:]), binary.NativeEndian.Uint32(header[32:])
				switch {
				case !begun:
				case now == salt && frames >= known:
					m.sum += int(frames - known)
				default:
					m.sum += int(frames)
				}
				known, salt = frames, now
			}
			select {
			case <-m.stop:
				return
			case <-tick.C:
			}
		}
	})
	return m
}

// bytes ends the count and returns it.
func (m *walMeter) bytes() int {
	close(m.stop)
	m.done.Wait()
	return m.sum * walFrame
}
