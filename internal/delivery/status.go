package delivery

import (
	"context"
	"fmt"
	"time"

	"otpost/internal/store"
)

// Public is a state as a client of REST reads it.
type Public string

// The public states, best first.
const (
	Sent     Public = "sent"       // the next server took it
	OnItsWay Public = "on_its_way" // it waits or is being sent
	Unclear  Public = "unknown"    // it may have been sent
	NotSent  Public = "not_sent"   // it was not and will not be
)

// Status is the answer of polltransaction about the messages of a transaction. It has no address and no text
// of a server.
type Status struct {
	State       Public
	NextTry     time.Time // zero: none is planned
	ResendAfter time.Time // when it makes sense to trigger a new message
	Messages    []MessageStatus
}

// MessageStatus is the part of one token.
type MessageStatus struct {
	Serial  string
	State   Public
	NextTry time.Time // zero: none is planned
}

// public returns what a client reads for a state.
func (s State) public() Public {
	switch s {
	case Accepted:
		return Sent
	case Unknown:
		return Unclear
	case Failed, Expired, Dropped:
		return NotSent
	default:
		return OnItsWay
	}
}

// Status reads how the messages of a transaction stand. Messages is empty when it has none.
func (s *Service) Status(ctx context.Context, transactionID string) (Status, error) {
	now := s.DB.Now()
	status := Status{State: NotSent, ResendAfter: now}
	err := s.DB.Read(ctx, func(r store.Reader) error {
		return store.List(r, func(scan store.Scan) error {
			var m MessageStatus
			var state State
			var next, created, notAfter time.Time
			err := scan(&m.Serial, &state, store.NullTime{To: &next}, store.NullTime{To: &created},
				store.NullTime{To: &notAfter})
			if err != nil {
				return err
			}
			m.State = state.public()
			if state == Deferred {
				m.NextTry = next
			}
			status.add(m, created.Add(notAfter.Sub(created)/2))
			return nil
		}, `SELECT w.serial, d.state, d.next_try_ms, d.created_ms, d.not_after_ms
			FROM waiter w JOIN delivery d ON d.id = w.delivery_id
			WHERE w.transaction_id = $1 ORDER BY w.challenge_id`, transactionID)
	})
	if err != nil {
		return status, fmt.Errorf("read deliveries of a transaction: %w", err)
	}
	return status, nil
}

// add takes one message into the whole: the best state, the first next try, and half a life for one that is on its way.
func (s *Status) add(m MessageStatus, halfLife time.Time) {
	rank := map[Public]int{Sent: 0, OnItsWay: 1, Unclear: 2, NotSent: 3}
	if rank[m.State] < rank[s.State] {
		s.State = m.State
	}
	if !m.NextTry.IsZero() && (s.NextTry.IsZero() || m.NextTry.Before(s.NextTry)) {
		s.NextTry = m.NextTry
	}
	if m.State == OnItsWay && halfLife.After(s.ResendAfter) {
		s.ResendAfter = halfLife
	}
	s.Messages = append(s.Messages, m)
}
