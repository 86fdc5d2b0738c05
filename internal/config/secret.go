package config

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
)

// maxSecretFile is more than any key, password or URI needs and little enough to read into memory.
const maxSecretFile = 64 << 10

// Secret is a value that prints as ****** in every verb of fmt, in JSON and in slog. The zero value is "not set". It is
// immutable and safe for concurrent use.
type Secret struct{ value []byte }

// NewSecret returns a Secret that holds a copy of value.
func NewSecret(value []byte) Secret { return Secret{bytes.Clone(value)} }

// Reveal returns a copy of the value, nil when it is not set.
func (s Secret) Reveal() []byte { return bytes.Clone(s.value) }

// Empty reports that there is no value.
func (s Secret) Empty() bool { return len(s.value) == 0 }

// Equal reports that both hold the same bytes. It is for tests and not constant in time.
func (s Secret) Equal(o Secret) bool { return bytes.Equal(s.value, o.value) }

// String returns ******.
func (Secret) String() string { return "******" }

// Format writes ****** whatever the verb is: %d and %x would otherwise show the bytes.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// LogValue returns ****** for slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText returns ******, for JSON and every other encoder of texts.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// CheckKeyFile reports why the file at path must not be used as a key file: it is missing (fs.ErrNotExist), no regular file, or
// others than its owner and group may read or write it (docs/security.md, "Secrets at rest"). It does not read the file.
func CheckKeyFile(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	return checkKeyMode(path, info)
}

func checkKeyMode(path string, info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return problem{path + " is not a regular file", "name a file"}
	}
	if mode := info.Mode().Perm(); mode&0o006 != 0 {
		return problem{
			fmt.Sprintf("others can read or write %s (mode %04o)", path, mode),
			"chmod o= " + path,
		}
	}
	return nil
}

// readSecretFile returns the content of a key file without the line end that editors add.
func readSecretFile(path string) ([]byte, error) {
	// Before the open, for an open of a named pipe would wait for its writer.
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
