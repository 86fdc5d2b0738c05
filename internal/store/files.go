package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"

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
	return fileID{st.Dev, st.Ino}, nil
}

// isFile reports whether an open file is still the one that its path names. A path that cannot be looked at says
// nothing.
func isFile(file *os.File, path string) bool {
	at, err := identify(path)
	if err != nil {
		return !errors.Is(err, unix.ENOENT)
	}
	var own unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &own); err != nil {
		return true
	}
	return at == fileID{own.Dev, own.Ino}
}

// files are the files of the open database: what is written to them after another file has taken the name is lost.
type files struct {
	path string
	ids  map[string]fileID // by path: the database, its -wal and its -shm

	file    *os.File // the database, for its header; to close it gives up the locks that SQLite holds on it
	once    sync.Once
	counter uint32 // the highest change counter that was read
	wrong   bool   // the last look found another database's header
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
	var err error
	if f.file, err = os.Open(path); err != nil {
		return nil, fmt.Errorf("open the database's header: %w", translate(err))
	}
	f.counter, _ = f.readCounter()
	return f, nil
}

// close closes the file, after the connections of SQLite.
func (f *files) close() (err error) {
	f.once.Do(func() { err = f.file.Close() })
	return err
}

// readCounter returns the change counter in the header of the database (offset 24, sqlite.org/fileformat.html,
// 1.3): it rises with each change of the first page. ok is false when there is no header of SQLite.
func (f *files) readCounter() (counter uint32, ok bool) {
	header := make([]byte, 28)
	if _, err := f.file.ReadAt(header, 0); err != nil || !bytes.HasPrefix(header, []byte("SQLite format 3\x00")) {
		return 0, false
	}
	return binary.BigEndian.Uint32(header[24:]), true
}

// checkHeader returns ErrCorrupt when two looks, one after the other, find that another database was copied over
// the file: its header is gone, or its change counter has gone back. For one goroutine.
func (f *files) checkHeader() error {
	counter, ok := f.readCounter()
	if ok && int32(counter-f.counter) >= 0 { // it may wrap around
		f.counter, f.wrong = counter, false
		return nil
	}
	if f.wrong {
		return errDamaged(f.path)
	}
	f.wrong = true
	return nil
}

// checkDatabase returns ErrReplaced when the path of the database names another file or none. A path that
// cannot be looked at says nothing.
func (f *files) checkDatabase() error { return f.check(f.path) }

// checkAll is checkDatabase for -wal and -shm, too, and checkHeader.
func (f *files) checkAll() error {
	if err := f.checkDatabase(); err != nil {
		return err
	}
	for name := range f.ids {
		if err := f.check(name); err != nil {
			return err
		}
	}
	return f.checkHeader()
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
