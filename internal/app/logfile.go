package app

import (
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// LogFile is a log file that a rotation may move away: Reopen makes a new one under the name. It is safe for concurrent use;
// no line is lost or split by a Reopen.
type LogFile struct {
	name string
	mu   sync.Mutex
	file *os.File
}

// OpenLogFile opens or makes a log file for appending, readable by its owner alone. A symbolic link is refused: whoever may
// write the folder must not choose where we write.
func OpenLogFile(name string) (*LogFile, error) {
	l := &LogFile{name: name}
	return l, l.Reopen()
}

// Reopen opens the name again. When that fails the file that is open stays in use.
func (l *LogFile) Reopen() error {
	file, err := os.OpenFile(l.name, os.O_CREATE|os.O_WRONLY|os.O_APPEND|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file != nil {
		l.file.Close() //nolint:errcheck // every line was written in one call
	}
	l.file = file
	return nil
}

// Write implements io.Writer: one call, one line.
func (l *LogFile) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.file.Write(line)
}

// Close closes the file.
func (l *LogFile) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.file.Close()
}
