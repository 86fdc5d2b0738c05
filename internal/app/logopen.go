package app

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// mostLinks bounds a chain of symbolic links, as the kernel does (path_resolution(7)).
const mostLinks = 40

// openLog opens a log for appending. The name of a descriptor (descriptor) means the open file. A
// symbolic link is followed when no other user can change its target (checkLink). An error is one
// sentence with the name and what to do.
func openLog(name string) (*os.File, error) {
	path := name
	for range mostLinks {
		if fd, ok := descriptor(path); ok {
			return duplicate(name, fd)
		}
		info, err := os.Lstat(path)
		if err != nil || info.Mode()&fs.ModeSymlink == 0 {
			return openLogAt(path)
		}
		if err := checkLink(path, info); err != nil {
			return nil, err
		}
		target, err := os.Readlink(path)
		if err != nil {
			return nil, explainOpen(path, err)
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(path), target)
		}
		if _, ok := descriptor(target); !ok {
			if err := checkFolder(path, filepath.Dir(target)); err != nil {
				return nil, err
			}
		}
		path = target
	}
	return nil, fmt.Errorf("%s is a symbolic link that leads to itself: name a file", name)
}

// descriptor returns the number of the file descriptor that a name means: "-" and /dev/stdout are
// standard output. These names are never opened: the kernel refuses it for a pipe or terminal of
// another user, and a regular file that is opened again has an offset of its own.
func descriptor(name string) (int, bool) {
	switch name {
	case "-", "/dev/stdout":
		return 1, true
	case "/dev/stderr":
		return 2, true
	}
	folder, number := filepath.Split(filepath.Clean(name))
	switch folder {
	case "/dev/fd/", "/proc/self/fd/", "/proc/thread-self/fd/", fmt.Sprintf("/proc/%d/fd/", os.Getpid()):
		fd, err := strconv.ParseUint(number, 10, 31)
		return int(fd), err == nil
	}
	return 0, false
}

// duplicate returns another descriptor of an open file. A write to its broken pipe returns an
// error; a write to the standard output itself would end the program (os/signal, "SIGPIPE").
func duplicate(name string, fd int) (*os.File, error) {
	var info unix.Stat_t
	if err := unix.Fstat(fd, &info); err != nil {
		return nil, fmt.Errorf("%s: descriptor %d is not open: redirect it where the program is "+
			"started, or name a file",
			name, fd)
	}
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	switch kind := info.Mode & unix.S_IFMT; {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", name, err)
	case kind == unix.S_IFDIR, kind == 0, flags&unix.O_ACCMODE == unix.O_RDONLY:
		return nil, fmt.Errorf("%s: descriptor %d is not open for writing: redirect it where the program "+
			"is started, or "+
			"name a file", name, fd)
	}
	own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return os.NewFile(uintptr(own), name), nil
}

// openLogAt opens a path that is not a symbolic link. It does not wait for the reader of a named
// pipe.
func openLogAt(path string) (*os.File, error) {
	const flags = os.O_CREATE | os.O_WRONLY | os.O_APPEND | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_NOCTTY
	file, err := os.OpenFile(path, flags, 0o600)
	if err != nil {
		return nil, explainOpen(path, err)
	}
	return file, nil
}

// explainOpen returns an error of open(2) as a sentence.
func explainOpen(path string, err error) error {
	if cause := (*fs.PathError)(nil); errors.As(err, &cause) {
		err = cause.Err
	}
	folder := filepath.Dir(path)
	switch {
	case errors.Is(err, unix.EISDIR):
		return fmt.Errorf("%s is a folder: name a file in it (%w)", path, err)
	case errors.Is(err, unix.ENOENT):
		return fmt.Errorf("the folder %s does not exist: make it, writable for the user who runs this (%w)", folder,
			err)
	case errors.Is(err, unix.ENOTDIR):
		return fmt.Errorf("%s is not a folder: name a file in a folder (%w)", folder, err)
	case errors.Is(err, unix.ENXIO):
		return fmt.Errorf("%s is a named pipe or socket that no program reads: start its reader first, or "+
			"name a file (%w)",
			path, err)
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return fmt.Errorf("%s cannot be made, the disk is full: make room, or name a file on another disk (%w)", path,
			err)
	case errors.Is(err, unix.EROFS):
		return fmt.Errorf("%s is on a file system that is mounted read-only: name a file elsewhere, or - for standard "+
			"output (%w)", path, err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("uid %d may not write %s: change the owner of it and of its folder, or name "+
			"another file (%w)",
			os.Geteuid(), path, err)
	}
	return fmt.Errorf("%s: %w", path, err)
}

// checkLink refuses a symbolic link that another user could have made or could replace.
func checkLink(path string, info fs.FileInfo) error {
	if owner, ok := ownerOf(info); !ok {
		return fmt.Errorf("%s is a symbolic link that belongs to uid %d, who could lead the log to any file: "+
			"name the file that it leads to, or make the link as root", path, owner)
	}
	return checkFolder(path, filepath.Dir(path))
}

// checkFolder refuses a link when a user other than root and the process's user can write a folder
// on its path.
func checkFolder(link, folder string) error {
	info, err := os.Stat(folder)
	if err != nil {
		return fmt.Errorf("%s is a symbolic link: %w", link, explainOpen(filepath.Join(folder, "x"), err))
	}
	owner, ok := ownerOf(info)
	const what = "%s is a symbolic link, and %s, who could lead the log to any file: name the file that it " +
		"leads to, or %s"
	switch mode := info.Mode().Perm(); {
	case !ok:
		return fmt.Errorf(what, link, fmt.Sprintf("its way passes %s, the folder of uid %d", folder, owner),
			"chown root "+folder)
	case mode&0o022 != 0:
		return fmt.Errorf(what, link, fmt.Sprintf("other users can write %s (mode %04o)", folder, mode),
			"chmod go-w "+folder)
	}
	return nil
}

// ownerOf returns the owner of a file and whether it is root or the user of this process.
func ownerOf(info fs.FileInfo) (uint32, bool) {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return stat.Uid, stat.Uid == 0 || int(stat.Uid) == os.Geteuid()
}
