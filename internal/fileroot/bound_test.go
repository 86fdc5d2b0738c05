package fileroot

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

func TestMemoryOfFilesIsBounded(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	o := New(Options{})
	for i := range maxAllowed + 10 {
		link := filepath.Join(dir, strconv.Itoa(i))
		if err := os.Symlink(file, link); err != nil {
			t.Fatal(err)
		}
		if _, err := o.Stat(link); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(o.allowed); n == 0 || n > maxAllowed {
		t.Errorf("%d files are remembered", n)
	}
}
