package delivery

import (
	"time"

	"otpost/internal/queue"
)

// next is what becomes of the job of a delivery. Each step returns it and none stores it. The zero value is
// undecided: the attempt goes on.
type next struct {
	decided  bool
	action   queue.Action
	at       time.Time // of Retry
	notAfter time.Time // of Retry: the row's own end; zero: as the job has it
	reason   string    // of DeadLetter
}

// done is the next of a delivery with a final state.
func done() next { return next{decided: true, action: queue.Done} }

// later is the next of a delivery that waits until at.
func later(d row, at time.Time) next {
	return next{decided: true, action: queue.Retry, at: at, notAfter: d.notAfter}
}

// after returns what becomes of the job once a change is written. A dot that was committed leaves it undecided.
func after(d row, c change) next {
	switch {
	case c.state == Sending:
		return next{}
	case c.state.Final():
		return done()
	}
	return later(d, c.nextTry)
}

// result returns n as the report of a claim.
func (n next) result(c queue.Claimed) queue.Result {
	return queue.Result{
		ID:       c.ID,
		Token:    c.Token,
		Action:   n.action,
		RunAt:    n.at,
		NotAfter: n.notAfter,
		Reason:   n.reason,
	}
}

// refusal is the error of a step that this handling may not take: the delivery is not its to send, or not any
// more. It carries what becomes of the job.
type refusal struct{ next }

// Error implements error.
func (*refusal) Error() string { return "the delivery may not be sent" }
