package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzLoad holds that whatever a pi.cfg holds, it is read or refused with a place inside the file, and soon.
func FuzzLoad(f *testing.F) {
	files, err := filepath.Glob("testdata/good/*.cfg")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(content)
	}
	refused, err := os.ReadFile("testdata/refused.txt")
	if err != nil {
		f.Fatal(err)
	}
	for _, block := range strings.Split(string(refused), "\n== ")[1:] {
		_, rest, _ := strings.Cut(block, "\n")
		source, _, _ := strings.Cut(rest, "\n--\n")
		f.Add([]byte(source))
	}
	f.Fuzz(func(t *testing.T, source []byte) {
		if len(source) > maxFile {
			return
		}
		settings, err := evaluate("pi.cfg", source, map[string]string{"A": "a"})
		if err != nil {
			checkPlace(t, err, source)
			return
		}
		c := &Config{}
		if err := c.fill(settings); err != nil && err.Error() == "" {
			t.Error("an error without a sentence")
		}
	})
}

func checkPlace(t *testing.T, err error, source []byte) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Message == "" {
		t.Fatalf("%T: %v", err, err)
	}
	lines := strings.Split(strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(string(source)), "\n")
	if e.Position.File != "pi.cfg" || e.Position.Line > len(lines) {
		t.Fatalf("no place of the file: %v", err)
	}
	if e.Position.Line > 0 && e.Position.Column > len([]rune(lines[e.Position.Line-1]))+1 {
		t.Fatalf("no column of the line: %v", err)
	}
}
