package app_test

import (
	"bytes"
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
		`^\d\d:\d\d:\d\d a thing job=1$`, `^\d\d:\d\d:\d\d a thing job=1$`, `^\d\d:\d\d:\d\d WARNING a thing err="two\\nlines"$`,
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
