package delivery_test

import (
	"fmt"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"otpost/internal/delivery"
	"otpost/internal/store"
)

// fill makes n deliveries, spread evenly over the time before now, with a waiter and an attempt each: 90 %
// accepted in up to 3 s, the rest in all other states, of 5 servers, 4 realms and 2000 tokens.
func fill(tb testing.TB, db *store.DB, n int, over time.Duration) {
	tb.Helper()
	now := store.Millis(db.Now())
	err := db.Write(tb.Context(), func(tx *store.Tx) error {
		tx.Put(`WITH RECURSIVE one(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM one WHERE i + 1 < $1),
			made AS (SELECT i, $2 - ($3 * ($1 - i)) / $1 AS at, (i * 7919) % 3000 AS took, (i * 104729) % 100 AS kind FROM one)
			INSERT INTO delivery (id, channel, route, sealed, recipient, serial, via, not_after_ms, state, reason, epoch, owner, own_until_ms, unsure,
				attempts, next_try_ms, relayed_ms, message_id, created_ms, updated_ms, realm)
			SELECT unhex(printf('%012x7000%016x', at, i)), 'mail', 'server' || (i % 5), NULL, 'a***@example.com', printf('PIEM%08d', i % 2000), 'queue',
				at + 120000,
				CASE WHEN kind < 90 THEN 'accepted' WHEN kind < 94 THEN 'failed' WHEN kind < 96 THEN 'expired' WHEN kind < 98 THEN 'dropped'
					WHEN kind < 99 THEN 'unknown' ELSE 'deferred' END,
				CASE WHEN kind < 90 THEN '' WHEN kind < 94 THEN 'refused' WHEN kind < 96 THEN 'too late' WHEN kind < 98 THEN 'superseded'
					WHEN kind < 99 THEN 'no reply' ELSE '' END,
				3, '', 0, 0, 1, at, 0, printf('%032x@example.com', i), at, min(at + took, $2), 'realm' || (i % 4) FROM made`, n, now, over.Milliseconds())
		tx.Put(`INSERT INTO waiter (delivery_id, transaction_id, serial, challenge_id, ended) SELECT id, printf('%020d', created_ms), serial, id, '' FROM delivery`)
		tx.Put(`INSERT INTO attempt (delivery_id, number, route, owner, started_ms, dot_at_ms, ended_ms, class, phase, phases, reply_code, enhanced, text)
			SELECT id, 1, route, 'w', created_ms, created_ms, updated_ms, state, 'reply', '[{"phase":"reply","ms":12,"code":250,"enhanced":"2.0.0","text":"ok","tls":null}]',
				250, '2.0.0', 'ok' FROM delivery`)
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
}

// BenchmarkLooks measures lists and statistics on 100,000 deliveries of a day: docs/performance.md has the numbers.
func BenchmarkLooks(b *testing.B) {
	for name, over := range map[string]time.Duration{"a day": 24 * time.Hour, "an hour": time.Hour} {
		r := benchRig(b)
		fill(b, r.DB, 100_000, over)
		now := r.DB.Now()
		for what, f := range map[string]delivery.Filter{
			"first page":     {},
			"200":            {PageSize: delivery.MostPageSize},
			"failures":       {States: []delivery.State{delivery.Failed, delivery.Expired, delivery.Unknown}},
			"nothing fits":   {Realms: []string{"realm1", "realm2"}, States: []delivery.State{delivery.Queued}, Until: now},
			"none of server": {Server: "server1", States: []delivery.State{delivery.Queued}},
			"before all":     {Until: now.Add(-over)},
			"serial":         {Serial: "PIEM00000012"},
			"no such state":  {States: []delivery.State{delivery.Sending}},
			"since now":      {Since: now.Add(time.Hour)},
		} {
			b.Run("list/"+what+"/"+name, func(b *testing.B) {
				before := spent(b)
				for b.Loop() {
					if _, err := r.List(b.Context(), f); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(spent(b)-before)/float64(b.N)/1e6, "cpu-ms/op")
			})
		}
		for what, realms := range map[string][]string{"all": nil, "two realms": {"realm1", "realm2"}} {
			b.Run("statistics/"+what+"/"+name, func(b *testing.B) {
				before := spent(b)
				for b.Loop() {
					if _, err := r.Statistics(b.Context(), realms); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(spent(b)-before)/float64(b.N)/1e6, "cpu-ms/op")
			})
		}
	}
}

// BenchmarkStateIndex measures what the index delivery_not_accepted costs a message: its insert
// and the change to its final state.
func BenchmarkStateIndex(b *testing.B) {
	const together = 1000
	for _, state := range []delivery.State{delivery.Accepted, delivery.Failed} {
		for _, without := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s/without=%v", state, without), func(b *testing.B) {
				r := benchRig(b)
				run := func(statements ...string) {
					err := r.DB.Write(b.Context(), func(tx *store.Tx) error {
						for _, s := range statements {
							tx.Put(s)
						}
						return nil
					})
					if err != nil {
						b.Fatal(err)
					}
				}
				fill(b, r.DB, 50_000, time.Hour)
				if without {
					run("DROP INDEX delivery_not_accepted")
				}
				before := spent(b)
				for n := 0; b.Loop(); n++ {
					run(fmt.Sprintf(`WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < %d)
						INSERT INTO delivery (id, channel, route, recipient, serial, via, not_after_ms, state, reason, epoch,
							owner, own_until_ms, unsure, attempts, next_try_ms, relayed_ms, message_id, created_ms, updated_ms)
						SELECT unhex(printf('ff%%014x7000%%012x', %d, i)), 'mail', 'server1', 'a***@example.com', 'PIEM1', 'queue', 0,
							'queued', '', 1, '', 0, 0, 1, 0, 0, '', 0, 0 FROM n`, together, n),
						fmt.Sprintf("UPDATE delivery SET state = '%s', updated_ms = 5 WHERE state IN ('queued', 'deferred', "+
							"'sending') AND not_after_ms = 0", state))
				}
				b.ReportMetric(float64(spent(b)-before)/float64(b.N)/together/1e3, "cpu-us/message")
			})
		}
	}
}

// spent is the processor time of this process so far: what the wall clock says depends on what else runs on the host.
func spent(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// benchRig is a service on a database in a temporary file.
func benchRig(b *testing.B) *delivery.Service {
	b.Helper()
	db, err := store.Open(b.Context(), store.Options{Path: filepath.Join(b.TempDir(), "otpost.db"), Migrate: true})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := db.Close(); err != nil {
			b.Error(err)
		}
	})
	return delivery.New(delivery.Options{DB: db})
}

// Lists and statistics must not read the deliveries themselves before they know which ones to show.
func TestLooksReadIndexesAlone(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, c := range []struct{ query, plan string }{
		{
			"SELECT id FROM delivery WHERE realm IN ('x') AND state IN ('a', 'b') AND created_ms < 5 ORDER BY id DESC " +
				"LIMIT 5",
			"SCAN delivery USING COVERING INDEX delivery_listed",
		},
		{
			"SELECT id FROM delivery WHERE state IN ('a', 'b') AND route = 'x' AND id < x'00' ORDER BY id DESC LIMIT 5",
			"SEARCH delivery USING COVERING INDEX delivery_route (route=? AND id<?)",
		},
		{
			"SELECT id FROM delivery WHERE state = 'a' AND state IN ('failed', 'expired', 'dropped', 'unknown') ORDER " +
				"BY id DESC LIMIT 5",
			"SEARCH delivery USING COVERING INDEX delivery_not_accepted (state=?)",
		},
		{
			"SELECT id FROM delivery WHERE created_ms < 5 AND id < x'00' AND state = 'a' AND state IN ('failed', " +
				"'expired', 'dropped', 'unknown') ORDER BY id DESC LIMIT 5",
			"SEARCH delivery USING COVERING INDEX delivery_not_accepted (state=? AND id<?)",
		},
		{
			"SELECT id FROM delivery WHERE state = 'a' AND id >= (SELECT min(+id) FROM delivery WHERE state IN " +
				"('queued', 'deferred', 'sending')) ORDER BY id DESC LIMIT 5",
			"SEARCH delivery USING COVERING INDEX delivery_listed (id>?)",
		},
		{
			"SELECT min(+id) FROM delivery WHERE state IN ('queued', 'deferred', 'sending')",
			"SEARCH delivery USING INDEX delivery_end",
		},
		{
			"SELECT id FROM delivery WHERE serial = 'x' ORDER BY id DESC LIMIT 5",
			"SEARCH delivery USING COVERING INDEX delivery_serial (serial=?)",
		},
		{
			"SELECT count(*) FROM delivery WHERE realm IN ('x') AND state NOT IN ('queued', 'sending') AND reason = 'a' AND state = 'b' AND route = 'c' AND " +
				"updated_ms >= 1",
			"SEARCH delivery USING COVERING INDEX delivery_outcome (reason=? AND state=? AND route=? AND updated_ms>?)",
		},
		{
			"SELECT count(*) FROM delivery WHERE state IN ('queued', 'deferred', 'sending') AND state <> 'sending'",
			"SCAN delivery USING INDEX delivery_end",
		},
		{
			"SELECT id FROM delivery WHERE state IN ('queued', 'deferred', 'sending') AND not_after_ms <= 1 ORDER BY " +
				"not_after_ms",
			"SEARCH delivery USING INDEX delivery_end (not_after_ms<?)",
		},
		{
			"SELECT id FROM delivery WHERE state IN ('queued', 'deferred', 'sending') AND not_after_ms <= 1 AND " +
				"(not_after_ms, id) > (1, x'00') ORDER BY not_after_ms, id LIMIT 5",
			"SEARCH delivery USING INDEX delivery_end ((not_after_ms,id)>(?,?) AND not_after_ms<?)",
		},
		{
			"SELECT id FROM delivery WHERE state IN ('queued', 'deferred', 'sending') AND next_try_ms <= 1 AND " +
				"(next_try_ms, id) > (1, x'00') ORDER BY next_try_ms, id LIMIT 5",
			"SEARCH delivery USING INDEX delivery_open ((next_try_ms,id)>(?,?) AND next_try_ms<?)",
		},
		{
			"SELECT route FROM delivery WHERE state IN ('queued', 'deferred', 'sending') ORDER BY created_ms, id LIMIT 5",
			"SCAN delivery USING INDEX delivery_end",
		},
		{
			"SELECT max(updated_ms) FROM delivery WHERE updated_ms <= 5",
			"SEARCH delivery USING COVERING INDEX delivery_updated (updated_ms<?)",
		},
		{
			"SELECT id FROM delivery WHERE updated_ms < 1 AND state NOT IN ('queued', 'deferred', 'sending') ORDER BY " +
				"updated_ms LIMIT 2",
			"SEARCH delivery USING INDEX delivery_updated (updated_ms<?)",
		},
	} {
		err := r.db.Read(t.Context(), func(rd store.Reader) error {
			var id, parent, unused int
			var plan string
			err := rd.Get([]any{&id, &parent, &unused, &plan}, "EXPLAIN QUERY PLAN "+c.query)
			if plan != c.plan {
				t.Errorf("%s\n%s, want %s", c.query, plan, c.plan)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
}
