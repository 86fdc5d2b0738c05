package access

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"otpost/internal/fault"
	"otpost/internal/pinhash"
	"otpost/internal/store"
)

const (
	freeFailures = 3                // wrong passwords without a delay: people mistype
	longestDelay = 15 * time.Minute // the longest delay, so that a stranger cannot lock an account for good
	forgetAfter  = 24 * time.Hour   // without another failure
)

// The bounds of the table auth_failure. Each row costs one password hash, so a machine with two
// cores makes about 33 a second. Tests that fill the table lower them.
const (
	mostKnown     = 50_000 // rows of names that exist
	mostUnknown   = 20_000 // rows of names that do not exist
	mostOfNetwork = 64     // rows of names that do not exist, of one network
)

// anyClient is the column client of the row that all networks without a row of their own share at a
// name.
const anyClient = "*"

// Old rows are deleted in transactions of this size, and at most so many a minute.
const (
	pruneBatch   = 500
	pruneBatches = 100
)

// The statements that read or delete; each reads by an index (0008_guesses_and_serials.sql).
const (
	readGuess      = `SELECT count, not_before_ms FROM auth_failure WHERE name = $1 AND client = $2`
	countOfNetwork = `SELECT count(*) FROM auth_failure WHERE known = 0 AND client = $1`
	deleteOld      = `DELETE FROM auth_failure WHERE (name, client) IN (
		SELECT name, client FROM auth_failure WHERE not_before_ms < $1 ORDER BY not_before_ms LIMIT $2) RETURNING 1`
)

// evictOldest returns the statement that deletes the $1 oldest rows of names that do not exist;
// where is a further condition.
func evictOldest(where string) string {
	return `DELETE FROM auth_failure WHERE (name, client) IN (
		SELECT name, client FROM auth_failure WHERE known = 0` + where + ` ORDER BY not_before_ms LIMIT $1) RETURNING 1`
}

// Guard slows the guessing of passwords at /auth, by name and client network (docs/security.md, "Codes and
// guesses"): an IPv4 address, or the /64 of an IPv6 address. It counts in the database, so that a restart resets no
// delay. It is safe for concurrent use.
//
// The table is bounded, and a full table resets no delay of a name that exists: its guesses from
// further networks share one row. Names that do not exist have rows too: an answer without a delay
// would reveal that a name does not exist. The oldest of these rows make room for new ones.
type Guard struct {
	db     *store.DB
	limits guardLimits

	mu             sync.Mutex // guards the counts
	counted        bool
	known, unknown int // rows, as far as this process knows: exact after each Prune
}

// guardLimits are the bounds of the table; tests lower them.
type guardLimits struct{ known, unknown, network int }

// NewGuard returns the guard of a database.
func NewGuard(db *store.DB) *Guard {
	return &Guard{db: db, limits: guardLimits{known: mostKnown, unknown: mostUnknown, network: mostOfNetwork}}
}

// Waiting is fault 4031 while a delay runs; the guess was not counted.
type Waiting struct {
	Refusal *fault.Error
	Seconds int64 // until a guess is checked again
}

// Error returns the error of the fault, for the log.
func (w *Waiting) Error() string { return w.Refusal.Error() }

// Unwrap returns the fault.
func (w *Waiting) Unwrap() error { return w.Refusal }

// Pay counts a guess at a name that exists, before the password is checked; Clear takes the count
// back after a right guess. While a delay runs, Pay counts nothing and returns *Waiting; the caller
// must not check the password then. The delay after the fourth wrong guess is 1 s and doubles.
func (g *Guard) Pay(ctx context.Context, name, client string) error {
	return g.pay(ctx, name, client, true)
}

// PayUnknown is Pay for a name that does not exist. It answers as Pay does.
func (g *Guard) PayUnknown(ctx context.Context, name, client string) error {
	return g.pay(ctx, name, client, false)
}

func (g *Guard) pay(ctx context.Context, name, client string, known bool) error {
	if err := g.count(ctx); err != nil {
		return err
	}
	now, network := g.db.Now(), pinhash.Network(client)
	var wait time.Duration
	var made, evicted int
	err := g.db.WriteLight(ctx, func(tx *store.Tx) error {
		made, evicted, wait = 0, 0, 0
		row, err := g.row(tx, name, network, known)
		if err != nil {
			return err
		}
		// A delay beyond the longest comes from a clock that was set back.
		if wait = row.notBefore.Sub(now); wait > 0 && wait <= longestDelay {
			return nil
		}
		wait = 0
		if !row.stands {
			made = 1
			if !known {
				if evicted, err = g.makeRoom(tx, network); err != nil {
					return err
				}
			}
		}
		return row.raise(tx, now, name, known)
	})
	if err != nil {
		return fmt.Errorf("count a password guess: %w", err)
	}
	if wait > 0 {
		seconds := int64((wait + time.Second - 1) / time.Second)
		return &Waiting{Seconds: seconds,
			Refusal: fault.Newf(fault.BadCredentials, "password_delay",
				"Authentication failed. Too many wrong passwords: try again in %d s.", seconds)}
	}
	g.changed(known, made-evicted)
	return nil
}

// failures is a row of auth_failure, stored or still to be inserted.
type failures struct {
	client    string
	count     int64
	notBefore time.Time
	stands    bool
}

// errOvertaken says that another transaction has counted a guess since the row was read.
var errOvertaken = fmt.Errorf("%w: another guess was counted meanwhile", store.ErrBusy)

// raise counts a guess in the row. It is a compare-and-set: of several guesses that have read the same count, one is
// counted, and the others fail with errOvertaken.
func (f failures) raise(tx *store.Tx, now time.Time, name string, known bool) error {
	count := f.count + 1
	raised, err := tx.Changed(`INSERT INTO auth_failure (name, client, count, not_before_ms, known)
		VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (name, client) DO UPDATE SET count = excluded.count, not_before_ms = excluded.not_before_ms,
			known = CASE WHEN excluded.known = 1 THEN 1 ELSE auth_failure.known END
		WHERE auth_failure.count = $6 RETURNING 1`,
		name, f.client, count, store.Millis(now.Add(delay(count))), store.Flag(known), f.count)
	if err == nil && !raised {
		err = errOvertaken
	}
	return err
}

// row returns the row that a guess counts in. At a full table a name that exists shares the row of all other networks.
func (g *Guard) row(tx *store.Tx, name, network string, known bool) (failures, error) {
	found, err := readFailures(tx, name, network)
	if err != nil || found.stands || !known || !g.full() {
		return found, err
	}
	return readFailures(tx, name, anyClient)
}

func readFailures(tx *store.Tx, name, client string) (failures, error) {
	f := failures{client: client}
	err := tx.Get([]any{&f.count, store.NullTime{To: &f.notBefore}},
		readGuess, name, client)
	if errors.Is(err, store.ErrNotFound) {
		return f, nil
	}
	f.stands = err == nil
	return f, err
}

// makeRoom deletes the oldest rows of names that do not exist, until one more fits into the bounds
// of the network and of the table.
func (g *Guard) makeRoom(tx *store.Tx, network string) (evicted int, err error) {
	drop := func(n int, where string, args ...any) error {
		return tx.Query(func(store.Scan) error {
			evicted++
			return nil
		}, evictOldest(where), append([]any{n}, args...)...)
	}
	var ofNetwork int
	if err := tx.Get([]any{&ofNetwork}, countOfNetwork, network); err != nil {
		return 0, err
	}
	if surplus := ofNetwork + 1 - g.limits.network; surplus > 0 {
		return evicted, drop(surplus, ` AND client = $2`, network)
	}
	g.mu.Lock()
	surplus := g.unknown + 1 - g.limits.unknown
	g.mu.Unlock()
	if surplus > 0 {
		err = drop(min(surplus, pruneBatch), "")
	}
	return evicted, err
}

// full reports whether names that exist get no further rows.
func (g *Guard) full() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.known >= g.limits.known
}

// changed adds to the number of rows that this process knows of.
func (g *Guard) changed(known bool, n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if known {
		g.known += n
	} else {
		g.unknown = max(0, g.unknown+n)
	}
}

// count counts the rows once for the process. Prune counts them anew: other processes make rows, too.
func (g *Guard) count(ctx context.Context) error {
	g.mu.Lock()
	counted := g.counted
	g.mu.Unlock()
	if counted {
		return nil
	}
	return g.recount(ctx)
}

func (g *Guard) recount(ctx context.Context) error {
	var all, unknown int
	err := g.db.Read(ctx, func(r store.Reader) error {
		return r.Get([]any{&all, &unknown},
			`SELECT (SELECT count(*) FROM auth_failure), (SELECT count(*) FROM auth_failure WHERE known = 0)`)
	})
	if err != nil {
		return fmt.Errorf("count rows of password guesses: %w", err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.known, g.unknown, g.counted = all-unknown, unknown, true
	return nil
}

// Clear forgets the wrong guesses after a right one. The row stays, without a delay: while the
// table is full, this network keeps its own row and does not share anyClient's. The row of
// anyClient is never cleared, because its guesses come from several clients.
func (g *Guard) Clear(ctx context.Context, name, client string) error {
	return g.take(ctx, name, client, `count = 0`, "forget password guesses")
}

// Return takes back the count of one guess that was not checked, because this server failed.
func (g *Guard) Return(ctx context.Context, name, client string) error {
	return g.take(ctx, name, client, `count = count - 1`, "give a password guess back")
}

func (g *Guard) take(ctx context.Context, name, client, set, what string) error {
	now := store.Millis(g.db.Now())
	err := g.db.WriteLight(ctx, func(tx *store.Tx) error {
		own, err := tx.Changed(`UPDATE auth_failure SET `+set+`, not_before_ms = $3
			WHERE name = $1 AND client = $2 AND count > 0 RETURNING count`, name, pinhash.Network(client), now)
		if err != nil || own {
			return err
		}
		tx.Put(
			`UPDATE auth_failure SET count = count - 1, not_before_ms = $3 WHERE name = $1 AND client = $2
				AND count > 0`,
			name, anyClient, now)
		return nil
	})
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// Prune deletes rows that no guess has touched for a day, in short transactions: logins go between them.
func (g *Guard) Prune(ctx context.Context) error {
	before := store.Millis(g.db.Now().Add(-forgetAfter))
	for range pruneBatches {
		n := 0
		err := g.db.WriteLight(ctx, func(tx *store.Tx) error {
			deleted := 0
			err := tx.Query(func(store.Scan) error { deleted++; return nil }, deleteOld, before, pruneBatch)
			n = deleted
			return err
		})
		if err != nil {
			return fmt.Errorf("delete old password guesses: %w", err)
		}
		if n < pruneBatch {
			break
		}
	}
	return g.recount(ctx)
}

// delay returns how long guesses are refused after so many wrong ones.
func delay(count int64) time.Duration {
	if count <= freeFailures {
		return 0
	}
	shift := min(count-freeFailures-1, 20)
	return min(time.Second<<shift, longestDelay)
}

// Network returns the network that clients are counted by: an IPv4 address, or the /64 of an IPv6
// address.
func Network(client string) string { return pinhash.Network(client) }
