package delivery_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"otpost/internal/delivery"
	"otpost/internal/queue"
)

// TestProtocolHoldsUnderRandomFaults plays random histories of one delivery: workers that are killed or
// paused between dot and reply, replies that are lost, refusals, waiters that go, time that passes, the
// relay. After each step it checks what docs/states.md promises:
//
//	I1 no dot at or after not_after
//	I2 while the owner of a dot may still report, no other handling changes the delivery, unless its worker was swept
//	I3 copies <= 1 + faults that hit the moment between dot and outcome
//	I4 only the transitions of the table
//	I5 a final state does not change
//	I7 accepted means that a dot went out; failed, expired and dropped mean that none is unaccounted for
//	L1 without further faults the delivery gets its end
func TestProtocolHoldsUnderRandomFaults(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		h := &history{t: rt, rig: openRig(t, rapid.SampledFrom([]string{delivery.Mail, slice}).Draw(rt, "channel")), last: delivery.Queued}
		defer h.rig.close()
		h.ticket, h.challenge = h.rig.put(rapid.SampledFrom([]string{"queued", "queued", "inline"}).Draw(rt, "route"))
		h.end = h.rig.clock.Now().Add(life)
		if h.ticket.Via == delivery.ViaInline {
			h.rig.server.script = []attempt{h.attempt("inline")}
			h.guard(func() { h.rig.Dispatch(t.Context(), h.ticket) })
			h.check()
		}
		for range rapid.IntRange(1, 12).Draw(rt, "steps") {
			h.step()
			h.check()
		}
		h.settle()
	})
}

type history struct {
	t         *rapid.T
	rig       *rig
	ticket    delivery.Ticket
	challenge uuid.UUID
	end       time.Time
	last      delivery.State
	faults    int // that hit the moment between dot and outcome
	workers   int
	swept     uuid.UUID // the last worker that died
	depth     int
	failed    any // what ended an attempt besides the history: a failure of the test
}

// guard runs what may be killed, in a goroutine of its own, and passes on what fails in it.
func (h *history) guard(f func()) {
	failed := make(chan any, 1)
	go func() {
		defer func() { failed <- recover() }()
		f()
	}()
	p := <-failed
	if p == nil {
		p, h.failed = h.failed, nil
	}
	if p != nil {
		panic(p)
	}
}

// within runs a part of the history inside an attempt. A failure of the test ends the attempt like a kill and
// not as a panic of the channel, which the service would record.
func (h *history) within(f func()) {
	defer func() {
		if p := recover(); p != nil {
			h.failed = p
			runtime.Goexit()
		}
	}()
	f()
}

// worker draws a fresh identity: every start has its own.
func (h *history) worker() uuid.UUID {
	h.workers++
	return h.identity(h.workers)
}

func (h *history) identity(n int) uuid.UUID {
	return uuid.MustParse(fmt.Sprintf("00000000-0000-0000-0000-%012d", n))
}

// attempt draws what the server does, and what else happens between dot and outcome.
func (h *history) attempt(label string) attempt {
	kind := rapid.SampledFrom([]string{"250", "250", "451", "554", "451 early", "554 early", "silent early", "no reply", "killed", "panic", "twice", "paused", "late"}).Draw(h.t, label)
	switch kind {
	case "250":
		return attempt{reply: delivery.ClassAccepted, code: 250}
	case "451":
		return attempt{reply: delivery.ClassTemporary, code: 451}
	case "554":
		return attempt{reply: delivery.ClassPermanent, code: 554}
	case "451 early":
		return attempt{before: delivery.ClassTemporary, code: 451}
	case "554 early":
		return attempt{before: delivery.ClassPermanent, code: 554}
	case "silent early":
		return attempt{before: delivery.ClassUnreachable}
	case "no reply":
		return attempt{reply: delivery.ClassUnknown, afterDot: func() { h.faults++ }}
	case "killed":
		return attempt{afterDot: func() { h.faults++; runtime.Goexit() }}
	case "panic":
		return attempt{afterDot: func() { h.faults++; panic("a fault of the channel") }}
	case "twice":
		return attempt{reply: delivery.ClassAccepted, twice: true, afterDot: func() { h.faults++ }} // the answer is lost
	case "late":
		return attempt{atDot: func() { h.rig.clock.Advance(h.end.Sub(h.rig.clock.Now())) }}
	default: // paused: others act while it sleeps between dot and outcome
		then := rapid.SampledFrom([]delivery.Class{delivery.ClassAccepted, delivery.ClassPermanent, delivery.ClassUnknown}).Draw(h.t, label+" then")
		return attempt{reply: then, afterDot: func() { h.within(func() { h.pause(label) }) }}
	}
}

// pause is what happens between a dot and its outcome.
func (h *history) pause(label string) {
	h.faults++
	if h.depth > 2 {
		return
	}
	h.depth++
	defer func() { h.depth-- }()
	owner := h.workers // the latest one is at the dot
	swept := rapid.Bool().Draw(h.t, label+" swept")
	if swept {
		h.swept = h.identity(owner)
	}
	wait := time.Minute
	if h.ticket.Via == delivery.ViaInline {
		wait = 10 * time.Second // the server's time-out
	}
	own := minTime(h.rig.clock.Now().Add(wait), h.end.Add(30*time.Second)).Add(5 * time.Second) // docs/states.md
	for range rapid.IntRange(0, 3).Draw(h.t, label+" meanwhile") {
		h.step()
		if state := h.rig.record(h.ticket).State; !swept && h.rig.clock.Now().Before(own) && state != delivery.Sending {
			h.t.Fatalf("I2: %s while the owner of the dot may still report", state)
		}
	}
}

func minTime(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func (h *history) step() {
	switch rapid.SampledFrom([]string{"work", "work", "work", "wait", "relay", "drop", "past its end", "poisoned"}).Draw(h.t, "step") {
	case "work":
		h.work(queue.Claimed{})
	case "past its end":
		h.work(queue.Claimed{Job: queue.Job{NotAfter: h.rig.clock.Now()}})
	case "poisoned":
		if rapid.IntRange(0, 9).Draw(h.t, "rare") == 0 {
			h.work(queue.Claimed{Crashes: queue.CrashesPoison})
		}
	case "wait":
		h.rig.clock.Advance(time.Duration(rapid.IntRange(1, 60_000).Draw(h.t, "ms")) * time.Millisecond)
	case "relay":
		h.rig.relay()
	case "drop":
		if rapid.IntRange(0, 3).Draw(h.t, "seldom") == 0 {
			h.rig.drop(h.challenge)
		}
	}
}

func (h *history) work(claim queue.Claimed) {
	if h.ticket.Via == delivery.ViaInline {
		return // the request's own: no worker ever gets a job
	}
	worker := h.worker()
	h.rig.server.script = []attempt{h.attempt("attempt")}
	if rapid.Bool().Draw(h.t, "swept") {
		claim.SweptOwner = h.swept
	}
	before := h.faults
	h.guard(func() { h.rig.work(worker, h.ticket, claim) })
	if h.faults > before {
		h.swept = worker
	}
}

// legal is the table of docs/states.md, closed over several rows in one step.
func legal(from, to delivery.State) bool {
	return from == to || !from.Final()
}

func (h *history) check() {
	d := h.rig.record(h.ticket)
	if !legal(h.last, d.State) {
		h.t.Fatalf("I4/I5: from %s to %s", h.last, d.State)
	}
	h.last = d.State
	sent := h.rig.server.sent
	for _, s := range sent {
		if !s.at.Before(h.end) {
			h.t.Fatalf("I1: a dot %s after the end", s.at.Sub(h.end))
		}
	}
	if len(sent) > 0 && h.refused(d) == 0 && len(sent) > 1+h.faults {
		h.t.Fatalf("I3: %d copies after %d faults", len(sent), h.faults)
	}
	switch d.State {
	case delivery.Accepted:
		if len(sent) == 0 {
			h.t.Fatal("I7: accepted, and no dot went out")
		}
	case delivery.Failed, delivery.Expired, delivery.Dropped:
		if h.unaccounted(d) {
			h.t.Fatalf("I7: %s (%s), and a dot had no reply: %+v", d.State, d.Reason, d.Attempts)
		}
	}
}

// refused counts the dots that were answered with 4xx: each may be followed by another copy.
func (h *history) refused(s delivery.Record) (n int) {
	for _, a := range s.Attempts {
		if a.DotAt != nil && a.Class == string(delivery.ClassTemporary) {
			n++
		}
	}
	return n
}

// unaccounted reports whether a dot that may have gone out has no reply.
func (h *history) unaccounted(s delivery.Record) bool {
	for _, a := range s.Attempts {
		if a.DotAt != nil && (a.Class == "" || a.Class == string(delivery.ClassUnknown)) {
			return true
		}
	}
	return false
}

// settle ends all faults: the delivery must get its end by itself.
func (h *history) settle() {
	h.rig.server.script = nil
	for range 40 {
		if h.last.Final() {
			return
		}
		if h.ticket.Via == delivery.ViaQueue {
			h.rig.work(h.worker(), h.ticket, queue.Claimed{SweptOwner: h.swept})
		}
		h.rig.relay()
		h.rig.clock.Advance(5 * time.Second)
		h.check()
	}
	h.t.Fatalf("L1: still %s after all time is over", h.last)
}
