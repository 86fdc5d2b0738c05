package test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// polled is the result of one way to poll.
type polled struct {
	filters []string // of the list, by turns; none: no poll
	took    time.Duration
	mails   int
	spent   time.Duration // processor time of the server
	polls   atomic.Int64  // with an answer
	longest int64         // the WAL, in bytes
}

// perMail is the server's processor time for one mail: unlike the mails per second, it does not
// depend on other load of the machine.
func (p *polled) perMail() time.Duration { return p.spent / time.Duration(max(p.mails, 1)) }

// TestPollersOfACostlyListLeaveTheWALShort lets three clients poll lists that find nothing in a long table beside
// logins: the WAL stays short, mails go on, and the polls are bounded. With OTPOST_SOAK for 70 seconds each among
// 300,000 deliveries; rates and processor time are printed.
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
		INSERT INTO delivery (id, channel, route, recipient, serial, via, not_after_ms, state, reason, epoch,
			owner, own_until_ms, unsure, attempts, next_try_ms, relayed_ms, message_id, created_ms, updated_ms)
		SELECT CAST(printf('%%016d', i) AS BLOB), 'mail', 'queued', 'x***@example.org', 'POLLED', 'queue', %d,
			'accepted', '', 1, '', 0, 0, 1, 0, 0, printf('%%032d', i), %d, %d FROM n`,
		rows, time.Now().UnixMilli(), time.Now().UnixMilli(), time.Now().UnixMilli()))
	statement(t, path, "PRAGMA wal_checkpoint(TRUNCATE)")
	ways := []*polled{
		{},
		{filters: []string{"state=unknown"}},
		// they scan
		{filters: []string{"since=2099-01-01T00:00:00Z", "serial=POLLED&state=unknown",
			"state=accepted,failed&until=2001-01-01T00:00:00Z"}},
	}
	for _, p := range ways {
		w.poll(t, p, all, length)
	}
	alone := ways[0]
	for _, p := range ways {
		t.Logf("polls of %v: %d, %.0f mails/s (%.2f of those alone), %v of the processors a mail (alone is %.2f of "+
			"it), the longest WAL %.1f MiB",
			p.filters, p.polls.Load(), float64(p.mails)/p.took.Seconds(), float64(p.mails)/float64(alone.mails),
			p.perMail(),
			float64(alone.perMail())/float64(p.perMail()), float64(p.longest)/(1<<20))
		if p.longest > 96<<20 {
			t.Errorf("the WAL grew to %d MiB", p.longest>>20)
		}
		if p.mails == 0 {
			t.Error("no mail beside the pollers")
		}
		// docs/limits.md: a read counts for 5 ms of 2 + 2 seconds and of 1/8 + 1/8 of the time.
		if most := int64((4 + p.took.Seconds()/4) / 0.005); p.polls.Load() > most {
			t.Errorf("%d polls in %v, at most %d", p.polls.Load(), p.took, most)
		}
	}
}

// poll lets three clients poll beside eight that log in, and records the result in p.
func (w *world) poll(t *testing.T, p *polled, all []*login, length time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), length)
	defer cancel()
	begun, mails, spent := time.Now(), w.sink.Count(), processorTime(t, w.server.PID())
	var parts sync.WaitGroup
	for range 3 {
		parts.Go(func() {
			for n := 0; ctx.Err() == nil && len(p.filters) > 0; n++ {
				a, err := w.server.Do(ctx, http.MethodGet, "/delivery/?"+p.filters[n%len(p.filters)], nil)
				switch {
				case ctx.Err() != nil:
				case err == nil && a.HTTPStatus == http.StatusOK:
					p.polls.Add(1)
				case err != nil || a.HTTPStatus != http.StatusServiceUnavailable:
					t.Errorf("a poll: %v %s", err, a)
				}
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
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		<-tick.C
		if info, err := os.Stat(database(w.Site) + "-wal"); err == nil {
			p.longest = max(p.longest, info.Size())
		}
	}
	p.mails = w.sink.Count() - mails
	p.spent = processorTime(t, w.server.PID()) - spent
	p.took = time.Since(begun)
	parts.Wait()
}

// processorTime is that of a process so far, in ticks of 10 ms (proc_pid_stat(5): utime and stime).
func processorTime(t *testing.T, pid int) time.Duration {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:])) // behind the name, which may hold spaces
	var all time.Duration
	for _, field := range fields[11:13] {
		ticks, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(err)
		}
		all += time.Duration(ticks) * 10 * time.Millisecond
	}
	return all
}
