package app

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestLogThatCannotBeWrittenIsToldOnceAndOnceWhenItCan(t *testing.T) {
	t.Parallel()
	var told strings.Builder
	name := filepath.Join(t.TempDir(), "queue.log")
	l, err := OpenLogFile(name)
	if err != nil {
		t.Fatal(err)
	}
	l.ReportFailures(&told)
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0) // every write finds a full disk
	if err != nil {
		t.Fatal(err)
	}
	own := l.file
	for range 2 {
		l.file = full
		for range 3 {
			if _, err := fmt.Fprintln(l, "lost"); !errors.Is(err, unix.ENOSPC) ||
				!strings.Contains(err.Error(), name+" cannot be written") {
				t.Fatalf("writing to a full disk: %v", err)
			}
		}
		l.file = own
		for range 3 {
			if _, err := fmt.Fprintln(l, "kept"); err != nil {
				t.Fatal(err)
			}
		}
	}
	full.Close() //nolint:errcheck // nothing was written
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	away, back := "log "+name+" cannot be written: no space left on device; its lines are lost until it can be\n",
		"log "+name+" is written again; 3 lines were lost\n"
	if want := away + back + away + back; told.String() != want {
		t.Errorf("told %q, want %q", told.String(), want)
	}
	if kept, err := os.ReadFile(name); err != nil || string(kept) != strings.Repeat("kept\n", 6) {
		t.Errorf("the log holds %q, %v", kept, err)
	}
}

// A disk may fill up in the middle of a line.
func TestLineAfterATornOneBeginsAnew(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "queue.log")
	l, err := OpenLogFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.file.WriteString("half a li"); err != nil {
		t.Fatal(err)
	}
	l.wrote(len("half a li"), unix.ENOSPC)
	fmt.Fprintln(l, "whole")
	fmt.Fprintln(l, "whole")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if kept, err := os.ReadFile(name); err != nil || string(kept) != "half a li\nwhole\nwhole\n" {
		t.Errorf("the log holds %q, %v", kept, err)
	}
}
