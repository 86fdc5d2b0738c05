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

// Bounds of a LogBuffer: a burst of lines while the reader pauses for some seconds.
const (
	mostLogLines = 4096
	mostLogBytes = 1 << 20
)

// LogFlushTime is how long the process waits at its end for a log that hangs.
const LogFlushTime = 2 * time.Second

var errLogBufferFull = errors.New("the log takes no lines, and its buffer is full")

// LogBuffer is an io.Writer that never waits: one goroutine writes the lines to the log, in order
// and without delay while the log accepts them. A pipe or a disk that hangs blocks only that
// goroutine. Above mostLogLines lines or mostLogBytes bytes, further lines are dropped and counted;
// one line in their place says how many were lost. It is safe for concurrent use.
type LogBuffer struct {
	w    io.Writer
	mark func(slog.Record) []byte // format of the line about lost lines; nil: only the text

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
	go b.writeLines()
	return b
}

// PrintWithin writes text to w and waits for at most LogFlushTime. It is for the sentences at the
// start and the end of a process.
func PrintWithin(w io.Writer, text string) {
	b := NewLogBuffer(w)
	io.WriteString(b, text) //nolint:errcheck // there is no other place for the sentence
	b.Close()               //nolint:errcheck // likewise
}

// Write implements io.Writer: one call, one line. An error means that the line was dropped.
func (b *LogBuffer) Write(line []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	full := len(b.lines) >= mostLogLines || len(b.lines) > 0 && b.bytes+len(line) > mostLogBytes
	if b.closed || full {
		b.lost++
		return 0, errLogBufferFull
	}
	b.addLossLine()
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

// addLossLine appends a line about lost lines, if any, with b.mu held.
func (b *LogBuffer) addLossLine() {
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

// writeLines writes the lines until Close. A line stays in b.lines while it is written, so that it
// counts for the bounds.
func (b *LogBuffer) writeLines() {
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
			b.addLossLine()
		}
		if len(b.lines) == 0 {
			b.lines = nil
			close(b.idle)
		}
	}
}

// Hangs reports whether a line has waited for LogFlushTime.
func (b *LogBuffer) Hangs() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.lines) > 0 && time.Since(b.begun) > LogFlushTime
}

// Flush waits until all lines are written, at most LogFlushTime. It returns the error of the last
// written line. A log that hangs is not an error.
func (b *LogBuffer) Flush() error {
	b.mu.Lock()
	idle := b.idle
	b.mu.Unlock()
	await(idle)
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

// Close writes the waiting lines within LogFlushTime and ends the goroutine, or leaves it in a
// write that hangs. Later lines are dropped. It does not close the log.
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

// await waits for the close of a channel, at most LogFlushTime, and reports whether it came.
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
