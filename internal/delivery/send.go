package delivery

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"

	"github.com/google/uuid"

	"otpost/internal/mail"
	"otpost/internal/queue"
	"otpost/internal/secret"
	"otpost/internal/store"
)

// Sender hands a message to a mail server and says what happened.
type Sender interface {
	Send(ctx context.Context, server mail.Server, m mail.Message) mail.Result
}

// handling is one go at a delivery, by a worker or by the request (once). It has a field for everything that its steps
// tell each other.
//
// It begins with result = done. Whatever looks or writes (look, step) then says in result what becomes of the job: a
// final state leaves it done, a waiting one makes it come back at its next try, a row that another has changed makes
// it come back soon. So every way out of run may simply return, and only an error overrules result (Handle).
type handling struct {
	s     *Service
	id    uuid.UUID
	owner string         // of the dot: unique per worker start and per request
	claim *queue.Claimed // nil in the request
	fresh func() bool    // whether the worker's lease allows a new dot; nil: no lease
	once  bool           // via = inline: one try, so deferred means failed
	log   *slog.Logger

	epoch    int64 // of the row as this handling knows it
	notAfter time.Time
	number   int           // of the attempt, once its dot is committed
	ownUntil time.Time     // until then its outcome is this handling's to write
	begun    time.Time     // when the attempt began
	wait     time.Duration // for the reply to the dot
	said     mail.Result   // by the server, once it has
	result   queue.Result  // what becomes of the job
}

// Handle does what a claimed job asks for and returns what becomes of the job. fresh tells whether the worker's lease
// still allows a new dot. ctx is ended by a stop that does not wait: before the dot the job then goes back untouched.
func (s *Service) Handle(ctx context.Context, c queue.Claimed, fresh func() bool) queue.Result {
	h := &handling{s: s, id: c.ID, owner: c.Worker.String(), claim: &c, fresh: fresh, log: s.Queue}
	h.result = queue.Result{ID: c.ID, Token: c.Token, Action: queue.Done, NotAfter: c.NotAfter}
	if err := h.run(ctx); err != nil {
		if ctx.Err() != nil {
			h.result.Action = queue.Release // row 17
		} else {
			s.interrupted(h.log, c.ID, err)
			h.later(s.DB.Now().Add(time.Second))
		}
	}
	return h.result
}

// interrupted logs that nothing could be said of a delivery: at once, and then once a minute for all, for a database
// that takes nothing interrupts each of them each second.
func (s *Service) interrupted(log *slog.Logger, id uuid.UUID, err error) {
	if n, tell := s.interruptions.failed(s.DB.Now(), 1); tell {
		log.Warn("delivery interrupted, tried again", "delivery", id, "interruptions", n, "err", err)
	}
}

// run takes the delivery from claim to outcome. An error means that nothing can be said of it: the job comes back.
func (h *handling) run(ctx context.Context) error {
	d, ready, err := h.look(ctx)
	if err != nil || !ready {
		return err
	}
	server, message, err := h.letter(ctx, d)
	if err != nil {
		return err
	}
	if server == nil {
		return nil
	}
	return h.settle(ctx, h.s.Sender.Send(ctx, *server, message))
}

// look is row 3 and what follows from it without a connection. ready says that the delivery shall be sent now.
func (h *handling) look(ctx context.Context) (d row, ready bool, err error) {
	var why Reason
	err = h.s.DB.Read(ctx, func(r store.Reader) (err error) {
		if d, err = load(r, h.id); err == nil {
			why, err = unwanted(r, h.id)
		}
		return err
	})
	if errors.Is(err, errNoRow) {
		h.log.Warn("job without a delivery put aside", "delivery", h.id)
		h.result.Action, h.result.Reason = queue.DeadLetter, "the database has no delivery of this id"
		return d, false, nil
	}
	if err != nil {
		return d, false, err
	}
	h.epoch, h.notAfter = d.epoch, d.notAfter
	h.result.NotAfter = d.notAfter
	now := h.s.DB.Now()
	switch {
	case d.state.Final(), d.via == ViaInline && h.claim != nil: // the latter was taken back from the queue: the request has it
		return d, false, nil
	case d.state == Sending:
		return d, false, h.tryTakeOver(ctx, d, now)
	case h.claim != nil && h.claim.Poisoned():
		return d, false, h.only(ctx, func(_ *store.Tx, d row) (change, error) { return poison(d), nil })
	case why != "":
		return d, false, h.only(ctx, h.dropUnwanted)
	case !now.Before(d.notAfter):
		return d, false, h.only(ctx, h.expireOverdue)
	case d.state == Deferred && now.Before(d.nextTry) && d.nextTry.Sub(now) <= longestDelay(d.attempts):
		h.later(d.nextTry)
		return d, false, nil
	case h.givesWay(d, now):
		h.later(now.Add(giveWayFor))
		return d, false, nil
	}
	return d, true, nil
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

// only is step for who has nothing to do with whether it was written.
func (h *handling) only(ctx context.Context, decide func(tx *store.Tx, d row) (change, error)) error {
	_, err := h.step(ctx, decide)
	return err
}

// tryTakeOver is row 14: the dot of another has no outcome. Where its owner may still write one, the job comes back
// later. A delivery that was taken over is due at once: its job comes back, and the next handling sends.
func (h *handling) tryTakeOver(ctx context.Context, d row, now time.Time) error {
	if !h.mayTakeOver(d, now) {
		h.later(earlier(d.ownUntil, now.Add(replyWait))) // later: the clock was set back
		return nil
	}
	return h.only(ctx, func(_ *store.Tx, d row) (change, error) { return takeOver(d, h.s.DB.Now()), nil })
}

// mayTakeOver is the guard of row 14.
func (h *handling) mayTakeOver(d row, now time.Time) bool {
	if h.claim != nil && h.claim.SweptOwner != uuid.Nil && h.claim.SweptOwner.String() == d.owner {
		return true
	}
	return !now.Before(d.ownUntil)
}

// dropUnwanted is row 5 by the worker: asked again in the transaction, for a waiter may have come.
func (h *handling) dropUnwanted(tx *store.Tx, d row) (change, error) {
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

// later makes the job come back at a time, with the row's own end.
func (h *handling) later(at time.Time) {
	h.result.Action, h.result.RunAt = queue.Retry, at
}

// letter opens the content and finds its server. A nil server means that the delivery is not sent by this handling,
// and what becomes of it was written.
func (h *handling) letter(ctx context.Context, d row) (*mail.Server, mail.Message, error) {
	h.begun = h.s.DB.Now()
	c, why, err := h.s.read(d)
	if err != nil {
		return nil, mail.Message{}, h.giveUpFor(ctx, why, err)
	}
	var server mail.Server
	if c.Server != nil {
		server = c.Server.server()
	} else if server, err = h.s.Servers.Server(ctx, d.route); err != nil {
		return nil, mail.Message{}, h.withoutServer(ctx, err)
	}
	h.wait = replyWait
	if h.once {
		h.wait = server.Timeout
	}
	m := mail.Message{
		ID: d.id.String(), MessageID: d.messageID, Recipient: c.Recipient, Subject: c.Subject, Body: c.Body, MIMEType: c.MIMEType,
		Date: d.created, NotAfter: d.notAfter, ReplyBy: func() time.Time { return h.ownUntil.Add(-ownMargin) },
		Journal: journal{h}, MayWrite: h.mayWrite, Secrets: []string{c.Code},
	}
	return &server, m, nil
}

// withoutServer writes an attempt that met no mail server, for its definition cannot be had. What lasts ends the
// delivery, and any other error is tried again, as a server out of reach is.
func (h *handling) withoutServer(ctx context.Context, err error) error {
	switch {
	case errors.Is(err, store.ErrNotFound):
		return h.giveUpFor(ctx, NoRoute, err)
	case errors.Is(err, secret.ErrSealed):
		return h.giveUpFor(ctx, NoSecret, err)
	case ctx.Err() != nil:
		return err
	}
	h.said = internal(mail.Unreachable, err)
	return h.only(ctx, func(tx *store.Tx, d row) (change, error) {
		c := h.deferBeforeDot(d, h.s.DB.Now())
		if c.state == Failed {
			c.reason = NoServer
		}
		return c, h.writeAttempt(tx, d, h.said)
	})
}

// giveUpFor is row 8 without a connection: the delivery can never be sent.
func (h *handling) giveUpFor(ctx context.Context, why Reason, err error) error {
	h.said = internal(mail.Permanent, err)
	switch why {
	case NoSecret:
		h.said.Diagnosis = mail.SealedPassword
	case Unreadable:
		h.said.Diagnosis = mail.SealedMail
	case NoRoute:
		h.said.Diagnosis = mail.NoServer
	}
	return h.only(ctx, func(tx *store.Tx, d row) (change, error) {
		return refuseBeforeDot(d, why), h.writeAttempt(tx, d, h.said)
	})
}

// longestCause is where the text of an error is cut in an attempt, as replies are.
const longestCause = 256

// internal is the result of an attempt that an error of this program ended.
func internal(class mail.Class, err error) mail.Result {
	text := err.Error()
	return mail.Result{Class: class, Text: strings.ToValidUTF8(text[:min(len(text), longestCause)], ""),
		Diagnosis: mail.Internal}
}

// earlier returns the earlier of two times.
func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// replyBy is how long the reply to a dot of now is awaited.
func (h *handling) replyBy(now, notAfter time.Time) time.Time {
	by := now.Add(h.wait)
	if most := notAfter.Add(replyMargin); by.After(most) {
		return most
	}
	return by
}
