package app

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"
)

// Bounds of a LogBuffer: what a burst of lines fills while its reader pauses for some seconds.
const (
	mostLogLines = 4096
	mostLogBytes = 1 << 20
)

// LogFlushTime is how long the end of the process waits for a log that takes no lines.
const LogFlushTime = 2 * time.Second

var errLogBufferFull = errors.New("the log takes no lines, and its buffer is full")

// LogBuffer is an io.Writer that never waits: one goroutine passes the lines on to the log, in their order and at
// once while the log takes them. A pipe whose reader hangs, or a disk that hangs, holds only that goroutine. Beyond
// mostLogLines lines or mostLogBytes bytes further lines are dropped and counted; one line in their place says how
// many were lost. It is safe for concurrent use.
type LogBuffer struct {
	w    io.Writer
	mark func(slog.Record) []byte // format of the line that tells a loss; nil: the text alone

	mu      sync.Mutex
	changed *sync.Cond // lines or closed, for the goroutine
	lines   [][]byte
	bytes   int       // of lines
	lost    int       // since the last of lines
	begun   time.Time // of the write of the first of lines
	err     error
	closed  bool
	idle    chan struct{} // is closed while no line waits
	done    chan struct{} // is closed when the goroutine has ended
}

// NewLogBuffer returns a buffer before w. Close ends its goroutine.
func NewLogBuffer(w io.Writer) *LogBuffer {
	b := &LogBuffer{w: w, idle: make(chan struct{}), done: make(chan struct{})}
	b.changed = sync.NewCond(&b.mu)
	close(b.idle)
	go b.pass()
	return b
}

// PrintWithin writes text to w and waits for at most LogFlushTime. It is for the first and the last sentences of a
// process.
func PrintWithin(w io.Writer, text string) {
	b := NewLogBuffer(w)
	io.WriteString(b, text) //nolint:errcheck // the last sentence has no other place
	b.Close()               //nolint:errcheck // likewise
}

// Write implements io.Writer: one call, one line. An error means that the line is dropped.
func (b *LogBuffer) Write(line []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	full := len(b.lines) >= mostLogLines || len(b.lines) > 0 && b.bytes+len(line) > mostLogBytes
	if b.closed || full {
		b.lost++
		return 0, errLogBufferFull
	}
	b.tellLoss()
	b.add(bytes.Clone(line))
	return len(line), nil
}

// add appends a line, with b.mu held.
func (b *LogBuffer) add(line []byte) {
	if b.isIdle() {
		b.idle = make(chan struct{})
	}
	b.lines = append(b.lines, line)
	b.bytes += len(line)
	b.changed.Signal()
}

// isIdle reports whether no line waits, with b.mu held.
func (b *LogBuffer) isIdle() bool {
	select {
	case <-b.idle:
		return true
	default:
		return false
	}
}

// tellLoss appends the line about lost lines, if there are any, with b.mu held.
func (b *LogBuffer) tellLoss() {
	if b.lost == 0 {
		return
	}
	text := fmt.Sprintf("log is written again; %d lines were lost", b.lost)
	b.lost = 0
	if b.mark == nil {
		b.add([]byte(text + "\n"))
		return
	}
	b.add(b.mark(slog.NewRecord(time.Now(), slog.LevelWarn, text, callerPC())))
}

// pass writes the lines until Close. The line under way stays in b.lines, so that it counts in the bounds.
func (b *LogBuffer) pass() {
	defer close(b.done)
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		for len(b.lines) == 0 {
			if b.closed {
				return
			}
			b.changed.Wait()
		}
		line := b.lines[0]
		b.begun = time.Now()
		b.mu.Unlock()
		_, err := b.w.Write(line)
		b.mu.Lock()
		b.err = err
		b.lines[0] = nil
		b.lines = b.lines[1:]
		b.bytes -= len(line)
		if len(b.lines) == 0 {
			b.tellLoss()
		}
		if len(b.lines) == 0 {
			b.lines = nil
			close(b.idle)
		}
	}
}

// Hangs reports whether the log has taken no line for LogFlushTime, although one waits.
func (b *LogBuffer) Hangs() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.lines) > 0 && time.Since(b.begun) > LogFlushTime
}

// Flush waits until no line waits, at most LogFlushTime. It returns the error of the last line that was written; a
// log that takes no lines in this time is no error.
func (b *LogBuffer) Flush() error {
	b.mu.Lock()
	idle := b.idle
	b.mu.Unlock()
	await(idle)
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

// Close writes the lines that wait, within LogFlushTime, and ends the goroutine, or leaves it in a write that does
// not end. Later lines are dropped. It does not close the log.
func (b *LogBuffer) Close() error {
	b.mu.Lock()
	b.closed = true
	b.changed.Signal()
	b.mu.Unlock()
	if !await(b.done) {
		return errLogBufferFull
	}
	return nil
}

// await reports whether a channel is closed within LogFlushTime.
func await(c <-chan struct{}) bool {
	late := time.NewTimer(LogFlushTime)
	defer late.Stop()
	select {
	case <-c:
		return true
	case <-late.C:
		return false
	}
}
