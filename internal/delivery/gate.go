package delivery

import (
	"context"
	"errors"
	"time"

	"otpost/internal/queue"
	"otpost/internal/store"
)

// Gate is what a channel asks before it writes what cannot be taken back. An error of Wanted or Commit closes
// the connection: nothing was sent. A refusal carries what becomes of the job. A Gate belongs to one attempt
// and one goroutine.
type Gate struct {
	h *handling
	d row // as the handling knows it; with the dot once that is committed
}

// errCommitted says that a channel has committed its message before.
var errCommitted = errors.New("the message was committed already")

// Wanted asks whether the message is still wanted and in time, before the server learns of it (SMTP: before MAIL).
func (g *Gate) Wanted(ctx context.Context) error {
	if g.h.fresh != nil && !g.h.fresh() {
		return &refusal{later(g.d, g.h.s.DB.Now())}
	}
	d, n, err := g.h.admit(ctx)
	switch {
	case err != nil:
		return err
	case n.decided:
		return &refusal{n}
	case d.epoch != g.d.epoch: // another handling has it
		return &refusal{later(d, g.h.s.DB.Now().Add(time.Second))}
	}
	return nil
}

// Commit is row 4 with its guards, and rows 5 and 6 when they fail: it notes that the message is about to be
// sent (SMTP: the dot is about to be written). It returns until when the reply is awaited. wait is how long a
// request waits for it; a worker waits for replyWait.
func (g *Gate) Commit(ctx context.Context, wait time.Duration) (replyBy time.Time, err error) {
	h := g.h
	if g.d.state == Sending {
		return replyBy, errCommitted
	}
	if !h.once {
		wait = replyWait
	}
	d, n, err := h.step(ctx, g.d, func(tx *store.Tx, d row) (change, error) {
		if err := h.holdsJob(tx); err != nil {
			return change{}, err
		}
		why, err := unwanted(tx, d.id)
		if err != nil {
			return change{}, err
		}
		now := h.s.DB.Now()
		switch {
		case why != "":
			return drop(d, why), nil
		case !now.Before(d.notAfter):
			tried := d
			tried.attempts++
			return expire(tried).after(Result{Class: ClassLate, Phase: "data"}), nil
		}
		h.beginAttempt(tx, d, now)
		return h.beginDot(d, awaited(now, d.notAfter, wait)), nil
	})
	switch {
	case err != nil:
		return replyBy, err
	case n.decided:
		return replyBy, &refusal{n}
	}
	g.d = d
	return d.ownUntil.Add(-ownMargin), nil
}

// holdsJob checks the worker's lease: by its own clock and, where the job lies in the same database, by the job itself.
func (h *handling) holdsJob(tx *store.Tx) error {
	if h.claim == nil {
		return nil
	}
	if h.fresh != nil && !h.fresh() {
		return errStale
	}
	driver, ok := h.s.Driver.(queue.TxDriver)
	if !ok {
		return nil
	}
	held, err := driver.HeldTx(tx, *h.claim)
	if err == nil && !held {
		err = errStale
	}
	return err
}

// MayWrite is the last question before the message goes out: time and lease once more, after the commit.
// After an error the attempt ends with ClassLate.
func (g *Gate) MayWrite() error {
	if g.h.fresh != nil && !g.h.fresh() {
		return errors.New("the worker's lease has lapsed")
	}
	if !g.h.s.DB.Now().Before(g.d.notAfter) {
		return errors.New("the message's time is over")
	}
	return nil
}

// awaited is until when the reply to a dot of now is awaited.
func awaited(now, notAfter time.Time, wait time.Duration) time.Time {
	return earlier(now.Add(wait), notAfter.Add(replyMargin))
}
