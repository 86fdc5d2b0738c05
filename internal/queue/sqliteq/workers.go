package sqliteq

import (
	"context"
	"fmt"

	"github.com/google/uuid"

	"otpost/internal/queue"
	"otpost/internal/store"
)

// Register implements queue.Driver. The worker's lock is taken first: a row without one would look dead.
func (d *Driver) Register(ctx context.Context, w queue.Worker) error {
	if err := d.locks.Take(w.ID); err != nil {
		return fmt.Errorf("register: %w", err)
	}
	if err := d.removeLeftLocks(ctx); err != nil {
		d.locks.Drop(w.ID)
		return fmt.Errorf("register: %w", err)
	}
	err := d.db.WriteLight(ctx, func(tx *store.Tx) error {
		now := d.db.Now()
		tx.Put(`INSERT INTO queue_worker (id, queue, host, pid, version, handlers, lock_file, boot, started_ms, beat_ms, expires_ms)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
			w.ID[:], d.queue, w.Host, w.PID, w.Version, w.Handlers, d.locks.Path(w.ID), d.locks.Boot(),
			store.Millis(now), store.Millis(now), store.Millis(now.Add(queue.Lease)))
		return nil
	})
	if err != nil {
		d.locks.Drop(w.ID)
		return fmt.Errorf("register: %w", err)
	}
	return nil
}

// Unregister implements queue.Driver.
func (d *Driver) Unregister(ctx context.Context, worker uuid.UUID) error {
	err := d.db.WriteLight(ctx, func(tx *store.Tx) error {
		given, err := tx.Changed(`UPDATE job SET state = 0, worker = NULL WHERE worker = $1 AND state = 1 RETURNING 1`, worker[:])
		if err != nil {
			return err
		}
		if given {
			tx.Signal()
		}
		tx.Put(`DELETE FROM queue_worker WHERE id = $1`, worker[:])
		return nil
	})
	if err != nil {
		d.locks.Parted(worker)
		return fmt.Errorf("unregister: %w", err)
	}
	d.locks.Drop(worker)
	return nil
}

// removeLeftLocks removes the lock files of workers that are not known any more.
func (d *Driver) removeLeftLocks(ctx context.Context) error {
	known := make(map[uuid.UUID]bool)
	err := d.db.Read(ctx, func(r store.Reader) error {
		return r.Query(func(scan store.Scan) error {
			var id uuid.UUID
			err := scan(&id)
			known[id] = true
			return err
		}, `SELECT id FROM queue_worker WHERE queue = $1 AND `+readable, d.queue)
	})
	if err != nil {
		return err
	}
	return d.locks.RemoveLeft(known)
}

// Workers implements queue.Driver.
func (d *Driver) Workers(ctx context.Context) ([]queue.Seen, error) {
	now := d.db.Now()
	var seen []queue.Seen
	err := d.db.Read(ctx, func(r store.Reader) error {
		seen = nil
		return r.Query(func(scan store.Scan) error {
			var s queue.Seen
			var boot string
			var started, beat int64
			if err := scan(&s.ID, &s.Host, &s.PID, &s.Version, &s.Handlers, &boot, &started, &beat); err != nil {
				return err
			}
			s.Local, s.Started, s.Heartbeat = boot == d.locks.Boot(), store.Time(started), store.Time(beat)
			seen = append(seen, s)
			return nil
		}, `SELECT id, CAST(host AS TEXT), CAST(pid AS INTEGER), CAST(version AS TEXT), CAST(handlers AS INTEGER),
			CAST(boot AS TEXT),
				CAST(started_ms AS INTEGER), CAST(beat_ms AS INTEGER) FROM queue_worker
			WHERE queue = $1 AND expires_ms > $2 AND expires_ms <= $3 AND `+readable+` ORDER BY started_ms, id`,
			d.queue, store.Millis(now), store.Millis(now.Add(farthest)))
	})
	if err != nil {
		return nil, fmt.Errorf("list workers: %w", err)
	}
	return seen, nil
}
