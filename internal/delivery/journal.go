package delivery

import (
	"context"
	"errors"
	"fmt"
	"time"

	"otpost/internal/mail"
	"otpost/internal/queue"
	"otpost/internal/store"
)

// journal is asked before every write that carries an envelope or a dot. A refusal closes the connection: nothing was sent.
type journal struct{ h *handling }

// errRefused says that the journal refused a write; what follows from it was written and stands in the handling's result.
var errRefused = errors.New("the delivery may not be sent any more")

// BeforeWrite implements mail.Message.Journal: it asks whether the envelopes of the write are still wanted, and commits its
// dots (row 4). One message is on a connection at a time, so a write has one envelope or one dot.
func (j journal) BeforeWrite(ctx context.Context, w mail.Write) error {
	if len(w.Dots) > 0 {
		return j.h.commitDot(ctx)
	}
	return j.h.stillWanted(ctx)
}

// stillWanted looks before MAIL: a message that is not wanted any more or too late costs no transaction of the server.
func (h *handling) stillWanted(ctx context.Context) error {
	if h.fresh != nil && !h.fresh() {
		h.later(h.s.DB.Now())
		return fmt.Errorf("%w: the worker's lease has lapsed", errRefused)
	}
	before := h.epoch
	d, ready, err := h.look(ctx)
	if err != nil {
		return err
	}
	if ready && d.epoch != before {
		h.later(h.s.DB.Now().Add(time.Second)) // another has it
	}
	if !ready || d.epoch != before {
		return errRefused
	}
	return nil
}

// commitDot is row 4 with its guards, and rows 5 and 6 when they fail.
func (h *handling) commitDot(ctx context.Context) error {
	refused := false
	written, err := h.step(ctx, func(tx *store.Tx, d row) (change, error) {
		refused = true
		if err := h.ours(tx); err != nil {
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
			return expire(d), nil
		}
		refused = false
		h.beginAttempt(tx, d, now)
		return h.beginDot(d, now), nil
	})
	if err != nil {
		return err
	}
	if refused || !written {
		return errRefused
	}
	return nil
}

// ours checks the worker's lease: by its own clock and, where the job lies in the same database, by the job itself.
func (h *handling) ours(tx *store.Tx) error {
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

// mayWrite is the last look before the dot goes out: time and lease once more, after the commit.
func (h *handling) mayWrite() error {
	if h.fresh != nil && !h.fresh() {
		return errors.New("the worker's lease has lapsed")
	}
	if !h.s.DB.Now().Before(h.notAfter) {
		return errors.New("the message's time is over")
	}
	return nil
}
