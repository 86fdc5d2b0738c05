package delivery_test

import (
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"otpost/internal/delivery"
	"otpost/internal/queue"
	"otpost/internal/store"
)

func TestAcceptedMessageIsSentOnceAndErased(t *testing.T) {
	onEachChannel(t, testAcceptedMessageIsSentOnceAndErased)
}

func testAcceptedMessageIsSentOnceAndErased(t *testing.T, newRig rigMaker) {
	r := newRig(t)
	ticket, _ := r.put("queued")
	if got := r.work(workerA, ticket, queue.Claimed{}); got.Action != queue.Done {
		t.Fatalf("job: %+v", got)
	}
	r.wantState(ticket, delivery.Accepted)
	if got := r.work(workerB, ticket, queue.Claimed{}); got.Action != queue.Done {
		t.Fatalf("second claim: %+v", got)
	}
	if len(r.server.sent) != 1 {
		t.Fatalf("%d copies", len(r.server.sent))
	}
	var sealed []byte
	err := r.db.Read(t.Context(), func(rd store.Reader) error {
		return rd.Get([]any{&sealed}, `SELECT sealed FROM delivery WHERE id = $1`, ticket.ID[:])
	})
	if err != nil || sealed != nil {
		t.Fatalf("content is still there: %d bytes, %v", len(sealed), err)
	}
}

func TestTemporaryRefusalIsRetriedWithinItsLife(t *testing.T) {
	onEachChannel(t, testTemporaryRefusalIsRetriedWithinItsLife)
}

func testTemporaryRefusalIsRetriedWithinItsLife(t *testing.T, newRig rigMaker) {
	r := newRig(t, attempt{before: delivery.ClassUnreachable}, attempt{reply: delivery.ClassTemporary, code: 451}, attempt{reply: delivery.ClassAccepted, code: 250})
	ticket, _ := r.put("queued")
	tries := 0
	for got := (queue.Result{Action: queue.Retry}); got.Action == queue.Retry; tries++ {
		if got.RunAt.After(r.clock.Now()) {
			if early := r.work(workerA, ticket, queue.Claimed{}); early.Action != queue.Retry {
				t.Fatalf("handled before its time: %+v", early)
			}
			r.clock.Advance(got.RunAt.Sub(r.clock.Now()))
		}
		got = r.work(workerA, ticket, queue.Claimed{})
	}
	r.wantState(ticket, delivery.Accepted)
	d := r.record(ticket)
	if tries != 3 || len(d.Attempts) != 3 || d.Attempts[0].DotAt != nil || d.Attempts[1].Code != 451 {
		t.Fatalf("%d tries, attempts %+v", tries, d.Attempts)
	}
}

func TestDeadServerEndsInFailedBeforeTheEndOfItsLife(t *testing.T) {
	onEachChannel(t, testDeadServerEndsInFailedBeforeTheEndOfItsLife)
}

func testDeadServerEndsInFailedBeforeTheEndOfItsLife(t *testing.T, newRig rigMaker) {
	var script []attempt
	for range 100 {
		script = append(script, attempt{before: delivery.ClassUnreachable})
	}
	r := newRig(t, script...)
	ticket, _ := r.put("queued")
	end := r.clock.Now().Add(life)
	got := queue.Result{Action: queue.Retry}
	for tries := 0; got.Action == queue.Retry; tries++ {
		if tries == len(script) {
			t.Fatalf("no end after %d tries", tries)
		}
		r.clock.Advance(max(0, got.RunAt.Sub(r.clock.Now())))
		got = r.work(workerA, ticket, queue.Claimed{})
	}
	r.wantState(ticket, delivery.Failed)
	if left := end.Sub(r.clock.Now()); left < 14*time.Second {
		t.Fatalf("last try %s before the end, want 15 s", left)
	}
	if n := strings.Count(r.log.String(), "level=ERROR"); n != 1 {
		t.Fatalf("%d ERROR lines, want 1:\n%s", n, r.log)
	}
	if n := len(r.record(ticket).Attempts); n < 6 {
		t.Fatalf("%d attempts in 105 s, want 0, 0.5, 1.5, 3.5, 7.5 ... s", n)
	}
}

func TestPermanentRefusalIsTriedOnce(t *testing.T) { onEachChannel(t, testPermanentRefusalIsTriedOnce) }

func testPermanentRefusalIsTriedOnce(t *testing.T, newRig rigMaker) {
	for _, a := range []attempt{{before: delivery.ClassPermanent, code: 550}, {reply: delivery.ClassPermanent, code: 554}} {
		r := newRig(t, a)
		ticket, _ := r.put("queued")
		if got := r.work(workerA, ticket, queue.Claimed{}); got.Action != queue.Done {
			t.Fatalf("job: %+v", got)
		}
		r.wantState(ticket, delivery.Failed)
	}
}

func TestNoDotAfterItsEnd(t *testing.T) { onEachChannel(t, testNoDotAfterItsEnd) }

func testNoDotAfterItsEnd(t *testing.T, newRig rigMaker) {
	r := newRig(t)
	ticket, _ := r.put("queued")
	r.clock.Advance(life)
	r.work(workerA, ticket, queue.Claimed{})
	r.wantState(ticket, delivery.Expired)

	// between the commit of the dot and its writing
	late := newRig(t)
	late.server.script = []attempt{{atDot: func() { late.clock.Advance(life) }}}
	ticket, _ = late.put("queued")
	late.work(workerA, ticket, queue.Claimed{})
	late.wantState(ticket, delivery.Expired)
	if n := len(r.server.sent) + len(late.server.sent); n != 0 {
		t.Fatalf("%d dots after the end", n)
	}
}

func TestJobPastItsEndRunsWhileItsRowIsValid(t *testing.T) {
	onEachChannel(t, testJobPastItsEndRunsWhileItsRowIsValid)
}

func testJobPastItsEndRunsWhileItsRowIsValid(t *testing.T, newRig rigMaker) {
	r := newRig(t)
	ticket, _ := r.put("queued")
	r.work(workerA, ticket, queue.Claimed{Job: queue.Job{NotAfter: r.clock.Now().Add(-time.Second)}})
	r.wantState(ticket, delivery.Accepted)
}

func TestPoisonedJobFailsItsDelivery(t *testing.T) { onEachChannel(t, testPoisonedJobFailsItsDelivery) }

func testPoisonedJobFailsItsDelivery(t *testing.T, newRig rigMaker) {
	r := newRig(t)
	ticket, _ := r.put("queued")
	r.work(workerA, ticket, queue.Claimed{Crashes: queue.CrashesPoison})
	r.wantState(ticket, delivery.Failed)
}

func TestAnsweredMessageIsDroppedAndNeverSent(t *testing.T) {
	onEachChannel(t, testAnsweredMessageIsDroppedAndNeverSent)
}

func testAnsweredMessageIsDroppedAndNeverSent(t *testing.T, newRig rigMaker) {
	r := newRig(t)
	ticket, challenge := r.put("queued")
	r.drop(challenge)
	r.wantState(ticket, delivery.Dropped)
	r.work(workerA, ticket, queue.Claimed{})
	if len(r.server.sent) != 0 {
		t.Fatal("sent although no waiter is left")
	}
}

func TestDropDoesNothingWhileTheDotIsOut(t *testing.T) {
	onEachChannel(t, testDropDoesNothingWhileTheDotIsOut)
}

func testDropDoesNothingWhileTheDotIsOut(t *testing.T, newRig rigMaker) {
	r := newRig(t)
	ticket, challenge := r.put("queued")
	r.server.script = []attempt{{afterDot: func() { r.drop(challenge); r.wantState(ticket, delivery.Sending) }, reply: delivery.ClassTemporary, code: 451}}
	got := r.work(workerA, ticket, queue.Claimed{})
	if got.Action != queue.Retry {
		t.Fatalf("job: %+v", got)
	}
	r.clock.Advance(got.RunAt.Sub(r.clock.Now()))
	r.work(workerA, ticket, queue.Claimed{})
	r.wantState(ticket, delivery.Dropped)
	if len(r.server.sent) != 1 {
		t.Fatalf("%d copies", len(r.server.sent))
	}
}

func TestLostReplyIsRetriedWithTheSameMessageID(t *testing.T) {
	onEachChannel(t, testLostReplyIsRetriedWithTheSameMessageID)
}

func testLostReplyIsRetriedWithTheSameMessageID(t *testing.T, newRig rigMaker) {
	r := newRig(t, attempt{reply: delivery.ClassUnknown}, attempt{reply: delivery.ClassPermanent, code: 554})
	ticket, _ := r.put("queued")
	got := r.work(workerA, ticket, queue.Claimed{})
	r.wantState(ticket, delivery.Deferred)
	r.clock.Advance(got.RunAt.Sub(r.clock.Now()))
	r.work(workerA, ticket, queue.Claimed{})
	r.wantState(ticket, delivery.Unknown) // not failed: the first copy may have arrived
	if s := r.server.sent; len(s) != 2 || s[0].messageID != s[1].messageID {
		t.Fatalf("copies: %+v", s)
	}
}

// crash is a worker's death between dot and outcome: its outcome is never written.
func (r *rig) crash(ticket delivery.Ticket, worker uuid.UUID) {
	r.server.script = append([]attempt{{afterDot: runtime.Goexit}}, r.server.script...)
	killed(func() {
		r.work(worker, ticket, queue.Claimed{})
		r.t.Error("the worker lived on")
	})
}

// killed runs f in a goroutine of its own, which dies in f by runtime.Goexit: no code after it runs, as after kill -9.
func killed(f func()) {
	died := make(chan struct{})
	go func() {
		defer close(died)
		f()
	}()
	<-died
}

func TestDotOfADeadWorkerIsTakenOverWhenTheSweepNamesIt(t *testing.T) {
	onEachChannel(t, testDotOfADeadWorkerIsTakenOverWhenTheSweepNamesIt)
}

func testDotOfADeadWorkerIsTakenOverWhenTheSweepNamesIt(t *testing.T, newRig rigMaker) {
	r := newRig(t)
	ticket, _ := r.put("queued")
	r.crash(ticket, workerA)
	r.wantState(ticket, delivery.Sending)
	if got := r.work(workerB, ticket, queue.Claimed{}); got.Action != queue.Retry || !got.RunAt.After(r.clock.Now()) {
		t.Fatalf("taken over without proof that its owner is gone: %+v", got)
	}
	got := r.work(workerB, ticket, queue.Claimed{SweptOwner: workerA})
	if got.Action != queue.Retry || got.RunAt.After(r.clock.Now()) {
		t.Fatalf("job: %+v", got)
	}
	r.work(workerB, ticket, queue.Claimed{})
	r.wantState(ticket, delivery.Accepted)
	if s := r.server.sent; len(s) != 2 || s[0].messageID != s[1].messageID {
		t.Fatalf("copies: %+v", s)
	}
	if a := r.record(ticket).Attempts; len(a) != 2 || a[0].Class != "unknown" || a[0].Ended == nil {
		t.Fatalf("attempts: %+v", a)
	}
}

func TestPausedWorkerWritesNothingOverANewerState(t *testing.T) {
	onEachChannel(t, testPausedWorkerWritesNothingOverANewerState)
}

func testPausedWorkerWritesNothingOverANewerState(t *testing.T, newRig rigMaker) {
	r := newRig(t)
	ticket, _ := r.put("queued")
	r.server.script = []attempt{{
		afterDot: func() { // it sleeps here, is swept, and another one delivers
			r.work(workerB, ticket, queue.Claimed{SweptOwner: workerA})
			r.work(workerB, ticket, queue.Claimed{})
		},
		reply: delivery.ClassPermanent, code: 554, text: "late",
	}}
	r.work(workerA, ticket, queue.Claimed{})
	r.wantState(ticket, delivery.Accepted)
	if a := r.record(ticket).Attempts; a[0].Text != "late" {
		t.Fatalf("the late reply is lost: %+v", a)
	}
}

func TestInlineHasOneTryAndItsFailureIsFinal(t *testing.T) {
	onEachChannel(t, testInlineHasOneTryAndItsFailureIsFinal)
}

func testInlineHasOneTryAndItsFailureIsFinal(t *testing.T, newRig rigMaker) {
	for _, a := range []attempt{{before: delivery.ClassUnreachable}, {reply: delivery.ClassTemporary, code: 451}, {before: delivery.ClassPermanent, code: 550}} {
		r := newRig(t, a)
		ticket, _ := r.put("inline")
		o := r.Dispatch(t.Context(), ticket)[0]
		if o.State != delivery.Failed || o.Promising() {
			t.Fatalf("outcome %+v", o)
		}
		if len(r.ended) != 1 || r.ended[0].State != delivery.Failed || r.ended[0].Via != delivery.ViaInline {
			t.Fatalf("told: %+v", r.ended)
		}
	}
	r := newRig(t, attempt{reply: delivery.ClassUnknown})
	ticket, _ := r.put("inline")
	if o := r.Dispatch(t.Context(), ticket)[0]; o.State != delivery.Unknown || o.Promising() {
		t.Fatalf("outcome %+v", o)
	}
}

func TestQueuedIsPromisedAtOnce(t *testing.T) { onEachChannel(t, testQueuedIsPromisedAtOnce) }

func testQueuedIsPromisedAtOnce(t *testing.T, newRig rigMaker) {
	r := newRig(t)
	ticket, _ := r.put("queued")
	if o := r.Dispatch(t.Context(), ticket)[0]; !o.Promising() || len(r.server.sent) != 0 {
		t.Fatalf("outcome %+v, %d sent", o, len(r.server.sent))
	}
}

func TestLapsedLeaseWritesNoDot(t *testing.T) { onEachChannel(t, testLapsedLeaseWritesNoDot) }

func testLapsedLeaseWritesNoDot(t *testing.T, newRig rigMaker) {
	r := newRig(t)
	ticket, _ := r.put("queued")
	fresh := true
	r.server.script = []attempt{{atDot: func() { fresh = false }}}
	got := r.Handle(t.Context(), queue.Claimed{Job: queue.Job{ID: ticket.ID}, Worker: workerA}, func() bool { return fresh })
	if got.Action != queue.Retry || len(r.server.sent) != 0 {
		t.Fatalf("job %+v, %d sent", got, len(r.server.sent))
	}
	r.wantState(ticket, delivery.Deferred)
}

func TestJobWithoutARowIsPutAside(t *testing.T) { onEachChannel(t, testJobWithoutARowIsPutAside) }

func testJobWithoutARowIsPutAside(t *testing.T, newRig rigMaker) {
	r := newRig(t)
	got := r.work(workerA, delivery.Ticket{ID: uuid.Must(uuid.NewV7())}, queue.Claimed{})
	if got.Action != queue.DeadLetter || got.Reason == "" {
		t.Fatalf("job: %+v", got)
	}
}

func TestUnknownServerIsRefusedBeforeAnythingIsWritten(t *testing.T) {
	onEachChannel(t, testUnknownServerIsRefusedBeforeAnythingIsWritten)
}

func testUnknownServerIsRefusedBeforeAnythingIsWritten(t *testing.T, newRig rigMaker) {
	r := newRig(t)
	_, err := r.prepare(uuid.Must(uuid.NewV7()), delivery.Message{Route: "nosuch", Recipient: "a@example.com", NotAfter: r.db.Now()})
	if !errors.Is(err, delivery.ErrNoRoute) {
		t.Fatal(err)
	}
}

func TestLogHoldsNoCodeAndNoAddress(t *testing.T) { onEachChannel(t, testLogHoldsNoCodeAndNoAddress) }

func testLogHoldsNoCodeAndNoAddress(t *testing.T, newRig rigMaker) {
	r := newRig(t, attempt{reply: delivery.ClassPermanent, code: 554})
	ticket, _ := r.put("queued")
	r.work(workerA, ticket, queue.Claimed{})
	for _, s := range []string{"482913", "alice@example.com"} {
		if strings.Contains(r.log.String(), s) {
			t.Fatalf("the log holds %d bytes that it must not", len(s))
		}
	}
}

func TestStatusTellsTheStoryWithoutAddresses(t *testing.T) {
	onEachChannel(t, testStatusTellsTheStoryWithoutAddresses)
}

func testStatusTellsTheStoryWithoutAddresses(t *testing.T, newRig rigMaker) {
	r := newRig(t, attempt{before: delivery.ClassUnreachable})
	ticket, _ := r.put("queued")
	status := func() delivery.Status {
		s, err := r.Status(t.Context(), "01234567890123456789")
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	if s := status(); s.State != delivery.OnItsWay || len(s.Messages) != 1 || !s.NextTry.IsZero() || s.ResendAfter != r.db.Now().Add(life/2) {
		t.Fatalf("queued: %+v", s)
	}
	got := r.work(workerA, ticket, queue.Claimed{})
	if s := status(); s.State != delivery.OnItsWay || !s.NextTry.Equal(got.RunAt) {
		t.Fatalf("deferred: %+v", s)
	}
	r.clock.Advance(got.RunAt.Sub(r.clock.Now()))
	r.work(workerA, ticket, queue.Claimed{})
	if s := status(); s.State != delivery.Sent || s.ResendAfter != r.db.Now() {
		t.Fatalf("accepted: %+v", s)
	}
}

// relay runs one round of the relay.
func (r *rig) relay() {
	r.t.Helper()
	if err := r.RelayRound(r.t.Context(), "relay"); err != nil {
		r.t.Fatal(err)
	}
}

// fullDisk is a queue in the database whose disk is full for the next n outcomes.
type fullDisk struct {
	queue.TxDriver
	n int
}

// EnqueueTx implements queue.TxDriver.
func (*fullDisk) EnqueueTx(*store.Tx, ...queue.Job) {}

// HeldTx implements queue.TxDriver.
func (*fullDisk) HeldTx(*store.Tx, queue.Claimed) (bool, error) { return true, nil }

// ReportTx implements queue.TxDriver.
func (f *fullDisk) ReportTx(*store.Tx, uuid.UUID, queue.Result) error {
	if f.n > 0 {
		f.n--
		return store.ErrFull
	}
	return nil
}

func TestOutcomeThatCouldNotBeWrittenIsWrittenAgain(t *testing.T) {
	onEachChannel(t, testOutcomeThatCouldNotBeWrittenIsWrittenAgain)
}

func testOutcomeThatCouldNotBeWrittenIsWrittenAgain(t *testing.T, newRig rigMaker) {
	r := newRig(t)
	r.Driver = &fullDisk{n: 2}
	ticket, _ := r.put("queued")
	if got := r.work(workerA, ticket, queue.Claimed{}); got.Action != queue.Done {
		t.Fatalf("job: %+v", got)
	}
	r.wantState(ticket, delivery.Accepted)
	if len(r.server.sent) != 1 {
		t.Fatalf("%d copies", len(r.server.sent))
	}
}
