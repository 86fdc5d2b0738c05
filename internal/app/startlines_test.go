package app

import (
	"log/slog"
	"slices"
	"testing"
	"time"

	"otpost/internal/config"
)

// The start says how long rows are kept, before the first deletion.
func TestStartSaysHowLongRowsAreKept(t *testing.T) {
	t.Parallel()
	c, err := config.Load(config.Options{File: install(t, t.TempDir()).Config})
	if err != nil {
		t.Fatal(err)
	}
	a, err := Open(t.Context(), Options{Config: c, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	for _, one := range []struct {
		deliveries, journal time.Duration
		want                string
	}{
		{c.DeliveryKeep, c.AuditKeep, "kept: deliveries for 30 days (OTPOST_DELIVERY_KEEP), the journal for 400 days " +
			"(OTPOST_AUDIT_KEEP)"},
		{0, 24 * time.Hour, "kept: deliveries for ever (OTPOST_DELIVERY_KEEP), the journal for 1 days " +
			"(OTPOST_AUDIT_KEEP)"},
	} {
		c.DeliveryKeep, c.AuditKeep = one.deliveries, one.journal
		lines, err := a.StartLines(t.Context(), Listener{}, 0)
		if err != nil || !slices.Contains(lines, one.want) {
			t.Errorf("%q, %v: want %q", lines, err, one.want)
		}
	}
}
