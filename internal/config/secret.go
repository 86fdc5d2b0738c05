package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"

	"golang.org/x/sys/unix"
)

// maxSecretFile is larger than any key, password or URI, and small enough to read into memory.
const maxSecretFile = 64 << 10

// Secret is a value that prints as ****** with every verb of fmt, in JSON and in slog. The zero
// value is "not set". It is immutable.
type Secret struct{ value []byte }

// NewSecret returns a Secret that holds a copy of value.
func NewSecret(value []byte) Secret { return Secret{bytes.Clone(value)} }

// Reveal returns a copy of the value, nil when it is not set.
func (s Secret) Reveal() []byte { return bytes.Clone(s.value) }

// Empty reports whether the value is missing.
func (s Secret) Empty() bool { return len(s.value) == 0 }

// Equal reports whether both have the same bytes. It is for tests and not constant in time.
func (s Secret) Equal(o Secret) bool { return bytes.Equal(s.value, o.value) }

// String returns ******.
func (Secret) String() string { return "******" }

// Format writes ****** for every verb: %d and %x would otherwise show the bytes.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// LogValue returns ****** for slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText returns ******, for JSON and other encoders.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// CheckKeyFile returns an error when the file at path must not be used as a key file: it is missing
// (fs.ErrNotExist), it is not a regular file, or users besides its owner and group may read or
// write it. The secret of a container may be readable (docs/security.md, "Secrets at rest").
// CheckKeyFile does not read the file.
func CheckKeyFile(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return problem{path + " is not a regular file", "name a file"}
	}
	var file unix.Stat_t
	var mount unix.Statfs_t
	if err := errors.Join(unix.Stat(path, &file), unix.Statfs(path, &mount)); err != nil {
		return err
	}
	return keyFile{
		path:     path,
		mode:     info.Mode().Perm(),
		root:     file.Uid == 0,
		memory:   mount.Type == unix.TMPFS_MAGIC || mount.Type == unix.RAMFS_MAGIC,
		readOnly: mount.Flags&unix.ST_RDONLY != 0,
	}.check()
}

// keyFile has the properties that decide whether a file may hold a secret.
type keyFile struct {
	path     string
	mode     fs.FileMode
	root     bool // it belongs to root
	memory   bool // its file system is in memory
	readOnly bool // it is mounted read-only here
}

// check refuses a file that other users can read or write. It accepts a file of root, in memory and
// mounted read-only: Docker Swarm (0444) and Kubernetes (0644) show secrets so to one container,
// and no user of the host can read them.
func (k keyFile) check() error {
	if k.mode&0o006 == 0 || k.mode&0o002 == 0 && k.root && k.memory && k.readOnly {
		return nil
	}
	hint := "chmod o= " + k.path
	if k.readOnly {
		hint = "give it the mode 0440 and the group of this process where it is made: mode and gid of the " +
			"secret (Docker), " +
			"defaultMode and fsGroup (Kubernetes), chmod and chgrp of a file that is mounted"
	}
	return problem{fmt.Sprintf("others can read or write %s (mode %04o)", k.path, k.mode), hint}
}

// readSecretFile returns the content of a key file without the line end that editors add.
func readSecretFile(path string) ([]byte, error) {
	// Before the open, because opening a named pipe would wait for a writer.
	if err := CheckKeyFile(path); err != nil {
		return nil, err
	}
	content, err := readBounded(path, maxSecretFile)
	if err != nil {
		return nil, err
	}
	content = bytes.TrimSuffix(content, []byte("\n"))
	content = bytes.TrimSuffix(content, []byte("\r"))
	if len(content) == 0 {
		return nil, problem{path + " is empty", "write the secret into it"}
	}
	return content, nil
}

// readBounded returns the content of a file of at most limit bytes.
func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // nothing was written
	content, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(content)) > limit {
		return nil, problem{fmt.Sprintf("%s is larger than %d bytes", path, limit), "shorten it"}
	}
	return content, nil
}
