// Package fileroot opens the files that administrators may name in requests.
//
// A caller of the API may name files of users, keys and certificates, and must not read the
// program's secrets or the kernel's files in this way. An Opener opens regular files of bounded
// size, below its roots if it has any. It opens no denied file, under any link or name. Its errors
// hold names, never content. Linux only.
package fileroot

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// ErrDenied is for files that the API may not read, ErrTooLarge for files above the bound. A
// missing file is fs.ErrNotExist.
var (
	ErrDenied   = errors.New("this file may not be read through the API")
	ErrTooLarge = errors.New("the file is too large")
)

// Options say what may be opened. The zero value opens every regular file up to 16 MiB, except the
// kernel's.
type Options struct {
	// Roots are absolute paths of folders; files outside are not opened. A link inside a root must
	// be relative and must not lead out of it. Empty: every folder.
	Roots []string
	// Base is the folder that relative names are under; empty: relative names are refused.
	Base string
	// Deny are files that are never opened; "" is ignored. Denied too are files of the same folder
	// whose names begin with a denied name (a database's -wal, a log's .1, a configuration's .bak),
	// and everything below a denied folder. The files need not exist.
	Deny []string
	// DenyNames are beginnings of names: a file with such a name is not opened, in any folder.
	DenyNames []string
	// Streams are open files of this process, such as standard error. A stream that is a regular
	// file counts as denied, also after a rename; nil is ignored.
	Streams []*os.File
	// MaxBytes is the largest file that is read; 0: 16 MiB.
	MaxBytes int64
}

// Opener opens files by Options. It keeps nothing open and is safe for concurrent use.
type Opener struct {
	options Options

	mu      sync.Mutex
	allowed map[string]state // by name: the state of the file that Stat allowed
}

// state identifies one state of a file; a new name or another link changes the file's ctime.
type state struct {
	device, inode uint64
	change        syscall.Timespec
}

// maxAllowed bounds the number of states that Stat keeps; administrators name a handful of files.
const maxAllowed = 1000

// New returns an Opener.
func New(o Options) *Opener {
	if o.MaxBytes == 0 {
		o.MaxBytes = 16 << 20
	}
	var deny []string
	for _, path := range o.Deny {
		if path == "" {
			continue
		}
		if absolute, err := filepath.Abs(path); err == nil {
			path = absolute
		}
		deny = append(deny, path)
	}
	for _, stream := range o.Streams {
		if info, err := stream.Stat(); err != nil || !info.Mode().IsRegular() {
			continue
		}
		if path, err := nameOf(stream); err == nil {
			deny = append(deny, path)
		}
	}
	o.Deny = deny
	return &Opener{options: o, allowed: make(map[string]state)}
}

// ReadFile returns the content of the file, at most MaxBytes.
func (o *Opener) ReadFile(name string) ([]byte, error) {
	file, info, err := o.open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if info.Size() > o.options.MaxBytes {
		return nil, refuse(name, ErrTooLarge)
	}
	content, err := io.ReadAll(io.LimitReader(file, o.options.MaxBytes+1))
	if err != nil {
		return nil, err
	}
	if int64(len(content)) > o.options.MaxBytes { // it grew
		return nil, refuse(name, ErrTooLarge)
	}
	return content, nil
}

// Stat returns size, time of change and identity (os.SameFile) of the file that ReadFile would
// read. It is cheap enough to be called before each use of a file's cached content: an allowed file
// is not checked again until it changes.
func (o *Opener) Stat(name string) (fs.FileInfo, error) {
	if info := o.known(name); info != nil {
		return info, nil
	}
	file, info, err := o.open(name)
	if err != nil {
		return nil, err
	}
	file.Close() //nolint:errcheck // nothing was written
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.allowed) >= maxAllowed {
		clear(o.allowed)
	}
	if now, ok := stateOf(info); ok {
		o.allowed[name] = now
	}
	return info, nil
}

// known returns the file's information if the name still leads to the allowed file, unchanged; else
// nil.
func (o *Opener) known(name string) fs.FileInfo {
	o.mu.Lock()
	before, ok := o.allowed[name]
	o.mu.Unlock()
	if !ok {
		return nil
	}
	path, err := o.absolute(name)
	if err != nil {
		return nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil
	}
	if now, ok := stateOf(info); !ok || now != before {
		return nil
	}
	return info
}

func stateOf(info fs.FileInfo) (state, bool) {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return state{}, false
	}
	return state{uint64(stat.Dev), stat.Ino, stat.Ctim}, true //nolint:unconvert // 32 bits on some machines
}

// open opens the file first and checks the open file, so that it cannot be replaced in between.
func (o *Opener) open(name string) (*os.File, fs.FileInfo, error) {
	path, err := o.absolute(name)
	if err != nil {
		return nil, nil, err
	}
	file, err := o.openUnder(path)
	if err != nil {
		return nil, nil, err
	}
	info, err := file.Stat()
	if err == nil {
		err = o.check(file, info, name)
	}
	if err != nil {
		file.Close() //nolint:errcheck // err is returned
		return nil, nil, err
	}
	return file, info, nil
}

func (o *Opener) absolute(name string) (string, error) {
	switch {
	case name == "" || strings.ContainsRune(name, 0):
		return "", refuse(name, fs.ErrInvalid)
	case filepath.IsAbs(name):
		return filepath.Clean(name), nil
	case o.options.Base == "":
		return "", refuse(name, ErrDenied)
	}
	return filepath.Join(o.options.Base, name), nil
}

// openUnder opens path in the first root that contains it.
func (o *Opener) openUnder(path string) (*os.File, error) {
	if len(o.options.Roots) == 0 {
		return openRegular(path, os.Stat, os.OpenFile)
	}
	for _, folder := range o.options.Roots {
		inside, err := filepath.Rel(folder, path)
		if err != nil || !filepath.IsLocal(inside) {
			continue
		}
		root, err := os.OpenRoot(folder)
		if err != nil {
			return nil, err
		}
		defer root.Close()
		return openRegular(inside, root.Stat, root.OpenFile)
	}
	return nil, refuse(path, ErrDenied)
}

// openRegular checks the type before it opens, because opening a device may have effects. It does
// not wait for a FIFO that has taken the file's place in between.
func openRegular(path string, stat func(string) (fs.FileInfo, error),
	open func(string, int, fs.FileMode) (*os.File, error)) (*os.File, error) {
	info, err := stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, refuse(path, ErrDenied)
	}
	return open(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
}

// check refuses files that are not regular, that the kernel provides, or that are denied.
func (o *Opener) check(file *os.File, info fs.FileInfo, name string) error {
	if !info.Mode().IsRegular() {
		return refuse(name, ErrDenied)
	}
	var system unix.Statfs_t
	if err := unix.Fstatfs(int(file.Fd()), &system); err != nil {
		return refuse(name, err)
	}
	if system.Type == unix.PROC_SUPER_MAGIC || system.Type == unix.SYSFS_MAGIC {
		return refuse(name, ErrDenied)
	}
	path, err := nameOf(file)
	if err != nil {
		return refuse(name, err)
	}
	for _, folder := range []string{"/proc", "/sys", "/dev"} {
		if within(path, folder) {
			return refuse(name, ErrDenied)
		}
	}
	if o.isOwn(path, info) {
		return refuse(name, ErrDenied)
	}
	return nil
}

// isOwn reports whether the file at path is one that Options denies.
func (o *Opener) isOwn(path string, info fs.FileInfo) bool {
	for _, beginning := range o.options.DenyNames {
		if strings.HasPrefix(filepath.Base(path), beginning) {
			return true
		}
	}
	for _, stream := range o.options.Streams {
		if open, err := stream.Stat(); err == nil && os.SameFile(open, info) {
			return true
		}
	}
	for _, denied := range o.options.Deny {
		if isDenied(path, info, denied) {
			return true
		}
	}
	return false
}

// nameOf returns the path of an open file, links resolved.
func nameOf(file *os.File) (string, error) {
	return os.Readlink(fmt.Sprintf("/proc/self/fd/%d", file.Fd()))
}

// isDenied reports whether the file at path is the denied one, belongs to it by its name, or is a
// hard link to one of those. Both the denied name and the target of its links count: SQLite puts
// its side files beside the target.
func isDenied(path string, info fs.FileInfo, denied string) bool {
	named := filepath.Join(resolved(filepath.Dir(denied)), filepath.Base(denied))
	target := resolved(denied)
	if strings.HasPrefix(path, named) || strings.HasPrefix(path, target) {
		return true
	}
	if same(denied, info) { // under a bind mount
		return true
	}
	// With one link no other name leads to it.
	return links(info) > 1 && (hasSibling(named, info) || hasSibling(target, info))
}

// hasSibling reports whether the file of info has a name that begins with prefix.
func hasSibling(prefix string, info fs.FileInfo) bool {
	folder := filepath.Dir(prefix)
	entries, err := os.ReadDir(folder)
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist) // a file that cannot be listed may be it
	}
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), filepath.Base(prefix)) && same(filepath.Join(folder, entry.Name()), info) {
			return true
		}
	}
	return false
}

func same(path string, info fs.FileInfo) bool {
	other, err := os.Stat(path)
	return err == nil && os.SameFile(other, info)
}

func within(path, folder string) bool {
	return path == folder || strings.HasPrefix(path, strings.TrimSuffix(folder, "/")+"/")
}

// resolved returns the path without links, or the path itself when it cannot be followed.
func resolved(path string) string {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		return target
	}
	return path
}

func links(info fs.FileInfo) uint64 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(stat.Nlink) //nolint:unconvert // 32 bits on some machines
	}
	return 2
}

func refuse(name string, err error) error { return &fs.PathError{Op: "open", Path: name, Err: err} }
