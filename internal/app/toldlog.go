package app

import (
	"context"
	"log/slog"

	"otpost/internal/store"
)

// toldLog is a log in which a line about a call that failed because the whole database cannot be used (a full disk)
// has the level DEBUG: the store says so once a minute, and each login, message and claim would say it again.
type toldLog struct{ slog.Handler }

// withoutTold returns log with toldLog as its handler.
func withoutTold(log *slog.Logger) *slog.Logger { return slog.New(toldLog{log.Handler()}) }

// Handle implements slog.Handler.
func (h toldLog) Handle(ctx context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if err, ok := a.Value.Any().(error); ok && store.Unusable(err) {
			r.Level = slog.LevelDebug
			return false
		}
		return true
	})
	if !h.Handler.Enabled(ctx, r.Level) {
		return nil
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h toldLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	return toldLog{h.Handler.WithAttrs(attrs)}
}

// WithGroup implements slog.Handler.
func (h toldLog) WithGroup(name string) slog.Handler { return toldLog{h.Handler.WithGroup(name)} }
