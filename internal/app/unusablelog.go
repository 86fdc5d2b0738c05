package app

import (
	"context"
	"log/slog"

	"otpost/internal/store"
)

// unusableLog lowers the level of lines about an unusable database (a full disk) to DEBUG: the
// store logs the cause once a minute, and every login, message and claim would log it again.
type unusableLog struct{ slog.Handler }

// withoutUnusable returns log with unusableLog as its handler.
func withoutUnusable(log *slog.Logger) *slog.Logger { return slog.New(unusableLog{log.Handler()}) }

// Handle implements slog.Handler.
func (h unusableLog) Handle(ctx context.Context, r slog.Record) error {
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
func (h unusableLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	return unusableLog{h.Handler.WithAttrs(attrs)}
}

// WithGroup implements slog.Handler.
func (h unusableLog) WithGroup(name string) slog.Handler {
	return unusableLog{h.Handler.WithGroup(name)}
}
