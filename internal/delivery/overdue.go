package delivery

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"otpost/internal/store"
)

const (
	overdueBatch   = 100 // rows that end in one transaction: it takes the writer for some milliseconds
	overdueBatches = 20  // queries of one round, of relayBatch rows each: 10,000 rows end in about a second
)

// endOverdue is rows 15 and 16, whatever the queue knows.
func (r *relay) endOverdue(ctx context.Context) error {
	now := r.DB.Now()
	var after position
	for range overdueBatches {
		ids, err := r.overdue(ctx, now, &after)
		if err != nil {
			return err
		}
		for batch := range slices.Chunk(ids, overdueBatch) {
			if err := r.endBatch(ctx, now, batch); err != nil {
				return err
			}
		}
		if len(ids) < relayBatch {
			return nil
		}
	}
	return nil
}

// overdue returns the next rows whose time is over and moves after behind them.
func (r *relay) overdue(ctx context.Context, now time.Time, after *position) (ids []uuid.UUID, err error) {
	from := *after
	err = r.DB.Read(ctx, func(rd store.Reader) error {
		return store.List(rd, func(scan store.Scan) error {
			if err := scan(&after.id, &after.ms); err != nil {
				return err
			}
			ids = append(ids, after.id)
			return nil
		}, `SELECT id, not_after_ms FROM delivery WHERE state IN ('queued', 'deferred', 'sending') AND not_after_ms <= $1
			AND (not_after_ms, id) > ($2, $3)
			AND CASE state WHEN 'sending' THEN own_until_ms <= $1 ELSE not_after_ms <= $4 END
			ORDER BY not_after_ms, id LIMIT $5`,
			store.Millis(now), from.ms, from.id[:], store.Millis(now.Add(-relayGrace)), relayBatch)
	})
	if err != nil {
		return nil, fmt.Errorf("find overdue deliveries: %w", err)
	}
	return ids, nil
}

// endBatch ends deliveries in one durable transaction and logs each of them after it.
func (r *relay) endBatch(ctx context.Context, now time.Time, ids []uuid.UUID) error {
	type end struct {
		row
		change
	}
	var ended []end
	err := r.DB.Write(ctx, func(tx *store.Tx) error {
		var all []end
		for _, id := range ids {
			d, err := load(tx, id)
			if err != nil {
				r.leave(id, err)
				continue
			}
			c, over := r.endOf(d, now)
			if !over {
				continue
			}
			if c, err = arrived(tx, d, c); err == nil {
				err = r.apply(tx, d, c)
			}
			if err != nil {
				return err
			}
			r.endJob(tx, d.id)
			all = append(all, end{d, c})
		}
		ended = all
		return nil
	})
	for _, e := range ended {
		r.logOutcome(r.Queue, e.row, e.change)
	}
	return err
}

// endOf returns the end of a delivery whose time is over. over is false for one that another has changed since it was
// found.
func (r *relay) endOf(d row, now time.Time) (c change, over bool) {
	switch {
	case d.state.Final():
		return c, false
	case d.state == Sending:
		return giveUp(d), !now.Before(d.ownUntil)
	case d.via == ViaInline:
		return interrupt(d), true
	}
	return expire(d), true
}
