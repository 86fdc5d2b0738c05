package delivery_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"otpost/internal/delivery"
	"otpost/internal/queue"
	"otpost/internal/store"
)

func TestRelayExpiresWhatNobodySent(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ticket, _ := r.put("queued")
	r.clock.Advance(life + 2*time.Second - time.Millisecond) // its handling may still write its end
	r.relay()
	r.wantState(ticket, delivery.Queued)
	r.clock.Advance(time.Millisecond)
	r.relay()
	r.wantState(ticket, delivery.Expired)
}

func TestRelayLeavesADotToItsOwnerUntilItsReplyCanHaveCome(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ticket, _ := r.put("queued")
	r.clock.Advance(life - time.Second)
	r.crash(ticket, workerA)
	r.clock.Advance(30 * time.Second) // the end has passed, the reply may still come
	r.relay()
	r.wantState(ticket, delivery.Sending)
	r.clock.Advance(10 * time.Second)
	r.relay()
	r.wantState(ticket, delivery.Unknown)
}

// lostJobs counts what the relay enqueues.
type lostJobs struct {
	queue.Driver
	ids []uuid.UUID
}

// Enqueue implements queue.Driver.
func (l *lostJobs) Enqueue(_ context.Context, jobs ...queue.Job) error {
	for _, j := range jobs {
		l.ids = append(l.ids, j.ID)
	}
	return nil
}

func TestRelayEnqueuesWhatTheQueueLostEveryFiveSeconds(t *testing.T) {
	t.Parallel()
	r := newRig(t, attempt{before: delivery.ClassUnreachable})
	lost := &lostJobs{}
	r.Driver = lost
	round := r.rounds("relay")
	queued, _ := r.put("queued")
	inline, _ := r.put("inline")
	deferred, _ := r.put("queued")
	again := r.work(workerA, deferred, queue.Claimed{})
	round()
	if len(lost.ids) != 0 {
		t.Fatal("enqueued before the queue had its time")
	}
	r.clock.Advance(2 * time.Second)
	round()
	round()
	want := []uuid.UUID{queued.ID}
	if at := again.RunAt; !at.After(r.clock.Now().Add(-2 * time.Second)) {
		want = append(want, deferred.ID)
	}
	if !slices.Equal(lost.ids, want) {
		t.Fatalf("enqueued %d, want %d", len(lost.ids), len(want))
	}
	r.clock.Advance(5 * time.Second)
	lost.ids = nil
	round()
	if len(lost.ids) != 2 || slices.Contains(lost.ids, inline.ID) {
		t.Fatalf("enqueued %d after 5 s, want the two that are the queue's", len(lost.ids))
	}
}

// rounds returns what runs one relay once.
func (r *rig) rounds(holder string) func() {
	round := r.RelayRounds(holder)
	return func() {
		r.t.Helper()
		if err := round(r.t.Context()); err != nil {
			r.t.Fatal(err)
		}
	}
}

// fillOpen makes n queued deliveries within a second, with a waiter each and, on request, a job in the embedded queue.
func (r *rig) fillOpen(n int, jobs bool) {
	r.t.Helper()
	now := r.db.Now()
	err := r.db.Write(r.t.Context(), func(tx *store.Tx) error {
		tx.Put(`WITH RECURSIVE one(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM one WHERE i + 1 < $1)
			INSERT INTO delivery (id, channel, route, sealed, recipient, serial, via, not_after_ms, state, reason, epoch,
				owner, own_until_ms, unsure, attempts, next_try_ms, relayed_ms, message_id, created_ms, updated_ms, realm)
			SELECT unhex(printf('%032x', i + 1)), 'mail', 'queued', NULL, 'a***@example.com', 'S', 'queue', $3, 'queued', '', 1,
				'', 0, 0, 0, $2 + i % 1000, 0, 'x@example.com', $2, $2, '' FROM one`,
			n, store.Millis(now), store.Millis(now.Add(life)))
		tx.Put(`INSERT INTO waiter (delivery_id, transaction_id, serial, challenge_id, ended)
			SELECT id, '1', 'S', id, '' FROM delivery`)
		if jobs {
			tx.Put(`INSERT INTO job (id, queue, kind, priority, state, run_at_ms, not_after_ms, token, verdict,
					crashes, reason, created_ms)
				SELECT id, 'test', 'delivery.send', 0, 0, created_ms, not_after_ms, 1, 0, 0, '', created_ms FROM delivery`)
		}
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

// number returns what a query of one number returns.
func (r *rig) number(query string, args ...any) (n int) {
	r.t.Helper()
	err := r.db.Read(r.t.Context(), func(rd store.Reader) error { return rd.Get([]any{&n}, query, args...) })
	if err != nil {
		r.t.Fatal(err)
	}
	return n
}

// A backlog that is longer than what a round looks at: the last row of it is found too, and a row whose job is there
// costs no write.
func TestRelayLooksAtEveryRowThatWaits(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.Driver = r.drivers()["inside"]
	const n = 6_000
	r.fillOpen(n, true)
	lost := uuid.UUID{14: n >> 8 & 0xff, 15: n & 0xff} // the last one
	r.write(func(tx *store.Tx) { tx.Put(`DELETE FROM job WHERE id = $1`, lost[:]) })
	r.clock.Advance(3 * time.Second)
	round := r.rounds("relay")
	round()
	if got := r.number(`SELECT count(*) FROM job`); got != n-1 {
		t.Fatalf("%d jobs after a round, want %d: it looked at all rows at once", got, n-1)
	}
	r.clock.Advance(time.Second)
	round()
	if got := r.number(`SELECT count(*) FROM job`); got != n {
		t.Errorf("%d jobs after the second round, want %d", got, n)
	}
	const written = `SELECT count(*) FROM delivery WHERE updated_ms <> created_ms OR relayed_ms <> 0 OR epoch <> 1`
	if got := r.number(written); got != 0 {
		t.Errorf("%d rows were written", got)
	}
}

func TestOverdueRowsEndInOneRound(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	const n = 1_234
	r.fillOpen(n, false)
	r.clock.Advance(life + 3*time.Second)
	r.relay()
	const expired = `SELECT count(*) FROM delivery WHERE state = 'expired' AND sealed IS NULL AND epoch = 2`
	if got := r.number(expired); got != n {
		t.Errorf("%d rows are expired after a round, want %d", got, n)
	}
	if got := strings.Count(r.log.String(), "mail not sent"); got != n || len(r.ended) != n {
		t.Errorf("%d lines and %d outcomes, want %d", got, len(r.ended), n)
	}
}

// What the ends meet does not hold up the jobs that were lost.
func TestLostRowsHaveTheirTurnWhileEndsFail(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	jobs := &lostJobs{}
	r.Driver = jobs
	over, _ := r.put("queued")
	r.clock.Advance(life)
	fresh, _ := r.put("queued")
	r.clock.Advance(3 * time.Second)
	r.OnOutcome = func(*store.Tx, delivery.Outcome) error { return errors.New("no") }
	if err := r.RelayRound(t.Context(), "relay"); err == nil {
		t.Error("the failure is not told")
	}
	r.wantState(over, delivery.Queued)
	if !slices.Contains(jobs.ids, fresh.ID) {
		t.Error("the lost row was not enqueued")
	}
}

// hung is a queue outside the database that answers no call before its context ends.
type hung struct {
	queue.Driver
	calls int
}

// Enqueue implements queue.Driver.
func (h *hung) Enqueue(ctx context.Context, _ ...queue.Job) error {
	h.calls++
	<-ctx.Done()
	return ctx.Err()
}

func TestQueueThatHangsIsAskedOnceInARound(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	h := &hung{}
	r.Driver = h
	r.fillOpen(2_000, false)
	r.clock.Advance(3 * time.Second)
	r.relay()
	if h.calls != 1 {
		t.Errorf("%d calls, want 1", h.calls)
	}
}

// A row whose content is damaged holds up no other.
func TestDamagedRowHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	for _, column := range []string{"created_ms", "not_after_ms", "attempts", "next_try_ms", "own_until_ms",
		"updated_ms", "epoch", "state"} {
		r := newRig(t)
		jobs := &lostJobs{}
		r.Driver = jobs
		damaged, _ := r.put("queued")
		over, _ := r.put("queued")
		r.clock.Advance(time.Second)
		r.write(func(tx *store.Tx) { tx.Put(`UPDATE delivery SET `+column+` = 'damaged' WHERE id = $1`, damaged.ID[:]) })
		r.clock.Advance(life + time.Second)
		fresh, _ := r.put("queued")
		r.clock.Advance(2 * time.Second)
		r.relay()
		r.wantState(over, delivery.Expired)
		if !slices.Contains(jobs.ids, fresh.ID) {
			t.Errorf("%s: the lost row was not enqueued; log:\n%s", column, r.log)
		}
	}
}

func (r *rig) write(f func(tx *store.Tx)) {
	r.t.Helper()
	if err := r.db.Write(r.t.Context(), func(tx *store.Tx) error { f(tx); return nil }); err != nil {
		r.t.Fatal(err)
	}
}

func TestOneRelayWorksAtATime(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ticket, _ := r.put("queued")
	another := func() {
		if err := r.RelayRound(t.Context(), "another"); err != nil {
			t.Fatal(err)
		}
	}
	r.clock.Advance(life - time.Second)
	r.relay() // holds the lease for 5 s
	r.clock.Advance(4 * time.Second)
	another()
	r.wantState(ticket, delivery.Queued)
	r.clock.Advance(time.Second)
	another()
	r.wantState(ticket, delivery.Expired)
}

// Whatever ends a row but its handling takes the job along: rows 5, 15 and 16 and an administrator's cancel.
func TestEndOfARowRemovesItsJob(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(r *rig, ticket delivery.Ticket, challenge uuid.UUID){
		"its last waiter is gone": func(r *rig, _ delivery.Ticket, challenge uuid.UUID) { r.drop(challenge) },
		"an administrator cancels": func(r *rig, ticket delivery.Ticket, _ uuid.UUID) {
			if err := r.Cancel(r.t.Context(), ticket.ID, nil); err != nil {
				r.t.Fatal(err)
			}
		},
		"its time is over": func(r *rig, _ delivery.Ticket, _ uuid.UUID) { r.clock.Advance(life + 3*time.Second); r.relay() },
		"its dot has no owner": func(r *rig, ticket delivery.Ticket, _ uuid.UUID) {
			r.write(func(tx *store.Tx) {
				tx.Put(`UPDATE delivery SET state = 'sending', owner = 'x' WHERE id = $1`, ticket.ID[:])
			})
			r.clock.Advance(life + 3*time.Second)
			r.relay()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.Driver = r.drivers()["inside"]
			ticket, challenge := r.put("queued")
			if r.number(`SELECT count(*) FROM job`) != 1 {
				t.Fatal("no job was made")
			}
			end(r, ticket, challenge)
			if !r.record(ticket).State.Final() || r.number(`SELECT count(*) FROM job`) != 0 {
				t.Errorf("state %s, %d jobs", r.record(ticket).State, r.number(`SELECT count(*) FROM job`))
			}
		})
	}
}
