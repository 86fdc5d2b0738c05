package delivery_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"

	"otpost/internal/delivery"
	"otpost/internal/queue"
	"otpost/internal/queue/queuetest"
	"otpost/internal/queue/sqliteq"
	"otpost/internal/store"
)

// RunNow implements queue.Driver.
func (noDriver) RunNow(context.Context, uuid.UUID) error { return nil }

// deferred makes a delivery whose first try met a server that said "later", and returns its ticket and challenge.
func (r *rig) deferred() (delivery.Ticket, uuid.UUID) {
	r.t.Helper()
	r.server.script = []attempt{{before: delivery.ClassTemporary, code: 451}}
	ticket, challenge := r.put("queued")
	r.work(workerA, ticket, queue.Claimed{})
	r.wantState(ticket, delivery.Deferred)
	return ticket, challenge
}

// putLate makes an enqueued delivery with a retry in the far future, as the twentieth attempt would have it.
func (r *rig) putLate(d queue.Driver) delivery.Ticket {
	r.t.Helper()
	r.Driver = d
	ticket, _ := r.put("queued")
	err := r.db.Write(r.t.Context(), func(tx *store.Tx) error {
		tx.Put(`UPDATE delivery SET state = 'deferred', attempts = 20, next_try_ms = $2 WHERE id = $1`, ticket.ID[:],
			store.Millis(r.db.Now().Add(time.Minute)))
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return ticket
}

// drivers are a queue inside the database and one outside.
func (r *rig) drivers() map[string]queue.Driver {
	r.t.Helper()
	inside, err := sqliteq.Open(r.db, sqliteq.Options{Queue: "test", LockDir: filepath.Dir(r.path)})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		if err := inside.Close(); err != nil {
			r.t.Error(err)
		}
	})
	return map[string]queue.Driver{"inside": inside, "outside": queuetest.NewMemory(r.db.Now)}
}

func TestRetryMakesAWaitingDeliveryAndItsJobDueAtOnce(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"inside", "outside"} {
		for _, lost := range []bool{false, true} {
			r := newRig(t)
			d := r.drivers()[name]
			ticket := r.putLate(d)
			w := queue.Worker{ID: workerA, Host: "h", Handlers: 1}
			if err := d.Register(t.Context(), w); err != nil {
				t.Fatal(err)
			}
			claim := func() []queue.Claimed {
				got, err := d.Claim(t.Context(), queue.ClaimRequest{Worker: workerA, Most: 5, Kinds: []string{delivery.Kind}})
				if err != nil {
					t.Fatal(err)
				}
				return got
			}
			if name == "outside" {
				r.Dispatch(t.Context(), ticket)
			}
			// The worker looks at it too early and puts it back; or the queue forgets it.
			var got []queue.Claimed
			for len(got) == 0 { // outside, Dispatch hands the job over beside the caller
				got = claim()
			}
			result := r.Handle(t.Context(), got[0], func() bool { return true })
			if result.Action != queue.Retry {
				t.Fatalf("%s: job %+v", name, result)
			}
			if lost {
				result.Action = queue.Done
			}
			if err := d.Report(t.Context(), workerA, result); err != nil {
				t.Fatal(err)
			}
			if len(claim()) != 0 {
				t.Fatalf("%s: due before its time", name)
			}
			if err := r.Retry(t.Context(), ticket.ID, []string{""}); err != nil {
				t.Fatal(err)
			}
			if record, err := r.Record(t.Context(), ticket.ID, nil); err != nil || record.State != delivery.Deferred || !record.NextTry.Equal(r.db.Now()) {
				t.Fatalf("%s: %+v, %v", name, record, err)
			}
			if got = claim(); len(got) != 1 {
				t.Fatalf("%s, lost %v: %d jobs are due", name, lost, len(got))
			}
			r.Handle(t.Context(), got[0], func() bool { return true })
			r.wantState(ticket, delivery.Accepted)
		}
	}
}

func TestRetryDoesNotDisturbAWorkerThatIsAtIt(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ticket, _ := r.put("queued")
	r.server.script = []attempt{{early: func() {
		if err := r.Retry(t.Context(), ticket.ID, nil); err != nil {
			t.Error(err)
		}
	}, reply: delivery.ClassAccepted, code: 250}}
	r.work(workerA, ticket, queue.Claimed{})
	r.wantState(ticket, delivery.Accepted)
}

func TestRetryWithoutAQueueThatAnswersLeavesTheRowDue(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ticket := r.putLate(deaf{})
	if err := r.Retry(t.Context(), ticket.ID, nil); err != nil {
		t.Fatal(err)
	}
	if d, err := r.Record(t.Context(), ticket.ID, nil); err != nil || !d.NextTry.Equal(r.db.Now()) {
		t.Fatalf("%+v, %v", d, err)
	}
}

// deaf is a queue out of reach.
type deaf struct{ queue.Driver }

// RunNow implements queue.Driver.
func (deaf) RunNow(context.Context, uuid.UUID) error { return errors.New("connection refused") }

func TestCancelDropsWhatWaitsAndNothingIsSent(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ticket, _ := r.deferred()
	if err := r.Cancel(t.Context(), ticket.ID, nil); err != nil {
		t.Fatal(err)
	}
	d, err := r.Record(t.Context(), ticket.ID, nil)
	if err != nil || d.State != delivery.Dropped || d.Reason != delivery.Cancelled || d.Waiters[0].Ended != delivery.Cancelled {
		t.Fatalf("%+v, %v", d, err)
	}
	if len(r.ended) != 1 || r.ended[0].State != delivery.Dropped || r.ended[0].Reason != delivery.Cancelled {
		t.Fatalf("told: %+v", r.ended)
	}
	var sealed, audited int
	err = r.db.Read(t.Context(), func(rd store.Reader) error {
		return rd.Get([]any{&sealed, &audited}, `SELECT (SELECT count(*) FROM delivery WHERE sealed IS NOT NULL),
			(SELECT count(*) FROM audit WHERE action = 'delivery dropped' AND info = 'cancelled' AND delivery_id = $1)`, ticket.ID[:])
	})
	if err != nil || sealed != 0 || audited != 1 {
		t.Fatalf("%d contents, %d rows in the journal, %v", sealed, audited, err)
	}
	r.clock.Advance(time.Minute)
	if got := r.work(workerA, ticket, queue.Claimed{}); got.Action != queue.Done || len(r.server.sent) != 0 {
		t.Fatalf("job %+v, %d sent", got, len(r.server.sent))
	}
}

func TestCancelAfterALostReplyIsUnknown(t *testing.T) {
	t.Parallel()
	r := newRig(t, attempt{reply: delivery.ClassUnknown})
	ticket, _ := r.put("queued")
	r.work(workerA, ticket, queue.Claimed{})
	r.wantState(ticket, delivery.Deferred)
	if err := r.Cancel(t.Context(), ticket.ID, nil); err != nil {
		t.Fatal(err)
	}
	r.wantState(ticket, delivery.Unknown)
}

// A worker has read the row and stands before its dot when the administrator cancels: the dot is refused.
func TestCancelBeforeTheDotWins(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ticket, _ := r.put("queued")
	r.server.script = []attempt{{early: func() {
		if err := r.Cancel(t.Context(), ticket.ID, nil); err != nil {
			t.Error(err)
		}
	}}}
	r.work(workerA, ticket, queue.Claimed{})
	r.wantState(ticket, delivery.Dropped)
	if len(r.server.sent) != 0 {
		t.Fatal("sent although it was cancelled")
	}
}

// The dot is committed when the administrator cancels: he is told to wait, and nothing of the outcome is lost.
func TestCancelAfterTheDotIsRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ticket, _ := r.put("queued")
	for _, act := range []func(context.Context, uuid.UUID, []string) error{r.Cancel, r.Retry} {
		r.server.script = append(r.server.script, attempt{atDot: func() {
			if err := act(t.Context(), ticket.ID, nil); !errors.Is(err, delivery.ErrOnTheWire) {
				t.Errorf("err %v", err)
			}
		}, reply: delivery.ClassAccepted, code: 250})
	}
	r.work(workerA, ticket, queue.Claimed{})
	r.wantState(ticket, delivery.Accepted)
	ticket, _ = r.put("queued")
	r.work(workerA, ticket, queue.Claimed{})
	r.wantState(ticket, delivery.Accepted)
}

// Many cancel while a worker sends: the first commit decides, and the message is either sent or cancelled.
func TestCancelAndDotNeverBothWin(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for range 50 {
		ticket, _ := r.put("queued")
		sent := len(r.server.sent)
		cancelled := make(chan error, 1)
		go func() { cancelled <- r.Cancel(t.Context(), ticket.ID, nil) }()
		r.work(workerA, ticket, queue.Claimed{})
		err := <-cancelled
		switch d := r.record(ticket); {
		case err == nil && d.State == delivery.Dropped && len(r.server.sent) == sent:
		case errors.Is(err, delivery.ErrOnTheWire) && d.State == delivery.Accepted && len(r.server.sent) == sent+1:
		case errors.Is(err, delivery.ErrEnded) && d.State == delivery.Accepted && len(r.server.sent) == sent+1:
		default:
			t.Fatalf("cancel: %v, state %s, %d sent", err, d.State, len(r.server.sent)-sent)
		}
	}
}

func TestWhatHasEndedIsNeitherRetriedNorCancelled(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	sent, _ := r.put("queued")
	r.work(workerA, sent, queue.Claimed{})
	inline, _ := r.put("inline")
	foreign := r.putIn("realm2", "B", "00000000000000000001")
	overdue, _ := r.put("queued")
	for name, one := range map[string]struct {
		act    func(context.Context, uuid.UUID, []string) error
		id     uuid.UUID
		realms []string
		want   error
	}{
		"retry of an accepted one":    {r.Retry, sent.ID, nil, delivery.ErrEnded},
		"cancel of an accepted one":   {r.Cancel, sent.ID, nil, delivery.ErrEnded},
		"retry of an inline one":      {r.Retry, inline.ID, nil, delivery.ErrInRequest},
		"retry of a foreign one":      {r.Retry, foreign.ID, []string{"realm1"}, delivery.ErrNotFound},
		"cancel of a foreign one":     {r.Cancel, foreign.ID, []string{"realm1"}, delivery.ErrNotFound},
		"retry of an unknown one":     {r.Retry, uuid.Must(uuid.NewV7()), nil, delivery.ErrNotFound},
		"cancel for who has no realm": {r.Cancel, overdue.ID, []string{}, delivery.ErrNotFound},
	} {
		if err := one.act(t.Context(), one.id, one.realms); !errors.Is(err, one.want) {
			t.Errorf("%s: %v, want %v", name, err, one.want)
		}
	}
	r.wantState(foreign, delivery.Queued)
	r.clock.Advance(life)
	if err := r.Retry(t.Context(), overdue.ID, nil); !errors.Is(err, delivery.ErrEnded) {
		t.Errorf("retry after its end: %v", err)
	}
}
