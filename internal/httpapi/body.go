package httpapi

import (
	"io"

	"otpost/internal/fault"
)

const (
	smallBody = 64 << 10 // bytes of a body that every request may have in memory
	mostLarge = 16       // requests with larger ones at once: MaxBody of each, and as much again while it is decoded
)

// body is a request's body, which takes a place before more than smallBody of it is read. It
// belongs to the request's goroutine.
type body struct {
	io.ReadCloser
	places chan struct{}
	read   int
	large  bool // it has a place
}

// Read implements io.Reader. Without a place it returns fault 5003.
func (b *body) Read(p []byte) (int, error) {
	if !b.large && b.read >= smallBody {
		select {
		case b.places <- struct{}{}:
			b.large = true
		default:
			return 0, fault.New(fault.Busy, "busy_large", "The server is busy with other large requests. Please try again.")
		}
	}
	if !b.large {
		p = p[:min(len(p), smallBody-b.read)]
	}
	n, err := b.ReadCloser.Read(p)
	b.read += n
	return n, err
}

// release gives the place back. It is called when the request is answered, because its parameters live until then.
func (b *body) release() {
	if b.large {
		<-b.places
	}
}
