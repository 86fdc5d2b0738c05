package app

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
)

// LogFile is a log file that a rotation may rename: Reopen makes a new one under the name. It is
// safe for concurrent use. Reopen loses or splits no line. A write that hangs blocks neither Reopen
// nor Close.
type LogFile struct {
	name string

	mu       sync.Mutex // of file and failures; never held during a write
	file     *os.File
	failures io.Writer // where failed writes are reported

	writing sync.Mutex // one line at a time; it is taken before mu
	lost    int        // lines since writing began to fail; 0: writing works
	torn    bool       // the last line in the file has no end
}

// OpenLogFile opens or makes a log for appending; a new file is readable by its owner alone. See
// openLog for the accepted names.
func OpenLogFile(name string) (*LogFile, error) {
	file, err := openLog(name)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	return &LogFile{name: name, file: file, failures: io.Discard}, nil
}

// Reopen opens the name again, unless it is the name of a descriptor. When the open fails, the old
// file stays in use.
func (l *LogFile) Reopen() error {
	if _, ok := descriptor(l.name); ok {
		return nil
	}
	file, err := openLog(l.name)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	l.mu.Lock()
	old := l.file
	l.file = file
	l.mu.Unlock()
	old.Close() //nolint:errcheck // a write to a regular file ends first; Write repeats a line that a pipe did not take
	return nil
}

// ReportFailures sets where one sentence is written when lines cannot be written, and one when they
// can again. Without it only the callers of Write get the errors.
func (l *LogFile) ReportFailures(w io.Writer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failures = w
}

// Write implements io.Writer: one call, one line.
func (l *LogFile) Write(line []byte) (int, error) {
	l.writing.Lock()
	defer l.writing.Unlock()
	for {
		file := l.current()
		n, err := l.write(file, line)
		if errors.Is(err, os.ErrClosed) && l.current() != file { // a Reopen ended the write
			l.torn = false
			continue
		}
		return n, l.wrote(n, err)
	}
}

// current returns the file that is open.
func (l *LogFile) current() *os.File {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.file
}

// write ends a torn line and writes the next one, with l.writing held.
func (l *LogFile) write(file *os.File, line []byte) (int, error) {
	if l.torn {
		if _, err := file.WriteString("\n"); err != nil {
			return 0, err
		}
		l.torn = false
	}
	return file.Write(line)
}

// wrote records the result of writing a line, of which n bytes are in the file. It returns err as a
// sentence.
func (l *LogFile) wrote(n int, err error) error {
	l.mu.Lock()
	failures := l.failures
	l.mu.Unlock()
	if err == nil {
		if l.lost > 0 {
			fmt.Fprintf(failures, "log %s is written again; %d lines were lost\n", l.name, l.lost)
			l.lost = 0
		}
		return nil
	}
	if cause := (*fs.PathError)(nil); errors.As(err, &cause) {
		err = cause.Err // its path may be an old name
	}
	err = fmt.Errorf("log %s cannot be written: %w", l.name, err)
	if l.lost == 0 {
		fmt.Fprintf(failures, "%v; its lines are lost until it can be\n", err)
	}
	l.lost++
	l.torn = l.torn || n > 0
	return err
}

// Close closes the file.
func (l *LogFile) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.file.Close()
}
