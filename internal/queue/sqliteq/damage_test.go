package sqliteq_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"otpost/internal/queue"
	"otpost/internal/queue/queuetest"
	"otpost/internal/queue/sqliteq"
	"otpost/internal/store"
)

// junk are values that no column of job or queue_worker holds; SQLite takes them all.
var junk = []string{`x'0102'`, `'junk'`, `''`, `x''`, `-1`, `1.5`, `9223372036854775807`, `-9223372036854775808`,
	`zeroblob(16)`}

// change runs a statement as a person with a shell at the database would.
func change(t *testing.T, db *store.DB, statement string, args ...any) {
	t.Helper()
	if err := db.Write(t.Context(), func(tx *store.Tx) error { tx.Put(statement, args...); return nil }); err != nil {
		t.Fatal(err)
	}
}

// works drives every method of a queue as worker and relay do, and wants each given job to be run within a few rounds.
func works(t *testing.T, db *store.DB, d *sqliteq.Driver, w uuid.UUID, want ...queue.Job) {
	t.Helper()
	left := make(map[uuid.UUID]bool)
	for _, j := range want {
		left[j.ID] = true
	}
	var done []queue.Result
	for n := 1; ; n++ {
		if n > 30 {
			t.Fatalf("%d of %d jobs were not run", len(left), len(want))
		}
		for _, j := range want { // as the relay: what the queue does not know
			err := db.WriteLight(t.Context(), func(tx *store.Tx) error {
				missing, err := d.Unknown(tx, j.ID)
				if err == nil && len(missing) == 1 && left[j.ID] {
					d.EnqueueTx(tx, j)
				}
				return err
			})
			if err != nil {
				t.Fatalf("unknown: %v", err)
			}
		}
		got, err := d.Claim(t.Context(), queue.ClaimRequest{Worker: w, Most: 4, Kinds: []string{kind}, Done: done})
		if err != nil {
			t.Fatalf("claim: %v", err)
		}
		if done = nil; len(got) == 0 && len(left) == 0 && n > 3 {
			break
		}
		var held []uuid.UUID
		for _, c := range got {
			delete(left, c.ID)
			held = append(held, c.ID)
			done = append(done, queue.Result{ID: c.ID, Token: c.Token})
		}
		_, err1 := d.Sweep(t.Context())
		_, err2 := d.Workers(t.Context())
		_, err3 := d.Status(t.Context())
		_, err4 := d.List(t.Context(), queue.Filter{})
		_, err5 := d.List(t.Context(), queue.Filter{ID: want[0].ID})
		for _, err := range []error{d.Heartbeat(t.Context(), w), d.Reconcile(t.Context(), w, held), err1, err2, err3, err4, err5} {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	begun := time.Now()
	if err := d.Wait(t.Context(), []string{kind}, nil, 20*time.Millisecond); err != nil {
		t.Fatalf("wait: %v", err)
	}
	if time.Since(begun) < 20*time.Millisecond {
		t.Fatal("Wait sees a job that no claim brings: a hot loop")
	}
}

func TestDamagedJobPutsOnlyItselfAside(t *testing.T) {
	t.Parallel()
	columns := []string{
		"id", "queue", "kind", "lane", "priority", "state", "run_at_ms", "not_after_ms", "worker", "token", "verdict",
		"swept_owner",
		"crashes", "payload", "reason", "created_ms",
	}
	for _, state := range []string{"ready", "scheduled", "leased", "dead"} {
		t.Run(state, func(t *testing.T) {
			t.Parallel()
			clock := queuetest.NewClock()
			db, d := opened(t, t.TempDir(), clock.Now)
			w := register(t, d)
			for _, column := range columns {
				want := []queue.Job{job()}
				for range junk {
					bad := job()
					bad.NotAfter = clock.Now().Add(time.Hour)
					if state == "scheduled" {
						bad.RunAt = clock.Now().Add(time.Millisecond)
					}
					if err := d.Enqueue(t.Context(), bad); err != nil {
						t.Fatal(err)
					}
					if state == "leased" || state == "dead" {
						c := one(t, d, w)
						if state == "dead" {
							report(t, d, w, queue.Result{ID: c.ID, Token: c.Token, Action: queue.DeadLetter})
						}
					}
					bad.RunAt = time.Time{}
					want = append(want, bad)
				}
				clock.Advance(time.Millisecond)
				if err := d.Enqueue(t.Context(), want[0]); err != nil {
					t.Fatal(err)
				}
				for i, value := range junk {
					change(t, db, fmt.Sprintf(`UPDATE job SET %s = %s WHERE id = $1`, column, value), want[i+1].ID[:])
				}
				if column == "kind" { // the column takes each number as a text: a kind that a later version may know
					want = want[:1]
				}
				t.Run(column, func(t *testing.T) { works(t, db, d, w, want...) })
				change(t, db, `DELETE FROM job`)
			}
		})
	}
}

func report(t *testing.T, d queue.Driver, w uuid.UUID, r ...queue.Result) {
	t.Helper()
	if err := d.Report(t.Context(), w, r...); err != nil {
		t.Fatal(err)
	}
}

func TestDamagedWorkerStopsNoSweepOfOthers(t *testing.T) {
	t.Parallel()
	clock := queuetest.NewClock()
	dir := t.TempDir()
	db, d := opened(t, dir, clock.Now)
	_, peer := opened(t, dir, clock.Now)
	w := register(t, d)
	columns := []string{"id", "queue", "host", "pid", "version", "handlers", "lock_file", "boot", "started_ms",
		"beat_ms", "expires_ms"}
	for _, column := range columns {
		var want []queue.Job
		for _, value := range junk {
			j := job()
			if err := d.Enqueue(t.Context(), j); err != nil {
				t.Fatal(err)
			}
			hung := register(t, peer)
			one(t, peer, hung)
			change(t, db, fmt.Sprintf(`UPDATE queue_worker SET %s = %s WHERE id = $1`, column, value), hung[:])
			want = append(want, j)
			if column == "id" {
				break // the others would not be unique
			}
		}
		t.Run(column, func(t *testing.T) {
			for range 12 {
				clock.Advance(2 * time.Second)
				if _, err := d.Sweep(t.Context()); err != nil {
					t.Fatal(err)
				}
				if err := d.Heartbeat(t.Context(), w); err != nil {
					t.Fatal(err)
				}
			}
			works(t, db, d, w, want...)
		})
		change(t, db, `DELETE FROM job`)
		change(t, db, `DELETE FROM queue_worker WHERE id <> $1`, w[:])
	}
}

func TestDamagedTimesOfTheSweepStopNothing(t *testing.T) {
	t.Parallel()
	clock := queuetest.NewClock()
	db, d := opened(t, t.TempDir(), clock.Now)
	w := register(t, d)
	for _, value := range junk {
		change(t, db, fmt.Sprintf(`INSERT OR REPLACE INTO lease (name, holder, term, expires_ms)
			VALUES ('swept test', '', 0, %s), ('quiet test', '', 0, %s)`, value, value))
		j := job()
		if err := d.Enqueue(t.Context(), j); err != nil {
			t.Fatal(err)
		}
		works(t, db, d, w, j)
	}
}

func TestUnreadableJobIsToldAndListed(t *testing.T) {
	t.Parallel()
	db, d := opened(t, t.TempDir(), nil)
	w := register(t, d)
	j := job()
	if err := d.Enqueue(t.Context(), j); err != nil {
		t.Fatal(err)
	}
	change(t, db, `UPDATE job SET token = 'junk', crashes = 'junk'`)
	if got := claim(t, d, w, 5); len(got) != 0 {
		t.Fatalf("claimed %+v", got)
	}
	all, err := d.List(t.Context(), queue.Filter{ID: j.ID})
	if err != nil || len(all) != 1 || all[0].State != queue.Dead || !strings.Contains(all[0].Reason, "cannot be read") {
		t.Fatalf("listed %+v, %v", all, err)
	}
}

// The queue's name is changed in pi.cfg while messages wait.
func TestRenamedQueueTakesItsJobsOver(t *testing.T) {
	t.Parallel()
	for _, state := range []string{"ready", "scheduled", "leased by a dead worker", "dead"} {
		t.Run(state, func(t *testing.T) {
			t.Parallel()
			clock := queuetest.NewClock()
			db, before := opened(t, t.TempDir(), clock.Now)
			j := job()
			j.NotAfter = clock.Now().Add(time.Hour)
			if state == "scheduled" {
				j.RunAt = clock.Now().Add(time.Minute)
			}
			if err := before.Enqueue(t.Context(), j); err != nil {
				t.Fatal(err)
			}
			if state != "ready" && state != "scheduled" {
				old := register(t, before)
				c := one(t, before, old)
				if state == "dead" {
					report(t, before, old, queue.Result{ID: c.ID, Token: c.Token, Action: queue.DeadLetter})
				}
			}
			after, err := sqliteq.Open(db, sqliteq.Options{Queue: "renamed", LockDir: t.TempDir()})
			if err != nil {
				t.Fatal(err)
			}
			defer after.Close()
			clock.Advance(queue.Lease)
			j.RunAt = time.Time{}
			works(t, db, after, register(t, after), j)
		})
	}
}

// While a worker of the former name still has the job, it is not taken out of its hands.
func TestRenamedQueueLeavesWhatALivingWorkerHas(t *testing.T) {
	t.Parallel()
	clock := queuetest.NewClock()
	db, before := opened(t, t.TempDir(), clock.Now)
	j := job()
	if err := before.Enqueue(t.Context(), j); err != nil {
		t.Fatal(err)
	}
	old := register(t, before)
	c := one(t, before, old)
	after, err := sqliteq.Open(db, sqliteq.Options{Queue: "renamed", LockDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer after.Close()
	w := register(t, after)
	if err := after.Enqueue(t.Context(), j); err != nil {
		t.Fatal(err)
	}
	if got := claim(t, after, w, 5); len(got) != 0 || !held(t, db, before, c) {
		t.Fatalf("claimed %+v", got)
	}
}

func TestDeadJobsAndRowsOfOtherNamesArePruned(t *testing.T) {
	t.Parallel()
	clock := queuetest.NewClock()
	db, d := opened(t, t.TempDir(), clock.Now)
	fill := func(queueName string, n, state int, notAfter time.Time) {
		change(t, db, `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1)
			INSERT INTO job (id, queue, kind, lane, priority, state, run_at_ms, not_after_ms, token, verdict,
				crashes, reason, created_ms)
			SELECT randomblob(16), $2, $3, '', 0, $4, $5 + i, $6, 1, 0, 0, '', $5 FROM n`,
			n, queueName, kind, state, store.Millis(notAfter.Add(-time.Minute)), store.Millis(notAfter))
	}
	now := clock.Now()
	fill("test", 10_300, 3, now)
	fill("former", 300, 0, now.Add(-25*time.Hour))
	fill("zz-former", 300, 3, now.Add(-25*time.Hour))
	fill("former", 7, 2, now.Add(time.Hour)) // may still be taken over
	change(t, db, `INSERT INTO queue_worker (id, queue, host, pid, version, handlers, lock_file, boot, started_ms, beat_ms,
			expires_ms)
		VALUES (randomblob(16), 'former', '', 1, '', 1, '', '', 0, 0, 1),
			(randomblob(16), 'former', '', 1, '', 1, '', '', 0, 0, $1)`,
		store.Millis(now.Add(queue.Lease)))
	register(t, d)
	for range 3 {
		if _, err := d.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		clock.Advance(61 * time.Second)
	}
	count := func(query string) (n int) {
		if err := db.Read(t.Context(), func(r store.Reader) error { return r.Get([]any{&n}, query) }); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := count(`SELECT count(*) FROM job WHERE queue = 'test'`); n != 10_000 {
		t.Errorf("%d dead jobs are left", n)
	}
	if n := count(`SELECT count(*) FROM job WHERE queue <> 'test'`); n != 7 {
		t.Errorf("%d jobs of other names are left", n)
	}
	if n := count(`SELECT count(*) FROM queue_worker WHERE queue <> 'test'`); n != 1 {
		t.Errorf("%d workers of other names are left", n)
	}
}
