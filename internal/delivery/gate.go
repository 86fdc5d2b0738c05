package delivery

import (
	"context"
	"errors"
	"time"

	"otpost/internal/mail"
	"otpost/internal/queue"
	"otpost/internal/store"
)

// gate is what a sender asks before it writes what cannot be taken back: the envelope, the dot. An error closes the
// connection: nothing was sent. A refusal carries what becomes of the job.
type gate struct {
	h    *handling
	d    row           // as the handling knows it; with the dot once that is committed
	wait time.Duration // for the reply to the dot
}

// BeforeWrite implements mail.Message.Journal: it asks whether the envelopes of the write are still wanted, and commits its
// dots. One message is on a connection at a time, so a write has one envelope or one dot.
func (g *gate) BeforeWrite(ctx context.Context, w mail.Write) error {
	if len(w.Dots) > 0 {
		return g.commit(ctx)
	}
	return g.wanted(ctx)
}

// wanted asks before MAIL: a message that is not wanted any more or too late costs no transaction of the server.
func (g *gate) wanted(ctx context.Context) error {
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

// commit is row 4 with its guards, and rows 5 and 6 when they fail.
func (g *gate) commit(ctx context.Context) error {
	h := g.h
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
			return expire(tried).after(mail.Result{Class: mail.Late, Phase: "data"}), nil
		}
		h.beginAttempt(tx, d, now)
		return h.beginDot(d, replyBy(now, d.notAfter, g.wait)), nil
	})
	switch {
	case err != nil:
		return err
	case n.decided:
		return &refusal{n}
	}
	g.d = d
	return nil
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

// mayWrite is the last question before the dot goes out: time and lease once more, after the commit.
func (g *gate) mayWrite() error {
	if g.h.fresh != nil && !g.h.fresh() {
		return errors.New("the worker's lease has lapsed")
	}
	if !g.h.s.DB.Now().Before(g.d.notAfter) {
		return errors.New("the message's time is over")
	}
	return nil
}

// replyBy is until when the reply to the committed dot is awaited.
func (g *gate) replyBy() time.Time { return g.d.ownUntil.Add(-ownMargin) }

// replyBy is until when the reply to a dot of now is awaited.
func replyBy(now, notAfter time.Time, wait time.Duration) time.Time {
	return earlier(now.Add(wait), notAfter.Add(replyMargin))
}
