package store

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// fileID is what a file is, whatever its name.
type fileID struct{ device, inode uint64 }

// identify returns the file that a path names; the error wraps unix.ENOENT when there is none.
func identify(path string) (fileID, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return fileID{}, fmt.Errorf("look at %s: %w", path, err)
	}
	return fileID{uint64(st.Dev), st.Ino}, nil
}

// isFile reports whether an open file is still the one that its path names. A path that cannot be looked at says nothing.
func isFile(file *os.File, path string) bool {
	at, err := identify(path)
	if err != nil {
		return !errors.Is(err, unix.ENOENT)
	}
	var own unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &own); err != nil {
		return true
	}
	return at == fileID{uint64(own.Dev), own.Ino}
}

// files are the files of the open database: what is written to them after another file has taken the name is lost.
type files struct {
	path string
	ids  map[string]fileID // by path: the database, its -wal and its -shm
}

// identifyFiles remembers the files of a database that is open. On a full disk the side files may be missing.
func identifyFiles(path string) (*files, error) {
	f := &files{path: path, ids: make(map[string]fileID)}
	for _, name := range []string{path, path + "-wal", path + "-shm"} {
		id, err := identify(name)
		switch {
		case err == nil:
			f.ids[name] = id
		case name == path || !errors.Is(err, unix.ENOENT):
			return nil, err
		}
	}
	return f, nil
}

// checkDatabase returns ErrReplaced when the path of the database names another file or none. A path that cannot be looked at
// says nothing.
func (f *files) checkDatabase() error { return f.check(f.path) }

// checkAll is checkDatabase for -wal and -shm, too.
func (f *files) checkAll() error {
	if err := f.checkDatabase(); err != nil {
		return err
	}
	for name := range f.ids {
		if err := f.check(name); err != nil {
			return err
		}
	}
	return nil
}

func (f *files) check(name string) error {
	known, ok := f.ids[name]
	if !ok {
		return nil
	}
	id, err := identify(name)
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR):
		return fmt.Errorf("%w: %s was removed or renamed", ErrReplaced, name)
	case err == nil && id != known:
		return fmt.Errorf("%w: %s is another file now", ErrReplaced, name)
	}
	return nil
}
