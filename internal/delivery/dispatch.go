package delivery

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/google/uuid"

	"otpost/internal/store"
)

// Dispatch follows the commit that put the tickets into the outbox: what goes by the queue is handed to it
// (enqueue.go), what is inline is sent now, all at once, each within the time-outs of its server. It returns
// an outcome for each ticket, in their order. A caller that goes away does not stop a message that is on its
// way.
func (s *Service) Dispatch(ctx context.Context, tickets ...Ticket) []Outcome {
	ctx = context.WithoutCancel(ctx)
	tickets, outcomes := s.enqueue(ctx, tickets)
	var others sync.WaitGroup
	for i, t := range tickets {
		switch {
		case t.Via != ViaInline || outcomes[i].State.Final():
		case i < len(tickets)-1:
			others.Go(func() { outcomes[i] = s.sendBeside(ctx, t) })
		default:
			outcomes[i] = s.sendInline(ctx, t)
		}
	}
	others.Wait()
	return outcomes
}

// sendBeside is sendInline in a goroutine of its own, where no edge recovers a panic.
func (s *Service) sendBeside(ctx context.Context, t Ticket) (o Outcome) {
	defer func() {
		if p := recover(); p != nil {
			s.Log.Error("panic in an inline delivery", "delivery", t.ID, "err", p, "stack", string(debug.Stack()))
			o = Outcome{ID: t.ID, Via: ViaInline, State: Unknown, Reason: NoReply}
		}
	}()
	return s.sendInline(ctx, t)
}

// sendInline walks the worker's way in the request, with one try.
func (s *Service) sendInline(ctx context.Context, t Ticket) Outcome {
	h := &handling{s: s, id: t.ID, owner: "inline " + uuid.NewString(), once: true, log: s.Log, begun: s.DB.Now()}
	_, err := h.attempt(ctx)
	var o Outcome
	if err == nil {
		o, err = s.outcome(ctx, t.ID)
	}
	if err == nil {
		return o
	}
	s.Log.Error("inline delivery interrupted", "delivery", t.ID, "err", err)
	return h.abandon(ctx, err)
}

// abandon ends a delivery that an error keeps from being sent in its request, with the error on an attempt.
// One whose dot was committed is left to the relay: it may have been sent.
func (h *handling) abandon(ctx context.Context, cause error) Outcome {
	var d row
	err := h.s.DB.Read(ctx, func(r store.Reader) (err error) {
		d, err = load(r, h.id)
		return err
	})
	if err != nil || d.state == Sending {
		return Outcome{ID: h.id, Via: ViaInline, State: Unknown, Reason: NoReply}
	}
	if _, err := obey(h.giveUpFor(ctx, d, Interrupted, cause)); err != nil {
		h.log.Error("inline delivery not ended yet, the relay ends it", "delivery", h.id, "err", err)
	}
	return Outcome{ID: h.id, Via: ViaInline, State: Failed, Reason: Interrupted}
}

// outcome reads how a delivery stands.
func (s *Service) outcome(ctx context.Context, id uuid.UUID) (Outcome, error) {
	o := Outcome{ID: id}
	err := s.DB.Read(ctx, func(r store.Reader) error {
		return r.Get([]any{&o.Via, &o.State, &o.Reason}, `SELECT via, state, reason FROM delivery WHERE id = $1`, id[:])
	})
	if err != nil {
		return o, fmt.Errorf("read delivery %s: %w", id, err)
	}
	return o, nil
}

// Drop is row 5: the transaction that ends challenges calls it with their ids. Their waiters wait no more; a
// delivery that waits for its next try and has no other waiter is dropped. One in sending is left alone: what
// becomes of it is written by its owner.
func (s *Service) Drop(tx *store.Tx, now time.Time, why Reason, challenges ...uuid.UUID) error {
	for _, challenge := range challenges {
		var id uuid.UUID
		err := tx.Get([]any{&id}, `UPDATE waiter SET ended = $2 WHERE challenge_id = $1 AND ended = ''
			RETURNING delivery_id`, challenge[:], string(why))
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return fmt.Errorf("end waiter: %w", err)
		}
		if err := s.dropUnwaited(tx, id, why); err != nil {
			return err
		}
	}
	return nil
}

// dropUnwaited drops a delivery that has lost its last waiter, unless a dot of it is under way.
func (s *Service) dropUnwaited(tx *store.Tx, id uuid.UUID, why Reason) error {
	d, err := load(tx, id)
	if err != nil || (d.state != Queued && d.state != Deferred) {
		return err
	}
	if open, err := unwanted(tx, id); err != nil || open == "" {
		return err
	}
	c := drop(d, why)
	if err := s.apply(tx, d, c); err != nil {
		return err
	}
	s.endJob(tx, d.id)
	tx.AfterCommit(func() { s.logOutcome(s.Log, d, c) })
	return nil
}
