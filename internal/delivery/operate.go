package delivery

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"otpost/internal/queue"
	"otpost/internal/store"
)

// Why Retry or Cancel changes nothing. Beside these there is ErrNotFound.
var (
	ErrEnded     = errors.New("the delivery has ended")         // its content is erased, or its time is over
	ErrOnTheWire = errors.New("the delivery is being sent")     // only its owner writes what becomes of it
	ErrInRequest = errors.New("the request sends the delivery") // via = inline: it has one try, which is under way
)

// runNowWithin is how long a queue outside the database has to make a job due.
const runNowWithin = 2 * time.Second

// Retry makes a delivery that waits due at once, and its job with it. One that is due already is left as it
// is, so that a worker which is at it is not disturbed, but its job is made due all the same. The errors are
// those above. A queue that is out of reach is no error: the row is due, and the relay enqueues it.
func (s *Service) Retry(ctx context.Context, id uuid.UUID, realms []string) error {
	var d row
	err := s.DB.Write(ctx, func(tx *store.Tx) (err error) {
		if d, err = waiting(tx, id, realms); err != nil {
			return err
		}
		now := s.DB.Now()
		switch {
		case !now.Before(d.notAfter):
			return ErrEnded
		case d.via == ViaInline:
			return ErrInRequest
		case d.nextTry.After(now):
			if err := s.apply(tx, d, dueNow(d, now)); err != nil {
				return err
			}
		}
		if driver, ok := s.Driver.(queue.TxDriver); ok {
			driver.RunNowTx(tx, id)
			driver.EnqueueTx(tx, job(id, d.route, d.notAfter, now)) // where the job was lost
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.runNow(ctx, d)
	return nil
}

// runNow makes the job of a delivery due in a queue outside the database.
func (s *Service) runNow(ctx context.Context, d row) {
	if _, inside := s.Driver.(queue.TxDriver); inside || s.Driver == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), runNowWithin)
	defer cancel()
	err := s.Driver.RunNow(ctx, d.id)
	if err == nil {
		err = s.Driver.Enqueue(ctx, job(d.id, d.route, d.notAfter, time.Time{})) // where the job was lost
	}
	if err != nil {
		s.Log.Warn("job not made due, its mail waits for the relay", "delivery", d.id, "err", err)
	}
}

// Cancel is row 5 by an administrator: no waiter is left, and the delivery is dropped. After an unsure attempt it
// becomes unknown instead. The errors are those above. What becomes of the challenges is OnOutcome's to say.
func (s *Service) Cancel(ctx context.Context, id uuid.UUID, realms []string) error {
	return s.withdraw(ctx, id, realms, Cancelled)
}

// withdraw is Cancel with a reason.
func (s *Service) withdraw(ctx context.Context, id uuid.UUID, realms []string, why Reason) error {
	return s.DB.Write(ctx, func(tx *store.Tx) error {
		d, err := waiting(tx, id, realms)
		if err != nil {
			return err
		}
		c, err := arrived(tx, d, drop(d, why))
		if err != nil {
			return err
		}
		tx.Put(`UPDATE waiter SET ended = $2 WHERE delivery_id = $1 AND ended = ''`, id[:], string(why))
		if err := s.apply(tx, d, c); err != nil {
			return err
		}
		s.endJob(tx, d.id)
		tx.AfterCommit(func() { s.logOutcome(s.Log, d, c) })
		return nil
	})
}

// waiting loads a delivery of these realms (nil: of all) that waits for a try.
func waiting(tx *store.Tx, id uuid.UUID, realms []string) (row, error) {
	d, err := visible(tx, id, realms)
	switch {
	case errors.Is(err, ErrNotFound):
		return d, err
	case err != nil:
		return d, fmt.Errorf("act on a delivery: %w", err)
	case d.state.Final():
		return d, ErrEnded
	case d.state == Sending:
		return d, ErrOnTheWire
	}
	return d, nil
}
