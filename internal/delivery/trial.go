package delivery

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"otpost/internal/store"
)

// testMargin is how much longer than the route's time-out a test message may take: the way through the queue;
// testGrace is for the outcome to be written after that.
const (
	testMargin = 10 * time.Second
	testGrace  = time.Second
)

// Test sends a message of a route that need not be saved, on the way that the route's messages take: by a
// worker when it is set to use the queue. timeout is the route's. Test sets NotAfter, waits for the end, at
// most timeout and 11 s, and returns the record; one whose state is not final was interrupted by the end of
// the wait or of ctx. A message that no worker can begin is withdrawn after workerWithin (reason NoWorker).
func (s *Service) Test(ctx context.Context, m Message, timeout time.Duration) (Record, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return Record{}, fmt.Errorf("draw an id: %w", err)
	}
	wait := timeout + testMargin
	m.NotAfter = s.DB.Now().Add(wait)
	p, err := s.Prepare(id, m, Routes{})
	if err != nil {
		return Record{}, err
	}
	signals, cancel := s.DB.Subscribe()
	defer cancel()
	var ticket Ticket
	err = s.DB.Write(ctx, func(tx *store.Tx) error {
		ticket = s.Put(tx, p)
		return nil
	})
	if err != nil {
		return Record{}, fmt.Errorf("put the test message into the outbox: %w", err)
	}
	s.Dispatch(ctx, ticket)
	return s.await(ctx, id, wait+testGrace, signals)
}

// Diagnosis says what an administrator should look at: what the last attempt met, or why there was none;
// empty when nothing is wrong. A message that was accepted may have one too: sent unsigned.
func (d Record) Diagnosis() Diagnosis {
	if n := len(d.Attempts); n > 0 {
		last := d.Attempts[n-1]
		switch {
		case last.Diagnosis != "":
			return last.Diagnosis
		case last.Ended == nil:
			return DiagnosisTimeout // the reply to its dot is still awaited
		}
	}
	switch d.State {
	case Accepted:
		return ""
	case Dropped:
		if d.Reason == NoWorker {
			return DiagnosisNoWorker
		}
		return ""
	case Failed, Unknown:
		return DiagnosisInternal
	default:
		return DiagnosisTooLate // no worker began it in time
	}
}

// await reads the record again after each signal, and each second, until it has its end. It withdraws a message that no
// worker can begin.
func (s *Service) await(
	ctx context.Context, id uuid.UUID, most time.Duration, signals <-chan struct{},
) (Record, error) {
	over := time.NewTimer(most)
	defer over.Stop()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		d, err := s.Record(ctx, id, nil)
		if err != nil || d.State.Final() {
			return d, err
		}
		if s.withoutWorker(ctx, d) {
			// The next read shows what became of it: a worker that began it meanwhile keeps it.
			if err := s.withdraw(ctx, id, nil, NoWorker); err == nil {
				continue
			}
		}
		select {
		case <-signals:
		case <-tick.C:
		case <-over.C:
			return s.Record(ctx, id, nil)
		case <-ctx.Done():
			return d, nil
		}
	}
}

// workerWithin is how long a test message waits for a first worker. A worker that starts registers within a second.
const workerWithin = 3 * time.Second

// withoutWorker reports whether a message has waited for workerWithin, no attempt was made, and the queue knows no
// worker that lives. A queue that is out of reach is no proof: the relay may still send the message.
func (s *Service) withoutWorker(ctx context.Context, d Record) bool {
	if s.Driver == nil || d.Via != ViaQueue || d.State != Queued || len(d.Attempts) > 0 ||
		s.DB.Now().Sub(d.Created) < workerWithin {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, enqueueWithin)
	defer cancel()
	workers, err := s.Driver.Workers(ctx)
	return err == nil && len(workers) == 0
}
