package app

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"otpost/internal/store"
)

// What the store has told of the whole database is no line of each call that meets it; everything else stays.
func TestLinesAboutATroubleOfTheDatabaseAreForDebugging(t *testing.T) {
	t.Parallel()
	for level, want := range map[slog.Level]int{slog.LevelInfo: 2, slog.LevelDebug: 5} {
		var out bytes.Buffer
		log := withoutUnusable(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: level}))).With(
			"component", "x")
		for _, err := range []error{store.ErrFull, store.ErrReadOnly, store.ErrIO, store.ErrUnique, store.ErrBusy} {
			log.Error("request failed", "action", "x", "err", fmt.Errorf("write: %w",
				errors.Join(errors.New("two"), err)))
		}
		if n := strings.Count(out.String(), "request failed"); n != want {
			t.Errorf("%d lines from level %s on, want %d:\n%s", n, level, want, out.String())
		}
	}
}
