package test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestPollersOfACostlyListLeaveTheWALShort lets three clients poll lists that find nothing in a long table beside logins: the WAL
// stays short, and mails go on. With OTPOST_SOAK for 70 seconds each among 300,000 deliveries; the rates are printed.
func TestPollersOfACostlyListLeaveTheWALShort(t *testing.T) {
	t.Parallel()
	rows, length := 30_000, 3*time.Second
	if soak() > 0 {
		rows, length = 300_000, 70*time.Second
	}
	w := newWorld(t)
	path := database(w.Site)
	var all []*login
	for i := range 32 {
		all = append(all, w.enrol(t, fmt.Sprintf("POLLED%d", i)))
	}
	statement(t, path, fmt.Sprintf(`WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < %d)
		INSERT INTO delivery (id, channel, route, recipient, serial, via, not_after_ms, state, reason, epoch, owner, own_until_ms, unsure,
			attempts, next_try_ms, relayed_ms, message_id, created_ms, updated_ms)
		SELECT CAST(printf('%%016d', i) AS BLOB), 'mail', 'queued', 'x***@example.org', 'POLLED', 'queue', %d, 'accepted', '', 1, '', 0, 0,
			1, 0, 0, printf('%%032d', i), %d, %d FROM n`, rows, time.Now().UnixMilli(), time.Now().UnixMilli(), time.Now().UnixMilli()))
	statement(t, path, "PRAGMA wal_checkpoint(TRUNCATE)")
	phase := func(pollers int, filters ...string) (mailsPerSecond float64, longest int64) {
		ctx, cancel := context.WithTimeout(t.Context(), length)
		defer cancel()
		var parts sync.WaitGroup
		var polls atomic.Int64
		for range pollers {
			parts.Go(func() {
				for n := 0; ctx.Err() == nil; n++ {
					a, err := w.server.Do(ctx, http.MethodGet, "/delivery/?"+filters[n%len(filters)], nil)
					if ctx.Err() == nil && (err != nil || a.HTTPStatus != http.StatusOK && a.HTTPStatus != http.StatusServiceUnavailable) {
						t.Errorf("a poll: %v %s", err, a)
					}
					polls.Add(1)
				}
			})
		}
		for i := range 8 {
			parts.Go(func() {
				for n := 0; ctx.Err() == nil; n++ {
					l := all[(i*4+n)%len(all)]
					w.server.Check(ctx, l.serial, l.pin) //nolint:errcheck // the mails are counted
				}
			})
		}
		before := w.sink.Count()
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			<-tick.C
			if info, err := os.Stat(path + "-wal"); err == nil {
				longest = max(longest, info.Size())
			}
		}
		mails := w.sink.Count() - before
		parts.Wait()
		t.Logf("%d pollers of %v: %d polls, %.0f mails/s, the longest WAL %.1f MiB", pollers, filters, polls.Load(), float64(mails)/length.Seconds(), float64(longest)/(1<<20))
		return float64(mails) / length.Seconds(), longest
	}
	alone, _ := phase(0)
	for _, filters := range [][]string{
		{"state=unknown"},
		{"since=2099-01-01T00:00:00Z", "serial=POLLED&state=unknown", "state=accepted,failed&until=2001-01-01T00:00:00Z"}, // they scan
	} {
		beside, longest := phase(3, filters...)
		if longest > 96<<20 {
			t.Errorf("the WAL grew to %d MiB", longest>>20)
		}
		if beside == 0 {
			t.Error("no mail beside the pollers")
		}
		t.Logf("mails beside pollers of %v: %.2f of those alone", filters, beside/alone)
	}
}
