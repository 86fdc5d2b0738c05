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
	for i := range maxJudged + 10 {
		link := filepath.Join(dir, strconv.Itoa(i))
		if err := os.Symlink(file, link); err != nil {
			t.Fatal(err)
		}
		if _, err := o.Stat(link); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(o.judged); n == 0 || n > maxJudged {
		t.Errorf("%d files are remembered", n)
	}
}
