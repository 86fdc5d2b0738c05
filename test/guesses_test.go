package test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"otpost/test/e2e"
)

// guesses posts wrong passwords to a server, 5 a second, each for another name from another network, until ctx ends.
func guesses(ctx context.Context, t *testing.T, server *e2e.Server) {
	t.Helper()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		form := url.Values{"username": {fmt.Sprint("guessed", n)}, "password": {"wrong"}}
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL+"/auth",
			strings.NewReader(form.Encode()))
		if err != nil {
			t.Error(err)
			return
		}
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		request.Header.Set("X-Forwarded-For", fmt.Sprintf("198.18.%d.%d", n/250, n%250))
		answer, err := server.HTTP.Do(request)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			t.Error(err)
			return
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusUnauthorized && answer.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("a guess was answered with %d", answer.StatusCode)
		}
	}
}

// p99 returns the time that at most 1 % of the times exceed.
func p99(took []time.Duration) time.Duration {
	slices.Sort(took)
	return took[len(took)*99/100]
}

// TestLoginsBesideGuessesCostNoMoreAtAFullTable compares whole logins (PIN, mail, code) at two
// servers by turns: one with an empty auth_failure, one with as many rows as can be made
// (internal/access/guard.go). Guesses go to both. With OTPOST_SOAK 2,000 logins at each, whose p99
// may differ by 1.2; else 40, whose times are only printed.
func TestLoginsBesideGuessesCostNoMoreAtAFullTable(t *testing.T) {
	t.Parallel()
	const known, unknown = 50_000, 20_000
	logins := 40
	if soak() > 0 {
		logins = 2_000
	}
	worlds := []*world{newWorld(t), newWorld(t)}
	statement(t, database(worlds[1].Site),
		fmt.Sprintf(`WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < %d)
		INSERT INTO auth_failure (name, client, count, not_before_ms, known)
		SELECT printf('filled %%d', i * 7919 %% 1000003),
			printf('10.%%d.%%d.%%d', i / 62500, i / 250 %% 250, i %% 250), 1, %d + i, i <= %d FROM n`,
			known+unknown, time.Now().UnixMilli()-known-unknown, known))
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var parts sync.WaitGroup
	enrolled := make([]*login, len(worlds))
	for i, w := range worlds {
		w.server.Set(t, "OverrideAuthorizationClient", "127.0.0.1")
		w.restart(t) // the rows are counted once for a process
		enrolled[i] = w.enrol(t, "GUESSED")
		parts.Go(func() { guesses(ctx, t, w.server) })
	}
	took := make([][]time.Duration, len(worlds))
	for n := range logins {
		for k := range worlds {
			i := (n + k) % 2 // which server comes first changes
			w, l := worlds[i], enrolled[i]
			begun := time.Now()
			l.begin(t, w.server.Client)
			spent := time.Since(begun)
			m := w.sink.Mail(t, l.address, n+1)
			begun = time.Now()
			l.finish(t, w.server.Client, m)
			took[i] = append(took[i], spent+time.Since(begun))
		}
	}
	stop()
	parts.Wait()
	// one more row is the administrator's
	if n := number(t, database(worlds[1].Site), "SELECT count(*) FROM auth_failure"); n > known+unknown+1 {
		t.Errorf("auth_failure has %d rows", n)
	}
	empty, full := p99(took[0]), p99(took[1])
	ratio := float64(full) / float64(empty)
	t.Logf("%d logins: p50 %v and p99 %v at an empty table, p50 %v and p99 %v at a full one, ratio of the p99 %.2f",
		logins, took[0][logins/2], empty, took[1][logins/2], full, ratio)
	if soak() > 0 && ratio > 1.2 {
		t.Errorf("the p99 of a login at a full table is %.2f of that at an empty one", ratio)
	}
}
