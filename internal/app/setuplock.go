package app

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// lock makes a folder, if it is missing, and locks it until unlock, so that no other Setup runs in
// it. The lock is a flock on the folder itself, which needs no file and ends with the process.
func (s *setup) lock(folder string) error {
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
		s.made = s.made[:before] // the folder belongs to the process that has its lock
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

// holds reports whether this run has locked a folder; a second lock would wait for the first.
func (s *setup) holds(folder os.FileInfo) bool {
	for _, l := range s.locks {
		if info, err := l.Stat(); err == nil && os.SameFile(info, folder) {
			return true
		}
	}
	return false
}

// unlock releases the folders.
func (s *setup) unlock() {
	for _, l := range s.locks {
		l.Close() //nolint:errcheck // the lock ends with the file
	}
}
