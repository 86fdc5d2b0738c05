package fileroot_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"otpost/internal/fileroot"
)

// write makes a file with its folder and returns its path.
func write(t *testing.T, content string, parts ...string) string {
	t.Helper()
	path := filepath.Join(parts...)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func mustLink(t *testing.T, link func(from, to string) error, from, to string) string {
	t.Helper()
	if err := link(from, to); err != nil {
		t.Fatal(err)
	}
	return to
}

func wantContent(t *testing.T, o *fileroot.Opener, name, want string) {
	t.Helper()
	content, err := o.ReadFile(name)
	if err != nil || string(content) != want {
		t.Errorf("read %s: %q, %v", name, content, err)
	}
	if info, err := o.Stat(name); err != nil || info.Size() != int64(len(want)) {
		t.Errorf("stat %s: %v, %v", name, info, err)
	}
}

func wantError(t *testing.T, o *fileroot.Opener, name string, want error) {
	t.Helper()
	if content, err := o.ReadFile(name); !errors.Is(err, want) || content != nil {
		t.Errorf("read %s: %d bytes, %v; want %v", name, len(content), err, want)
	}
	if _, err := o.Stat(name); !errors.Is(err, want) && !errors.Is(want, fileroot.ErrTooLarge) {
		t.Errorf("stat %s: %v; want %v", name, err, want)
	}
}

func TestRelativeNamesAreUnderTheBase(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	write(t, "users", base, "users.passwd")
	outside := write(t, "outside", t.TempDir(), "f")
	o := fileroot.New(fileroot.Options{Base: base})
	wantContent(t, o, "users.passwd", "users")
	wantContent(t, o, "./users.passwd", "users")
	wantContent(t, o, outside, "outside")
	wantError(t, o, "nosuch", fs.ErrNotExist)
	wantError(t, o, "", fs.ErrInvalid)
	wantError(t, o, "users.passwd\x00", fs.ErrInvalid)
	wantError(t, fileroot.New(fileroot.Options{}), "users.passwd", fileroot.ErrDenied)
}

func TestDeniedFilesAreRefusedUnderEveryName(t *testing.T) {
	t.Parallel()
	dir, elsewhere := t.TempDir(), t.TempDir()
	config, database := write(t, "SECRET_KEY", dir, "pi.cfg"), write(t, "rows", dir, "state.db")
	wal := write(t, "rows", dir, "state.db-wal")
	write(t, "old", dir, "pi.cfg.bak")
	key := write(t, "key", dir, "keys", "audit")
	users := write(t, "users", dir, "users.passwd")
	o := fileroot.New(fileroot.Options{Base: dir, Deny: []string{config, database, filepath.Join(dir, "keys"),
		filepath.Join(dir, "later.log"), ""}})

	wantContent(t, o, "users.passwd", "users")
	wantContent(t, o, mustLink(t, os.Symlink, users, filepath.Join(elsewhere, "users")), "users")
	wantContent(t, o, mustLink(t, os.Link, users, filepath.Join(elsewhere, "users2")), "users")
	for _, name := range []string{
		config, "pi.cfg", "./keys/../pi.cfg", "pi.cfg.bak", database, wal, key,
		mustLink(t, os.Symlink, config, filepath.Join(elsewhere, "link")),
		mustLink(t, os.Symlink, filepath.Join(elsewhere, "link"), filepath.Join(elsewhere, "link2")),
		mustLink(t, os.Link, config, filepath.Join(elsewhere, "hard")),
		mustLink(t, os.Link, wal, filepath.Join(elsewhere, "hard wal")),
		filepath.Join(mustLink(t, os.Symlink, dir, filepath.Join(elsewhere, "folder")), "pi.cfg"),
	} {
		wantError(t, o, name, fileroot.ErrDenied)
	}
	wantError(t, o, write(t, "log", dir, "later.log.1"), fileroot.ErrDenied)
}

// The log may be standard error that a shell has led to a file.
func TestOpenStreamsAreRefusedUnderEveryName(t *testing.T) {
	t.Parallel()
	dir, elsewhere := t.TempDir(), t.TempDir()
	log := write(t, "log", dir, "server.log")
	users := write(t, "users", dir, "users.passwd")
	stream, err := os.Open(log)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	pipe, _, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	o := fileroot.New(fileroot.Options{Streams: []*os.File{stream, pipe, nil}})
	for _, name := range []string{
		log, write(t, "log", dir, "server.log.1"),
		mustLink(t, os.Symlink, log, filepath.Join(elsewhere, "link")),
		mustLink(t, os.Link, log, filepath.Join(elsewhere, "hard")),
	} {
		wantError(t, o, name, fileroot.ErrDenied)
	}
	if err := os.Rename(log, filepath.Join(elsewhere, "moved")); err != nil {
		t.Fatal(err)
	}
	wantError(t, o, filepath.Join(elsewhere, "moved"), fileroot.ErrDenied)
	wantContent(t, o, users, "users")
}

func TestFilesOfADeniedNameAreRefusedInEveryFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	o := fileroot.New(fileroot.Options{DenyNames: []string{"queue.log"}})
	log := write(t, "log", dir, "queue.log")
	for _, name := range []string{log, write(t, "log", dir, "a", "queue.log.1.gz"),
		mustLink(t, os.Symlink, log, filepath.Join(dir, "link"))} {
		wantError(t, o, name, fileroot.ErrDenied)
	}
	wantContent(t, o, write(t, "users", dir, "my queue.log"), "users")
}

func TestDeniedLinkDeniesWhatItLeadsTo(t *testing.T) {
	t.Parallel()
	dir, elsewhere := t.TempDir(), t.TempDir()
	database := write(t, "rows", elsewhere, "real.db")
	wal := write(t, "rows", elsewhere, "real.db-wal")
	named := mustLink(t, os.Symlink, database, filepath.Join(dir, "state.db"))
	o := fileroot.New(fileroot.Options{Deny: []string{named}})
	for _, name := range []string{named, database, wal} {
		wantError(t, o, name, fileroot.ErrDenied)
	}
}

func TestOnlyRegularFilesAreOpened(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	o := fileroot.New(fileroot.Options{})
	for _, name := range []string{
		dir, fifo, "/dev/zero", "/dev/null", "/proc/self/environ", "/proc/self/mem", "/proc/self/../self/status",
		"/sys/kernel/mm/transparent_hugepage/enabled",
		mustLink(t, os.Symlink, "/proc/self/environ", filepath.Join(dir, "environ")),
	} {
		if _, err := os.Stat(name); err == nil {
			wantError(t, o, name, fileroot.ErrDenied)
		}
	}
}

func TestRootsAreNotLeft(t *testing.T) {
	t.Parallel()
	root, second, outside := t.TempDir(), t.TempDir(), t.TempDir()
	write(t, "in", root, "sub", "users")
	other := write(t, "second", second, "users")
	secret := write(t, "out", outside, "users")
	o := fileroot.New(fileroot.Options{Roots: []string{root, second}, Base: root,
		Deny: []string{filepath.Join(root, "pi.cfg")}})
	wantContent(t, o, "sub/users", "in")
	wantContent(t, o, other, "second")
	wantContent(t, o, mustLink(t, os.Symlink, "sub/users", filepath.Join(root, "inner")), "in")
	wantError(t, o, secret, fileroot.ErrDenied)
	wantError(t, o, "../users", fileroot.ErrDenied)
	wantError(t, o, filepath.Join(outside, "nosuch"), fileroot.ErrDenied) // existence is not revealed either
	wantError(t, o, write(t, "key", root, "pi.cfg"), fileroot.ErrDenied)
	for _, target := range []string{secret, "../" + filepath.Base(outside) + "/users"} {
		link := filepath.Join(root, "leads out")
		mustLink(t, os.Symlink, target, link)
		if content, err := o.ReadFile(link); err == nil {
			t.Errorf("a link to %s was followed: %q", target, content)
		}
		os.Remove(link) //nolint:errcheck // the next link fails then
	}
}

func TestSizeIsBounded(t *testing.T) {
	t.Parallel()
	name := write(t, "12345", t.TempDir(), "f")
	wantContent(t, fileroot.New(fileroot.Options{MaxBytes: 5}), name, "12345")
	wantError(t, fileroot.New(fileroot.Options{MaxBytes: 4}), name, fileroot.ErrTooLarge)
}

func TestStatJudgesAgainWhatHasChanged(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	config := write(t, "SECRET_KEY", dir, "pi.cfg")
	users := write(t, "users", dir, "users.passwd")
	link := mustLink(t, os.Symlink, users, filepath.Join(dir, "link"))
	o := fileroot.New(fileroot.Options{Deny: []string{config}})
	for range 2 {
		wantContent(t, o, link, "users")
	}
	if err := os.Remove(link); err != nil {
		t.Fatal(err)
	}
	wantError(t, o, link, fs.ErrNotExist)
	mustLink(t, os.Symlink, config, link)
	wantError(t, o, link, fileroot.ErrDenied)
	wantContent(t, o, users, "users")
}
