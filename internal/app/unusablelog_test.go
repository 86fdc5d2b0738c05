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

// An error about the whole database, which the store logs, is not logged again for each call; other
// lines stay.
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
