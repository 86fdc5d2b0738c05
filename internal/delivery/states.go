package delivery

import (
	"time"

	"otpost/internal/store"
)

// This file is the table of docs/states.md: one function a row, from a delivery as it stands to what is written. Each
// is called inside the transaction that writes; the guards (epoch, owner, lease) are the caller's (send.go,
// gate.go, relay.go). Rows 1 and 2 create (outbox.go), row 3 reads (send.go), rows 17 and 18 change no delivery.

// unsureOr returns Unknown for a delivery of which a copy may be on its way, and s for any other: after an unsure
// attempt only accepted or unknown may follow.
func unsureOr(d row, s State) State {
	if d.unsure {
		return Unknown
	}
	return s
}

// keep returns the change that leaves a delivery as it stands.
func keep(d row) change {
	return change{
		state:    d.state,
		owner:    d.owner,
		ownUntil: d.ownUntil,
		unsure:   d.unsure,
		attempts: d.attempts,
		nextTry:  d.nextTry,
	}
}

// end returns the change to a final state.
func end(d row, s State, why Reason) change {
	c := keep(d)
	c.state, c.reason = s, why
	c.owner, c.ownUntil, c.nextTry = "", time.Time{}, time.Time{}
	return c
}

// wait returns the change to deferred, due at next.
func wait(d row, next time.Time) change {
	c := keep(d)
	c.state, c.nextTry = Deferred, next
	c.owner, c.ownUntil = "", time.Time{}
	return c
}

// retryOr is the common end of rows 7, 10, 12 and 13: the next try if one fits, else the final state.
func (h *handling) retryOr(d row, now time.Time, otherwise State) change {
	if h.once {
		return end(d, unsureOr(d, otherwise), OneTry)
	}
	next, ok := nextTry(now, d.notAfter, d.attempts, h.s.Jitter)
	if !ok {
		return end(d, unsureOr(d, otherwise), NoTryLeft)
	}
	return wait(d, next)
}

// beginDot is row 4: before the dot. The row is the owner's until the reply can have come.
func (h *handling) beginDot(d row, replyBy time.Time) change {
	c := keep(d)
	c.state, c.owner, c.attempts = Sending, h.owner, d.attempts+1
	c.ownUntil = replyBy.Add(ownMargin)
	return c
}

// dueNow is an administrator's word to a delivery that waits: it is no event of the table, for it stays what it is.
func dueNow(d row, now time.Time) change {
	c := keep(d)
	c.nextTry = now
	return c
}

// drop is row 5: the last waiter is gone, or an administrator cancels.
func drop(d row, why Reason) change { return end(d, unsureOr(d, Dropped), why) }

// expire is rows 6 and 15: the time is over, nothing is on the wire.
func expire(d row) change { return end(d, unsureOr(d, Expired), TooLate) }

// interrupt is row 15 for a message that its request should have sent: the request ended without an outcome.
func interrupt(d row) change { return end(d, unsureOr(d, Expired), Interrupted) }

// deferBeforeDot is row 7: no connection, or 4xx before the dot. The attempt counts. One that its message's end has
// ended is expired.
func (h *handling) deferBeforeDot(d row, now time.Time) change {
	d.attempts++
	if !now.Before(d.notAfter) {
		return expire(d)
	}
	return h.retryOr(d, now, Failed)
}

// refuseBeforeDot is row 8: 5xx before the dot. The attempt counts.
func refuseBeforeDot(d row, why Reason) change {
	d.attempts++
	return end(d, unsureOr(d, Failed), why)
}

// poison is row 8 for a job that killed its workers: no attempt was made.
func poison(d row) change { return end(d, unsureOr(d, Failed), Poison) }

// accept is row 9: 250 to the dot.
func accept(d row) change { return end(d, Accepted, "") }

// deferAfterDot is row 10: 4xx to the dot.
func (h *handling) deferAfterDot(d row, now time.Time) change { return h.retryOr(d, now, Failed) }

// refuseAfterDot is row 11: 5xx to the dot.
func refuseAfterDot(d row) change { return end(d, unsureOr(d, Failed), Refused) }

// mostCopies is how many dots of a delivery may stay without a reply: a server that takes each message and closes the
// connection would send the user one copy per try, until the code ends.
const mostCopies = 3

// noReply is row 12: the dot may have arrived, and so many copies with it. Codes are retried while life is left,
// mostCopies dots in all.
func (h *handling) noReply(d row, now time.Time, copies int) change {
	d.unsure = true
	if copies >= mostCopies {
		return end(d, Unknown, NoReply)
	}
	c := h.retryOr(d, now, Unknown)
	if c.state.Final() {
		c.reason = NoReply
	}
	return c
}

// notWritten is row 13: the dot was committed and not written, for it was too late or the lease had lapsed.
func (h *handling) notWritten(d row, now time.Time) change {
	if !now.Before(d.notAfter) {
		return expire(d)
	}
	return h.retryOr(d, now, Failed)
}

// takeOver is row 14: the owner of the dot is gone, or its time to report is over.
func takeOver(d row, now time.Time) change {
	d.unsure = true
	if !now.Before(d.notAfter) {
		return end(d, Unknown, LostOwner)
	}
	return wait(d, now)
}

// arrived is part of every row that ends in unknown: when the code was answered, the message had arrived.
func arrived(r store.Reader, d row, c change) (change, error) {
	if c.state != Unknown {
		return c, nil
	}
	answered, err := answered(r, d.id)
	if answered {
		c.reason = Answered
	}
	return c, err
}

// giveUp is row 16: the dot's owner did not report, and the time is over.
func giveUp(d row) change {
	d.unsure = true
	return end(d, Unknown, LostOwner)
}
