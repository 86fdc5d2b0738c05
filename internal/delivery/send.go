package delivery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"time"

	"github.com/google/uuid"

	"otpost/internal/queue"
	"otpost/internal/secret"
	"otpost/internal/store"
)

// handling is one go at a delivery: by a worker, by the relay, or by the request (once). It says who acts.
// What the steps learn and decide is in the values that they return.
type handling struct {
	s     *Service
	id    uuid.UUID
	owner string         // of the dot: unique per worker start, per request and per message of the relay
	claim *queue.Claimed // nil: not by a worker
	fresh func() bool    // whether the worker's lease allows a new dot; nil: no lease
	once  bool           // via = inline: one try, so deferred means failed
	log   *slog.Logger
	begun time.Time
}

// Handle does what a claimed job asks for and returns what becomes of the job. fresh tells whether the worker's lease
// still allows a new dot. ctx is ended by a stop that does not wait: before the dot the job then goes back untouched.
func (s *Service) Handle(ctx context.Context, c queue.Claimed, fresh func() bool) queue.Result {
	now := s.DB.Now()
	h := &handling{s: s, id: c.ID, owner: c.Worker.String(), claim: &c, fresh: fresh, log: s.Queue, begun: now}
	n, err := h.attempt(ctx)
	switch {
	case err == nil:
		return n.result(c)
	case ctx.Err() != nil:
		return next{action: queue.Release}.result(c) // row 17
	}
	s.interrupted(h.log, c.ID, err)
	return next{action: queue.Retry, at: s.DB.Now().Add(time.Second)}.result(c)
}

// interrupted logs a delivery whose handling ended with an error: at once, and then once a minute for all
// deliveries, because a database that takes no write interrupts each of them each second.
func (s *Service) interrupted(log *slog.Logger, id uuid.UUID, err error) {
	if n, due := s.interruptions.failed(s.DB.Now(), 1); due {
		log.Warn("delivery interrupted, tried again", "delivery", id, "interruptions", n, "err", err)
	}
}

// attempt takes the delivery from claim to outcome and returns what becomes of its job. An error means that
// the outcome could not be read or written: the job comes back.
func (h *handling) attempt(ctx context.Context) (next, error) {
	d, n, err := h.admit(ctx)
	if err == nil && !n.decided {
		n, err = h.send(ctx, d)
	}
	return obey(n, err)
}

// obey returns the next of a refusal.
func obey(n next, err error) (next, error) {
	if r := (*refusal)(nil); errors.As(err, &r) {
		return r.next, nil
	}
	return n, err
}

// admit is row 3 and what follows from it without a connection. It leaves next undecided when the delivery is sent now.
func (h *handling) admit(ctx context.Context) (d row, n next, err error) {
	var why Reason
	err = h.s.DB.Read(ctx, func(r store.Reader) (err error) {
		if d, err = load(r, h.id); err == nil {
			why, err = unwanted(r, h.id)
		}
		return err
	})
	if errors.Is(err, errNoRow) {
		h.log.Warn("job without a delivery marked dead", "delivery", h.id)
		return d, next{decided: true, action: queue.DeadLetter, reason: "the database has no delivery of this id"}, nil
	}
	if err != nil {
		return d, n, err
	}
	now := h.s.DB.Now()
	switch {
	case d.state.Final(), d.via == ViaInline && h.claim != nil: // the request has taken the latter back from the queue
		return d, done(), nil
	case d.state == Sending:
		return h.tryTakeOver(ctx, d, now)
	case h.claim != nil && h.claim.Poisoned():
		return h.step(ctx, d, func(_ *store.Tx, d row) (change, error) { return poison(d), nil })
	case why != "":
		return h.step(ctx, d, dropUnwanted)
	case !now.Before(d.notAfter):
		return h.step(ctx, d, h.expireOverdue)
	case d.state == Deferred && now.Before(d.nextTry) && d.nextTry.Sub(now) <= longestDelay(d.attempts):
		return d, later(d, d.nextTry), nil
	case h.givesWay(d, now):
		return d, later(d, now.Add(giveWayFor)), nil
	}
	return d, n, nil
}

const (
	giveWayFor   = time.Second      // how long a message gives way to younger ones
	giveWayMost  = 30 * time.Second // after so long without a worker it does, or after a sixth of its life
	giveWayUntil = 2 * time.Second  // before its end it does not: it may be its last try
)

// givesWay reports whether a message waits for a worker for so long that there are more messages than can be sent.
// Then the oldest ones would be sent first and each message would arrive near its end. Those that wait too long are
// due again a moment later, behind younger ones, so that as many are sent, and most of them early. Without such a
// backlog the moment is all that it costs. A job that was taken back from a dead worker has waited for another reason.
func (h *handling) givesWay(d row, now time.Time) bool {
	if h.claim == nil || h.claim.RunAt.IsZero() || h.claim.Crashes > 0 {
		return false
	}
	most := min(giveWayMost, d.notAfter.Sub(d.created)/6)
	return now.Sub(h.claim.RunAt) > most && d.notAfter.Sub(now) > giveWayUntil
}

// tryTakeOver is row 14: the dot of another handling has no outcome. Where its owner may still write one, the
// job comes back later. A delivery that was taken over is due at once: its job comes back, and the next
// handling sends.
func (h *handling) tryTakeOver(ctx context.Context, d row, now time.Time) (row, next, error) {
	if !h.mayTakeOver(d, now) {
		return d, later(d, earlier(d.ownUntil, now.Add(replyWait))), nil // the latter: the clock was set back
	}
	return h.step(ctx, d, func(_ *store.Tx, d row) (change, error) { return takeOver(d, h.s.DB.Now()), nil })
}

// mayTakeOver is the guard of row 14.
func (h *handling) mayTakeOver(d row, now time.Time) bool {
	if h.claim != nil && h.claim.SweptOwner != uuid.Nil && h.claim.SweptOwner.String() == d.owner {
		return true
	}
	return !now.Before(d.ownUntil)
}

// dropUnwanted is row 5 by the worker. It asks again in the transaction, because a waiter may have come.
func dropUnwanted(tx *store.Tx, d row) (change, error) {
	why, err := unwanted(tx, d.id)
	if err != nil {
		return change{}, err
	}
	if why == "" {
		return change{}, errStale
	}
	return drop(d, why), nil
}

// expireOverdue is row 6: the clock is read again in the transaction.
func (h *handling) expireOverdue(_ *store.Tx, d row) (change, error) {
	if h.s.DB.Now().Before(d.notAfter) {
		return change{}, errStale
	}
	return expire(d), nil
}

// send opens the content, lets its channel send, and records what the channel says.
func (h *handling) send(ctx context.Context, d row) (next, error) {
	content, why, err := h.s.read(d)
	if err != nil {
		return h.giveUpFor(ctx, d, why, err)
	}
	channel, ok := h.s.Channels[d.channel]
	if !ok {
		return h.giveUpFor(ctx, d, NoRoute, fmt.Errorf("there is no channel %q", d.channel))
	}
	g := &Gate{h: h, d: d}
	r, err := h.ask(ctx, channel, g, Outgoing{
		Content:   content,
		ID:        d.id.String(),
		MessageID: d.messageID,
		Route:     d.route,
		Created:   d.created,
		NotAfter:  d.notAfter,
	})
	return h.record(ctx, g.d, r, err)
}

// ask calls the channel. A panic of it is an attempt that came to no reply.
func (h *handling) ask(ctx context.Context, c Channel, g *Gate, m Outgoing) (r Result, err error) {
	defer func() {
		if p := recover(); p != nil {
			h.log.Error("channel panicked", "delivery", h.id, "err", fmt.Sprint(p), "stack", string(debug.Stack()))
			r, err = internal(ClassUnreachable, errors.New("the channel panicked")), nil
		}
	}()
	return c.Send(ctx, m, g)
}

// withoutRoute records an attempt whose route could not be read. What lasts ends the delivery; any other
// error is tried again, as a server out of reach is.
func (h *handling) withoutRoute(ctx context.Context, d row, err error) (next, error) {
	switch {
	case errors.Is(err, store.ErrNotFound):
		return h.giveUpFor(ctx, d, NoRoute, err)
	case errors.Is(err, secret.ErrSealed):
		return h.giveUpFor(ctx, d, NoSecret, err)
	case ctx.Err() != nil:
		return next{}, err
	}
	_, n, err := h.step(ctx, d, func(_ *store.Tx, d row) (change, error) {
		c := h.deferBeforeDot(d, h.s.DB.Now())
		if c.state == Failed {
			c.reason = NoServer
		}
		return c.after(internal(ClassUnreachable, err)), nil
	})
	return n, err
}

// giveUpFor is row 8 without a connection: the delivery can never be sent.
func (h *handling) giveUpFor(ctx context.Context, d row, why Reason, err error) (next, error) {
	r := internal(ClassPermanent, err)
	switch why {
	case NoSecret:
		r.Diagnosis = DiagnosisSecret
	case Unreadable:
		r.Diagnosis = DiagnosisContent
	case NoRoute:
		r.Diagnosis = DiagnosisNoRoute
	}
	_, n, err := h.step(ctx, d, func(_ *store.Tx, d row) (change, error) {
		return refuseBeforeDot(d, why).after(r), nil
	})
	return n, err
}

// longestCause is where the text of an error is cut in an attempt, as replies are.
const longestCause = 256

// internal is the result of an attempt that an error of this program ended.
func internal(class Class, err error) Result {
	text := err.Error()
	text = strings.ToValidUTF8(text[:min(len(text), longestCause)], "")
	return Result{Class: class, Text: text, Diagnosis: DiagnosisInternal}
}

// earlier returns the earlier of two times.
func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
