package app

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// alone makes a folder, if it is missing, and holds its lock until unlock: no other Setup is at work in it. The lock is a flock on
// the folder itself, which leaves no file behind and ends with the process.
func (s *setup) alone(folder string) error {
	before := len(s.made)
	if err := s.folder(folder); err != nil {
		return err
	}
	file, err := os.Open(folder)
	if err != nil {
		return fmt.Errorf("lock folder: %w", err)
	}
	info, err := file.Stat()
	if err == nil && s.holds(info) {
		return file.Close()
	}
	s.locks = append(s.locks, file)
	if err == nil {
		err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	}
	if errors.Is(err, unix.EWOULDBLOCK) {
		s.made = s.made[:before] // the folder is whose lock it has
		return fmt.Errorf("another otpost setup is at work in %s: wait for its end and run this one again", folder)
	}
	if err != nil {
		return fmt.Errorf("lock folder %s: %w", folder, err)
	}
	if now, err := os.Stat(folder); err != nil || !os.SameFile(now, info) {
		return fmt.Errorf("another otpost setup has just removed %s: run this one again", folder)
	}
	return nil
}

// holds reports whether a folder is locked already; a second lock would wait for the first.
func (s *setup) holds(folder os.FileInfo) bool {
	for _, l := range s.locks {
		if info, err := l.Stat(); err == nil && os.SameFile(info, folder) {
			return true
		}
	}
	return false
}

// unlock gives the folders back.
func (s *setup) unlock() {
	for _, l := range s.locks {
		l.Close() //nolint:errcheck // its lock ends with it
	}
}
