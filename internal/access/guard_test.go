package access

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"otpost/internal/fault"
	"otpost/internal/store"
	"otpost/internal/store/storetest"
)

// guardRows returns how many rows a condition names.
func guardRows(t *testing.T, db *store.DB, where string, args ...any) (n int) {
	t.Helper()
	err := db.Read(t.Context(), func(r store.Reader) error {
		return r.Get([]any{&n}, `SELECT count(*) FROM auth_failure WHERE `+where, args...)
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// paidGuess pays and fails the test where the guard is at fault. It reports whether the guess was let through.
func paidGuess(t *testing.T, pay error) bool {
	t.Helper()
	var waiting *Waiting
	if pay != nil && !errors.As(pay, &waiting) {
		t.Fatal(pay)
	}
	return pay == nil
}

func TestGuessesOfStrangersStayBounded(t *testing.T) {
	t.Parallel()
	db, _ := open(t)
	g := NewGuard(db)
	g.limits = guardLimits{known: 30, unknown: 20, network: 4}
	for n := range 60 {
		paidGuess(t, g.PayUnknown(t.Context(), fmt.Sprint("unknown", n), "192.0.2.1"))
	}
	if n := guardRows(t, db, `known = 0 AND client = '192.0.2.1'`); n != g.limits.network {
		t.Errorf("%d rows of names that do not exist from one client, want %d", n, g.limits.network)
	}
	for n := range 100 {
		paidGuess(t, g.PayUnknown(t.Context(), fmt.Sprint("unknown", n), fmt.Sprintf("2001:db8:0:%x::1", n)))
	}
	if n := guardRows(t, db, `known = 0`); n != g.limits.unknown {
		t.Errorf("%d rows of names that do not exist, want %d", n, g.limits.unknown)
	}
	const names = 3
	for n := range 100 {
		paidGuess(t, g.Pay(t.Context(), fmt.Sprint("admin", n%names), fmt.Sprintf("198.51.100.%d", n)))
	}
	if n := guardRows(t, db, `known = 1`); n != g.limits.known+names {
		t.Errorf("%d rows of %d names that exist, want %d and a shared one of each", n, names, g.limits.known)
	}
	if err := NewGuard(db).Prune(t.Context()); err != nil {
		t.Error(err)
	}
	restarted := NewGuard(db)
	restarted.limits = g.limits
	paidGuess(t, restarted.PayUnknown(t.Context(), "late", "203.0.113.1"))
	if n := guardRows(t, db, `known = 0`); n != g.limits.unknown {
		t.Errorf("%d rows of names that do not exist after a restart, want %d", n, g.limits.unknown)
	}
}

func TestFullTableResetsNoDelayOfANameThatExists(t *testing.T) {
	t.Parallel()
	db, clock := open(t)
	g := NewGuard(db)
	g.limits = guardLimits{known: 10, unknown: 10, network: 4}
	for range freeFailures + 1 {
		paidGuess(t, g.Pay(t.Context(), "admin", "192.0.2.1"))
	}
	for n := range 50 {
		paidGuess(t, g.PayUnknown(t.Context(), fmt.Sprint("unknown", n), "192.0.2.1"))
		paidGuess(t, g.Pay(t.Context(), "other", fmt.Sprintf("198.51.100.%d", n)))
	}
	wantFault(t, g.Pay(t.Context(), "admin", "192.0.2.1"), fault.BadCredentials, "try again")
	let := 0
	for n := range 50 {
		if paidGuess(t, g.Pay(t.Context(), "admin", fmt.Sprintf("203.0.113.%d", n))) {
			let++
		}
	}
	if let > freeFailures+1 {
		t.Errorf("%d guesses at one name from ever new addresses were let through at a full table, want %d", let,
			freeFailures+1)
	}
	clock.Advance(time.Second)
	if !paidGuess(t, g.Pay(t.Context(), "admin", "192.0.2.1")) {
		t.Error("the shared row delays an address with a row of its own")
	}
}

func TestRightPasswordKeepsTheRowOfItsAddress(t *testing.T) {
	t.Parallel()
	db, _ := open(t)
	g := NewGuard(db)
	g.limits = guardLimits{known: 1, unknown: 10, network: 4}
	paidGuess(t, g.Pay(t.Context(), "admin", "192.0.2.1"))
	if err := g.Clear(t.Context(), "admin", "192.0.2.1"); err != nil {
		t.Fatal(err)
	}
	for n := range 20 {
		paidGuess(t, g.Pay(t.Context(), "admin", fmt.Sprintf("198.51.100.%d", n)))
	}
	if !paidGuess(t, g.Pay(t.Context(), "admin", "192.0.2.1")) {
		t.Error("strangers delay the address that was right")
	}
	if err := g.Clear(t.Context(), "admin", "198.51.100.1"); err != nil {
		t.Fatal(err)
	}
	if n := guardRows(t, db, `name = 'admin' AND client = '*' AND count >= $1`, freeFailures); n != 1 {
		t.Error("a right password from one address resets the delay of all others")
	}
}

// An answer must not tell whether a name exists.
func TestUnknownNameIsDelayedAsAKnownOne(t *testing.T) {
	t.Parallel()
	db, clock := open(t)
	g := NewGuard(db)
	for step := range 12 {
		known, unknown := g.Pay(t.Context(), "admin", "192.0.2.1"), g.PayUnknown(t.Context(), "nosuch", "192.0.2.1")
		if fmt.Sprint(known) != fmt.Sprint(unknown) {
			t.Errorf("step %d: %v for a name that exists, %v for another", step, known, unknown)
		}
		clock.Advance(time.Duration(step) * time.Second)
	}
}

func TestOneNetworkIsOneClient(t *testing.T) {
	t.Parallel()
	db, _ := open(t)
	g := NewGuard(db)
	for n := range freeFailures + 1 {
		paidGuess(t, g.Pay(t.Context(), "admin", fmt.Sprintf("2001:db8::%x", n)))
	}
	if paidGuess(t, g.Pay(t.Context(), "admin", "2001:db8::ffff")) {
		t.Error("another address of the same /64 has guesses of its own")
	}
	if !paidGuess(t, g.Pay(t.Context(), "admin", "2001:db8:0:1::1")) {
		t.Error("another /64 is delayed")
	}
}

func TestDelayFromAClockThatWasSetBackIsVoid(t *testing.T) {
	t.Parallel()
	db, clock := open(t)
	g := NewGuard(db)
	for range freeFailures + 1 {
		paidGuess(t, g.Pay(t.Context(), "admin", "192.0.2.1"))
	}
	clock.Advance(-time.Hour)
	if !paidGuess(t, g.Pay(t.Context(), "admin", "192.0.2.1")) {
		t.Error("the delay lasts as long as the step of the clock")
	}
	if paidGuess(t, g.Pay(t.Context(), "admin", "192.0.2.1")) {
		t.Error("the next guess is not delayed")
	}
}

func TestOldGuessesAreDeletedInBatches(t *testing.T) {
	t.Parallel()
	db, clock := open(t)
	g := NewGuard(db)
	fillGuard(t, db, 3*pruneBatch/2, 0)
	clock.Advance(forgetAfter + time.Second)
	paidGuess(t, g.Pay(t.Context(), "admin", "192.0.2.1"))
	if n := guardRows(t, db, `1 = 1`); n != 3*pruneBatch/2+1 {
		t.Errorf("a guess left %d rows, it must delete none", n)
	}
	if err := g.Prune(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := guardRows(t, db, `1 = 1`); n != 1 {
		t.Errorf("%d rows are left, want the fresh one", n)
	}
}

// fillGuard writes rows of guesses without paying for them.
func fillGuard(t testing.TB, db *store.DB, n, known int) {
	t.Helper()
	err := db.Write(t.Context(), func(tx *store.Tx) error {
		for i := range n {
			tx.Put(`INSERT INTO auth_failure (name, client, count, not_before_ms, known) VALUES ($1, $2, 1, $3, $4)`,
				fmt.Sprintf("%d filled %d", known, i), fmt.Sprintf("10.0.%d.%d", i/250%250, i%250),
				store.Millis(db.Now()), known)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestGuessCostsNoMoreAtAFullTable compares what a guess takes at an empty table and at one with as many rows as
// can be made, by turns, so that what else the machine does meets both. A guess at a full table deletes a row, too.
func TestGuessCostsNoMoreAtAFullTable(t *testing.T) {
	t.Parallel()
	if os.Getenv("OTPOST_SOAK") == "" {
		t.Skip("OTPOST_SOAK is not set: the test compares times")
	}
	empty, full := storetest.Open(t, nil), storetest.Open(t, nil)
	fillGuard(t, full, mostKnown, 1)
	fillGuard(t, full, mostUnknown, 0)
	guards := []*Guard{NewGuard(empty), NewGuard(full)}
	took := make([][]time.Duration, len(guards))
	const guesses = 3000
	for n := range guesses {
		for k := range guards {
			i := (n + k) % 2
			begun := time.Now()
			if n%2 == 0 {
				paidGuess(t, guards[i].Pay(t.Context(), fmt.Sprint("admin", n), "192.0.2.1"))
			} else {
				paidGuess(t, guards[i].PayUnknown(t.Context(), fmt.Sprint("unknown", n),
					fmt.Sprintf("192.0.2.%d", n%250)))
			}
			took[i] = append(took[i], time.Since(begun))
		}
	}
	at := func(i, percent int) time.Duration {
		slices.Sort(took[i])
		return took[i][guesses*percent/100]
	}
	t.Logf("a guess takes %v (p99 %v) at an empty table, %v (p99 %v) at a full one", at(0, 50), at(0, 99),
		at(1, 50), at(1, 99))
	if at(1, 50) > 3*at(0, 50) || at(1, 99) > 3*at(0, 99) {
		t.Error("a guess at a full table takes more than three times as long")
	}
}

// Every statement of the guard reads by an index: it runs in the one writer.
func TestGuardReadsByIndex(t *testing.T) {
	t.Parallel()
	db, _ := open(t)
	for _, query := range []string{evictOldest(""), evictOldest(" AND client = $2"), deleteOld, readGuess,
		countOfNetwork} {
		args := []any{1, 2}[:strings.Count(query, "$")]
		err := db.Read(t.Context(), func(r store.Reader) error {
			return r.Query(func(scan store.Scan) error {
				var id, parent, unused int
				var plan string
				err := scan(&id, &parent, &unused, &plan)
				if strings.HasPrefix(plan, "SCAN") && !strings.Contains(plan, "INDEX") ||
					strings.Contains(plan, "TEMP B-TREE") {
					t.Errorf("%s: %s", query, plan)
				}
				return err
			}, "EXPLAIN QUERY PLAN "+query, args...)
		})
		if err != nil {
			t.Error(err)
		}
	}
}

func TestGuessIsCountedOnTheCountThatWasRead(t *testing.T) {
	t.Parallel()
	db, _ := open(t)
	err := db.Write(t.Context(), func(tx *store.Tx) error {
		read := failures{client: "192.0.2.0/24"}
		if err := read.raise(tx, db.Now(), "alice", true); err != nil {
			t.Errorf("first guess: %v", err)
		}
		if err := read.raise(tx, db.Now(), "alice", true); !errors.Is(err, errOvertaken) {
			t.Errorf("second guess on the same count: %v, want errOvertaken", err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
