package test

import (
	"fmt"
	"sync"
	"testing"

	"otpost/test/e2e"
)

// together runs n checks at once and returns the number of each authentication.
func together(t *testing.T, n int, check func(i int) (e2e.Answer, error)) map[string]int {
	t.Helper()
	var mu sync.Mutex
	got := map[string]int{}
	var all sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		all.Go(func() {
			<-start
			a, err := check(i)
			if err != nil || a.HTTPStatus != 200 {
				t.Errorf("check %d: %v %s", i, err, a)
			}
			mu.Lock()
			defer mu.Unlock()
			got[a.Result.Authentication]++
		})
	}
	close(start)
	all.Wait()
	return got
}

// wrong returns a wrong code, a different one for each i.
func wrong(code string, i int) string {
	first := (code[0]-'0'+1)%10 + '0'
	return fmt.Sprintf("%c%05d", first, i)
}

func TestParallelWrongAnswersAllCount(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, c := range []struct {
		name      string
		max, want int
		inPIN     bool
	}{
		{"codes under a high limit", 50, 20, false},
		{"codes up to the limit", 10, 10, false},
		{"PINs under a high limit", 50, 20, true},
		{"PINs up to the limit", 10, 10, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := w.enrol(t, fmt.Sprintf("GUESS%d%t", c.max, c.inPIN))
			w.server.Must(t, "POST", "/token/set", map[string]any{"serial": l.serial, "max_failcount": c.max})
			l.begin(t, w.server.Client)
			m := w.sink.Mail(t, l.address, 1)
			got := together(t, 20, func(i int) (e2e.Answer, error) {
				if c.inPIN {
					return w.server.Check(t.Context(), l.serial, fmt.Sprintf("no-pin-%d", i))
				}
				return w.server.Check(t.Context(), l.serial, wrong(m.Code(), i), "transaction_id", l.transaction)
			})
			if got["REJECT"] != 20 {
				t.Errorf("20 wrong answers came to %v", got)
			}
			if n := w.server.Failcount(t, l.serial); n != c.want {
				t.Errorf("fail counter %d, want %d", n, c.want)
			}
			if c.want < c.max {
				l.finish(t, w.server.Client, m)
				return
			}
			a := w.server.MustCheck(t, "REJECT", l.serial, m.Code(), "transaction_id", l.transaction)
			if a.Detail.Message != "Failcounter exceeded" {
				t.Errorf("the right code of a locked token: %s", a)
			}
		})
	}
}

func TestOneCodeIsAcceptedOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for round := range 5 {
		l := w.enrol(t, fmt.Sprintf("ONCE%d", round))
		for _, withTransaction := range []bool{false, true} {
			n := len(w.sink.Mails(l.address))
			l.begin(t, w.server.Client)
			code := w.sink.Mail(t, l.address, n+1).Code()
			got := together(t, 8, func(int) (e2e.Answer, error) {
				if withTransaction {
					return w.server.Check(t.Context(), l.serial, code, "transaction_id", l.transaction)
				}
				return w.server.Check(t.Context(), l.serial, l.pin+code)
			})
			if got["ACCEPT"] != 1 || got["REJECT"] != 7 {
				t.Errorf("round %d, transaction %t: 8 clients with one code came to %v", round, withTransaction, got)
			}
			w.server.Must(t, "POST", "/token/reset", map[string]any{"serial": l.serial})
		}
	}
}

// TestTwoServersShareTheirGuesses gives wrong and right answers to two servers of one database at
// once: the counts are in the database, not in a process.
func TestTwoServersShareTheirGuesses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	servers := []*e2e.Server{w.server, w.Serve(t)}
	for round := range 5 {
		l := w.enrol(t, fmt.Sprintf("TWICE%d", round))
		w.server.Must(t, "POST", "/token/set", map[string]any{"serial": l.serial, "max_failcount": 50})
		l.begin(t, servers[round%2].Client)
		m := w.sink.Mail(t, l.address, 1)
		got := together(t, 20, func(i int) (e2e.Answer, error) {
			return servers[i%2].Check(t.Context(), l.serial, wrong(m.Code(), i), "transaction_id", l.transaction)
		})
		if n := w.server.Failcount(t, l.serial); got["REJECT"] != 20 || n != 20 {
			t.Errorf("round %d: 20 wrong answers came to %v and a fail counter of %d", round, got, n)
		}
		got = together(t, 8, func(i int) (e2e.Answer, error) {
			return servers[i%2].Check(t.Context(), l.serial, m.Code(), "transaction_id", l.transaction)
		})
		if got["ACCEPT"] != 1 || got["REJECT"] != 7 {
			t.Errorf("round %d: 8 clients with one code came to %v", round, got)
		}
	}
}

// TestRefusedForWantOfTimeIsNotCounted sends more guesses at one token than can be checked in the
// time that a login may wait: guesses that are refused with 503 do not count.
func TestRefusedForWantOfTimeIsNotCounted(t *testing.T) {
	t.Parallel()
	site := e2e.NewSite(t, programs, true)
	site.Append(t, "PI_HASH_ALGO_PARAMS = {'argon2__rounds': 8, 'argon2__memory_cost': 65536, "+
		"'argon2__parallelism': 1}\n")
	w := startWorld(t, site)
	l := w.enrol(t, "BUSY")
	w.server.Must(t, "POST", "/token/set", map[string]any{"serial": l.serial, "max_failcount": 100})
	var mu sync.Mutex
	got := map[int]int{}
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			a, err := w.server.Check(t.Context(), l.serial, fmt.Sprintf("no-pin-%d", i))
			if err != nil || a.HTTPStatus == 503 && a.Result.Error.Code != 5003 {
				t.Errorf("%v %s", err, a)
			}
			mu.Lock()
			defer mu.Unlock()
			got[a.HTTPStatus]++
		})
	}
	all.Wait()
	t.Logf("answers by status: %v", got)
	if got[200]+got[503] != 40 || got[200] == 0 {
		t.Errorf("answers by status: %v, want 200 and 503", got)
	}
	if n := w.server.Failcount(t, l.serial); n != got[200] {
		t.Errorf("fail counter %d after %d guesses that were looked at", n, got[200])
	}
}
