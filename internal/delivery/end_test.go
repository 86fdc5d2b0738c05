package delivery_test

import (
	"runtime"
	"strings"
	"testing"
	"time"

	"otpost/internal/delivery"
	"otpost/internal/queue"
)

// A silent server whose time-out outlasts the message: who is at it writes what happened, and the relay
// leaves it the time.
func TestEndWithinAnAttemptIsToldWithItsPhase(t *testing.T) {
	onEachChannel(t, testEndWithinAnAttemptIsToldWithItsPhase)
}

func testEndWithinAnAttemptIsToldWithItsPhase(t *testing.T, newRig rigMaker) {
	for _, route := range []string{"queued", "inline"} {
		r := newRig(t)
		ticket, _ := r.put(route)
		r.server.script = []attempt{{before: delivery.ClassUnreachable, text: "silence", early: func() {
			r.clock.Advance(life)
			r.relay()
			r.wantState(ticket, delivery.Queued)
		}}}
		if ticket.Via == delivery.ViaInline {
			r.Dispatch(t.Context(), ticket)
		} else {
			r.work(workerA, ticket, queue.Claimed{})
		}
		r.wantState(ticket, delivery.Expired)
		log := r.log.String()
		if strings.Count(log, "level=ERROR") != 1 || !strings.Contains(log, "attempt=1") || !strings.Contains(log, "phase=rcpt") || !strings.Contains(log, "text=silence") {
			t.Errorf("%s: log:\n%s", route, log)
		}
		if a := r.record(ticket).Attempts; len(a) != 1 || a[0].Phase != "rcpt" || a[0].Ended == nil {
			t.Errorf("%s: attempts %+v", route, a)
		}
	}
}

func TestEndBeforeTheDotIsAnAttempt(t *testing.T) { onEachChannel(t, testEndBeforeTheDotIsAnAttempt) }

func testEndBeforeTheDotIsAnAttempt(t *testing.T, newRig rigMaker) {
	r := newRig(t)
	ticket, _ := r.put("queued")
	r.server.script = []attempt{{early: func() { r.clock.Advance(life) }}}
	r.work(workerA, ticket, queue.Claimed{})
	r.wantState(ticket, delivery.Expired)
	if a := r.record(ticket).Attempts; len(a) != 1 || a[0].Class != "late" || a[0].Phase != "data" || !strings.Contains(r.log.String(), "attempt=1") {
		t.Fatalf("attempts %+v, log:\n%s", a, r.log)
	}
}

// The row has its end already: what the attempt met is kept all the same.
func TestAttemptThatComesTooLateIsKept(t *testing.T) {
	onEachChannel(t, testAttemptThatComesTooLateIsKept)
}

func testAttemptThatComesTooLateIsKept(t *testing.T, newRig rigMaker) {
	r := newRig(t)
	ticket, challenge := r.put("queued")
	r.server.script = []attempt{{before: delivery.ClassTemporary, code: 451, text: "later", early: func() { r.drop(challenge) }}}
	if got := r.work(workerA, ticket, queue.Claimed{}); got.Action != queue.Done {
		t.Fatalf("job: %+v", got)
	}
	r.wantState(ticket, delivery.Dropped)
	if a := r.record(ticket).Attempts; len(a) != 1 || a[0].Code != 451 || a[0].DotAt != nil {
		t.Fatalf("attempts %+v", a)
	}
}

// A request that was killed at its dot, and whose code came back: it was sent.
func TestAnsweredCodeOfALostDotIsNoAlarm(t *testing.T) {
	onEachChannel(t, testAnsweredCodeOfALostDotIsNoAlarm)
}

func testAnsweredCodeOfALostDotIsNoAlarm(t *testing.T, newRig rigMaker) {
	for _, route := range []string{"queued", "inline"} {
		r := newRig(t)
		ticket, challenge := r.put(route)
		if ticket.Via == delivery.ViaInline {
			r.server.script = []attempt{{afterDot: runtime.Goexit}}
			killed(func() { r.Service.Dispatch(t.Context(), ticket) })
		} else {
			r.crash(ticket, workerA)
		}
		r.wantState(ticket, delivery.Sending)
		r.drop(challenge)
		r.clock.Advance(life + time.Minute)
		r.relay()
		r.wantState(ticket, delivery.Unknown)
		if s := r.record(ticket); strings.Contains(r.log.String(), "level=ERROR") || s.Reason != delivery.Answered {
			t.Errorf("%s: reason %s, log:\n%s", route, s.Reason, r.log)
		}
	}
}

// The same while its time is not over: the worker that takes the dot over tries nothing more and logs no error.
func TestAnsweredCodeOfATakenOverDotIsNoAlarm(t *testing.T) {
	onEachChannel(t, testAnsweredCodeOfATakenOverDotIsNoAlarm)
}

func testAnsweredCodeOfATakenOverDotIsNoAlarm(t *testing.T, newRig rigMaker) {
	r := newRig(t)
	ticket, challenge := r.put("queued")
	r.crash(ticket, workerA)
	r.drop(challenge)
	r.work(workerB, ticket, queue.Claimed{SweptOwner: workerA})
	r.work(workerB, ticket, queue.Claimed{})
	r.wantState(ticket, delivery.Unknown)
	if strings.Contains(r.log.String(), "level=ERROR") || len(r.server.sent) != 1 {
		t.Fatalf("%d sent, log:\n%s", len(r.server.sent), r.log)
	}
}
