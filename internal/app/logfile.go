package app

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
)

// LogFile is a log file that a rotation may move away: Reopen makes a new one under the name. It is safe for concurrent use;
// no line is lost or split by a Reopen.
type LogFile struct {
	name string
	mu   sync.Mutex
	file *os.File
	tell io.Writer // where failed writes are told
	lost int       // lines since writing began to fail; 0: it works
	torn bool      // the last line in the file has no end
}

// OpenLogFile opens or makes a log for appending; a new file is readable by its owner alone. openLog says which names are taken.
func OpenLogFile(name string) (*LogFile, error) {
	file, err := openLog(name)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	return &LogFile{name: name, file: file, tell: io.Discard}, nil
}

// Reopen opens the name again, unless it means a descriptor: that stays what it is. When the open fails the file that is open
// stays in use.
func (l *LogFile) Reopen() error {
	if _, ok := descriptor(l.name); ok {
		return nil
	}
	file, err := openLog(l.name)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.file.Close() //nolint:errcheck // every line was written in one call
	l.file = file
	return nil
}

// TellFailures says where it is told that lines cannot be written, once, and that they can again. It is called before the first
// Write; without it nobody is told but the callers of Write.
func (l *LogFile) TellFailures(w io.Writer) { l.tell = w }

// Write implements io.Writer: one call, one line.
func (l *LogFile) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.torn {
		if _, err := l.file.WriteString("\n"); err != nil {
			return 0, l.wrote(0, err)
		}
		l.torn = false
	}
	n, err := l.file.Write(line)
	return n, l.wrote(n, err)
}

// wrote takes note of what became of a line, of which n bytes are in the file. It returns err as a sentence.
func (l *LogFile) wrote(n int, err error) error {
	if err == nil {
		if l.lost > 0 {
			fmt.Fprintf(l.tell, "log %s is written again; %d lines were lost\n", l.name, l.lost)
			l.lost = 0
		}
		return nil
	}
	if cause := (*fs.PathError)(nil); errors.As(err, &cause) {
		err = cause.Err // the name may be an old one
	}
	err = fmt.Errorf("log %s cannot be written: %w", l.name, err)
	if l.lost == 0 {
		fmt.Fprintf(l.tell, "%v; its lines are lost until it can be\n", err)
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
