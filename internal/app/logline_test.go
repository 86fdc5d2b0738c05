package app_test

import (
	"bytes"
	"errors"
	"log/slog"
	"regexp"
	"strings"
	"testing"

	"otpost/internal/app"
)

func TestSimpleLinesNameTheLevelAboveInfo(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log := app.NewSimpleLog(&out, slog.LevelDebug).With("component", "worker")
	log.Debug("a thing", "job", 1)
	log.Info("a thing", "job", 1)
	log.Warn("a thing", "err", "two\nlines")
	log.Error("a thing", "job", 1)
	want := []string{
		`^\d\d:\d\d:\d\d a thing job=1$`, `^\d\d:\d\d:\d\d a thing job=1$`,
		`^\d\d:\d\d:\d\d WARNING a thing err="two\\nlines"$`,
		`^\d\d:\d\d:\d\d ERROR a thing job=1$`,
	}
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	if len(lines) != len(want) {
		t.Fatalf("%d lines, want %d:\n%s", len(lines), len(want), out.String())
	}
	for i, pattern := range want {
		if !regexp.MustCompile(pattern).MatchString(lines[i]) {
			t.Errorf("line %q, want %s", lines[i], pattern)
		}
	}
}

// A value of a damaged row may have any length: a line shows the beginning of each.
func TestLineCutsLongValues(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log := app.NewLog(&out, slog.LevelDebug)
	long := strings.Repeat("ü", 50_000)
	log.With("a", long).Error("a thing", "b", long, "c", errors.New(long), slog.Group("g", "d", long))
	if out.Len() > 10_000 || strings.Count(out.String(), "(cut: 100000 bytes)") != 4 {
		t.Errorf("a line of %d bytes: %.100s", out.Len(), out.String())
	}
}
