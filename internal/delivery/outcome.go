package delivery

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"otpost/internal/audit"
	"otpost/internal/queue"
	"otpost/internal/store"
)

// decision says what is written to a row, in the transaction that writes.
type decision func(tx *store.Tx, d row) (change, error)

// errFinal says that the delivery has ended meanwhile.
var errFinal = errors.New("the delivery has ended")

// step runs one row of the table on the delivery that this handling knows as d: it reads the row again, lets
// decide say what is written, and writes it with everything that belongs to it (attempt, job, audit, waiting
// challenge) in one durable transaction. It returns the row as it is then, and what becomes of the job. When
// another has changed the row, nothing is written and the error is a refusal: done for a final state, else
// the job comes back.
func (h *handling) step(ctx context.Context, d row, decide decision) (row, next, error) {
	var before row
	var c change
	err := h.s.DB.Write(ctx, func(tx *store.Tx) error {
		now, err := load(tx, h.id)
		switch {
		case err != nil:
			return err
		case now.state.Final():
			return errFinal
		case now.epoch != d.epoch:
			return errStale
		}
		decided, err := decide(tx, now)
		if err == nil {
			decided, err = arrived(tx, now, decided)
		}
		if err == nil && decided.met != nil {
			err = h.writeAttempt(tx, now, *decided.met)
		}
		if err == nil {
			err = h.s.apply(tx, now, decided)
		}
		if err == nil {
			err = h.report(tx, after(now, decided))
		}
		before, c = now, decided
		return err
	})
	switch {
	case errors.Is(err, errFinal):
		return d, next{}, &refusal{done()}
	case errors.Is(err, errStale):
		return d, next{}, &refusal{later(d, h.s.DB.Now().Add(time.Second))}
	case err != nil:
		return d, next{}, err
	}
	n := after(before, c)
	if n.decided {
		h.s.logOutcome(h.log, before, c)
	}
	return before.with(c), n, nil
}

// report acknowledges the job in the transaction of the outcome, where the queue lies in the same database.
// The worker's own report then finds another claim token and changes nothing.
func (h *handling) report(tx *store.Tx, n next) error {
	driver, ok := h.s.Driver.(queue.TxDriver)
	if !ok || h.claim == nil || !n.decided {
		return nil
	}
	return driver.ReportTx(tx, h.claim.Worker, n.result(*h.claim))
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
		Action:     "delivery " + string(c.state),
		Success:    c.state == Accepted,
		Serial:     d.serial,
		DeliveryID: d.id,
		Info:       string(c.reason),
	})
	if d.serial == "" {
		tx.Signal() // a request may wait for its test message
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

// record turns what the channel said, and the life that is left, into a state: rows 7 to 13. d is the row as
// the gate left it, err that of Channel.Send.
func (h *handling) record(ctx context.Context, d row, r Result, err error) (next, error) {
	if d.state == Sending {
		return h.recordDot(ctx, d, r, err)
	}
	if route := (*RouteError)(nil); errors.As(err, &route) {
		return h.withoutRoute(ctx, d, route.Err)
	}
	if err == nil {
		err = ctx.Err() // row 17: stopped before the dot, nothing is written
	}
	if err != nil {
		return next{}, err
	}
	return h.writeOutcome(ctx, nil, d, r)
}

// recordDot is record for a dot that was committed: its outcome is written whatever stops. Without a reply it
// may have arrived.
func (h *handling) recordDot(ctx context.Context, d row, r Result, err error) (next, error) {
	if err != nil {
		r = internal(ClassUnknown, err)
	}
	if r.Class == ClassUnreachable {
		r.Class = ClassUnknown
	}
	return h.writeOutcome(context.WithoutCancel(ctx), ctx.Done(), d, r)
}

// writeOutcome writes the outcome. After the dot it repeats a write that failed while the row is this
// handling's: an outcome that is lost (a full disk) would send a second copy of what a server has taken. A
// row that another has changed keeps its state, and the reply goes onto the attempt alone.
func (h *handling) writeOutcome(ctx context.Context, stopped <-chan struct{}, d row, r Result) (next, error) {
	for tries := 1; ; tries++ {
		_, n, err := h.step(ctx, d, func(tx *store.Tx, d row) (change, error) {
			c, err := h.changeFor(tx, d, r.Class)
			return c.after(r), err
		})
		if refused := (*refusal)(nil); errors.As(err, &refused) {
			return refused.next, h.lateReply(ctx, d, r)
		}
		if err == nil || d.state != Sending || !h.s.DB.Now().Before(d.ownUntil) {
			return n, err
		}
		if tries == 1 {
			h.log.Warn("outcome not written yet, tried again until it is", "delivery", h.id, "until", d.ownUntil,
				"err", err)
		}
		select {
		case <-time.After(outcomeAgain):
		case <-stopped:
			return n, err
		}
	}
}

// changeFor picks the row of the table for what the channel said.
func (h *handling) changeFor(tx *store.Tx, d row, class Class) (change, error) {
	now := h.s.DB.Now()
	if d.state != Sending {
		if class == ClassPermanent {
			return refuseBeforeDot(d, Refused), nil
		}
		return h.deferBeforeDot(d, now), nil
	}
	switch class {
	case ClassAccepted:
		return accept(d), nil
	case ClassTemporary:
		return h.deferAfterDot(d, now), nil
	case ClassPermanent:
		return refuseAfterDot(d), nil
	case ClassLate:
		return h.notWritten(d, now), nil
	}
	copies, err := copiesOf(tx, d.id)
	return h.noReply(d, now, copies), err
}
