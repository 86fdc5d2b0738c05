package delivery

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"otpost/internal/audit"
	"otpost/internal/mail"
	"otpost/internal/queue"
	"otpost/internal/store"
)

// errFinal says that the delivery has ended meanwhile.
var errFinal = errors.New("the delivery has ended")

// step runs one row of the table: it reads the delivery again, lets decide say what is written, and writes it with everything
// that belongs to it (job, audit, waiting challenge) in one durable transaction. When another has changed the delivery, nothing
// is written and the job's fate is set: done for a final one, else it comes back.
func (h *handling) step(ctx context.Context, decide func(tx *store.Tx, d row) (change, error)) (written bool, err error) {
	var d row
	var c change
	err = h.s.DB.Write(ctx, func(tx *store.Tx) error {
		now, err := load(tx, h.id)
		switch {
		case err != nil:
			return err
		case now.state.Final():
			return errFinal
		case now.epoch != h.epoch:
			return errStale
		}
		next, err := decide(tx, now)
		if err == nil {
			next, err = arrived(tx, now, next)
		}
		if err != nil {
			return err
		}
		if err := h.s.apply(tx, now, next); err != nil {
			return err
		}
		if err := h.report(tx, next); err != nil {
			return err
		}
		d, c = now, next
		return nil
	})
	switch {
	case errors.Is(err, errFinal):
		h.result.Action = queue.Done
		return false, nil
	case errors.Is(err, errStale):
		h.later(h.s.DB.Now().Add(time.Second))
		return false, nil
	case err != nil:
		return false, err
	}
	h.epoch = d.epoch + 1
	h.follow(d, c)
	return true, nil
}

// follow sets the job's fate and the attempt's number from what was written, and tells it.
func (h *handling) follow(d row, c change) {
	switch {
	case c.state == Sending:
		h.number, h.ownUntil = c.attempts, c.ownUntil
		return
	case c.state.Final():
		h.result.Action = queue.Done
	default:
		h.later(c.nextTry)
	}
	h.s.tell(h.log, d, c, h.said)
}

// report acknowledges the job in the transaction of the outcome, where the queue lies in the same database. The worker's own
// report then finds another claim token and changes nothing.
func (h *handling) report(tx *store.Tx, c change) error {
	driver, ok := h.s.Driver.(queue.TxDriver)
	if !ok || h.claim == nil || c.state == Sending {
		return nil
	}
	result := h.result
	result.Action = queue.Done
	if !c.state.Final() {
		result.Action, result.RunAt = queue.Retry, c.nextTry
	}
	return driver.ReportTx(tx, h.claim.Worker, result)
}

// apply writes a change and what must commit with it. It is the only way to a new state.
func (s *Service) apply(tx *store.Tx, d row, c change) error {
	now := s.DB.Now()
	if err := update(tx, d, c, now); err != nil {
		return err
	}
	if d.state == Sending {
		closeAttempts(tx, d.id, now)
	}
	if !c.state.Final() {
		return nil
	}
	audit.Put(tx, now, audit.Entry{
		Action: "delivery " + string(c.state), Success: c.state == Accepted, Serial: d.serial, DeliveryID: d.id, Info: string(c.reason),
	})
	if d.serial == "" {
		tx.Signal() // somebody may wait for a test mail
	}
	if err := s.OnOutcome(tx, Outcome{ID: d.id, Via: d.via, State: c.state, Reason: c.reason}); err != nil {
		return fmt.Errorf("follow up delivery %s: %w", d.id, err)
	}
	return nil
}

// endJob removes the job of a delivery that no handling ends, where the queue lies in the database: a stale job
// would be claimed before fresh ones. A leased job stays for its worker.
func (s *Service) endJob(tx *store.Tx, id uuid.UUID) {
	if driver, ok := s.Driver.(queue.TxDriver); ok {
		driver.RemoveTx(tx, id)
	}
}

// settle turns what the protocol said, and the life that is left, into a state: rows 7 to 13.
func (h *handling) settle(ctx context.Context, r mail.Result) error {
	stopped := ctx.Done()
	if h.number > 0 {
		ctx = context.WithoutCancel(ctx) // a dot was committed: its outcome is written whatever stops
	}
	switch {
	case r.Class == mail.Unwanted:
		if errors.Is(r.Err, errRefused) {
			return nil // the journal has said what becomes of it
		}
		return r.Err
	case h.number == 0 && ctx.Err() != nil:
		return ctx.Err() // row 17: stopped before the dot, nothing is written
	}
	h.said = r
	written, err := h.writeOutcome(ctx, stopped, r)
	if err == nil && !written {
		err = h.lateReply(ctx, r)
	}
	return err
}

// writeOutcome writes the outcome, and again while it is this handling's to write: an outcome that is lost (a full disk) would
// send a second copy of what a server has taken. Before the dot nothing is lost, and one try is enough.
func (h *handling) writeOutcome(ctx context.Context, stopped <-chan struct{}, r mail.Result) (written bool, err error) {
	for tries := 1; ; tries++ {
		written, err = h.step(ctx, func(tx *store.Tx, d row) (change, error) {
			c, err := h.judge(tx, d, r)
			if err != nil {
				return c, err
			}
			return c, h.writeAttempt(tx, d, r)
		})
		if err == nil || h.number == 0 || !h.s.DB.Now().Before(h.ownUntil) {
			return written, err
		}
		if tries == 1 {
			h.log.Warn("outcome not written yet, tried again until it is", "delivery", h.id, "until", h.ownUntil, "err", err)
		}
		select {
		case <-time.After(outcomeAgain):
		case <-stopped:
			return false, err
		}
	}
}

// judge picks the row of the table.
func (h *handling) judge(tx *store.Tx, d row, r mail.Result) (change, error) {
	now := h.s.DB.Now()
	if d.state != Sending {
		if r.Class == mail.Permanent {
			return refuseBeforeDot(d, Refused), nil
		}
		return h.deferBeforeDot(d, now), nil
	}
	switch r.Class {
	case mail.Accepted:
		return accept(d), nil
	case mail.Temporary:
		return h.deferAfterDot(d, now), nil
	case mail.Permanent:
		return refuseAfterDot(d), nil
	case mail.Late:
		return h.notWritten(d, now), nil
	}
	copies, err := copiesOf(tx, d.id)
	return h.noReply(d, now, copies), err
}
