package delivery

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"

	"otpost/internal/store"
)

const (
	relayEvery    = time.Second     // how often the relay works
	relayLease    = 5 * time.Second // how long a relay that died holds the others up
	relayGrace    = 2 * time.Second // the handling of a delivery writes its end first, with the server's reply
	relayAfter    = 2 * time.Second // a row that the queue should have taken is enqueued again after so long
	relayAgain    = 5 * time.Second // the shortest time between two passes over the waiting rows
	relayBatch    = 500             // rows of one query
	relayBatches  = 10              // queries of one pass in one round: 100,000 rows are looked at within 20 s
	relayHandlers = 64              // messages that the relay has in flight while the queue is out of reach
)

// Relay makes the rows true that no worker brings to their end: it expires what is over, gives up dots whose owner is
// gone, and enqueues what the queue has lost. One process at a time does it, held by a row of the table lease; doing
// it twice would be harmless. stand says whether this process should stand for it just now (a server leaves it to a
// worker while one lives). It returns when ctx ends.
func (s *Service) Relay(ctx context.Context, stand func(context.Context) bool) error {
	relay := newRelay(s, uuid.NewString())
	defer relay.sending.Wait()
	tick := time.NewTicker(relayEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if !stand(ctx) {
			relay.askAgain(ctx)
			continue
		}
		if err := relay.round(ctx); err != nil && ctx.Err() == nil {
			s.Queue.Error("relay interrupted, tried again", "err", err)
		}
	}
}

// relay is one holder of the lease.
type relay struct {
	*Service
	holder   string
	pass     pass          // over the rows that a worker should have
	pruned   time.Time     // when no row was left to delete; zero: some may be
	slots    chan struct{} // bounds the messages that are sent here
	sending  sync.WaitGroup
	patience <-chan time.Time // ends the wait for a free slot in this round
	away     outage           // counts what was sent here
	missed   time.Time        // when the queue did not take a job; zero: it has since
	damaged  outage           // counts rows that cannot be read
}

func newRelay(s *Service, holder string) *relay {
	return &relay{Service: s, holder: holder, slots: make(chan struct{}, relayHandlers)}
}

// round does everything once, if the lease is this relay's. Each step has its turn, whatever the step before met.
func (r *relay) round(ctx context.Context) error {
	held, err := r.hold(ctx)
	if err != nil {
		return err
	}
	if !held {
		r.askAgain(ctx)
		return nil
	}
	return errors.Join(r.followClock(ctx), r.endOverdue(ctx), r.enqueueLost(ctx), r.prune(ctx))
}

// hold takes or renews the lease. A lease that ends later than it can was taken before the clock was set back: it is
// free.
func (r *relay) hold(ctx context.Context) (held bool, err error) {
	now := r.DB.Now()
	err = r.DB.WriteLight(ctx, func(tx *store.Tx) (err error) {
		held, err = tx.Changed(`INSERT INTO lease (name, holder, term, expires_ms) VALUES ('relay', $1, 1, $2)
			ON CONFLICT (name) DO UPDATE SET holder = $1, expires_ms = $2,
				term = CASE WHEN lease.holder = $1 THEN lease.term ELSE lease.term + 1 END
			WHERE lease.holder = $1 OR lease.expires_ms <= $3 OR lease.expires_ms > $2 RETURNING term`,
			r.holder, store.Millis(now.Add(relayLease)), store.Millis(now))
		return err
	})
	if err != nil {
		return false, fmt.Errorf("hold the relay's lease: %w", err)
	}
	return held, nil
}

// position is a row's place in an index of a time and the id.
type position struct {
	ms int64
	id uuid.UUID
}

// passed reports whether d has passed since a time. A time that lies ahead was noted before the clock was set back: it
// has.
func passed(now, since time.Time, d time.Duration) bool {
	age := now.Sub(since)
	return age < 0 || age >= d
}

// leave leaves a row alone that cannot be read, so that it holds up no other, and logs it at most once a minute.
func (r *relay) leave(id uuid.UUID, err error) {
	if n, due := r.damaged.failed(r.DB.Now(), 1); due {
		r.Queue.Error("delivery cannot be read, left alone", "delivery", id, "looks", n, "err", err)
	}
}
