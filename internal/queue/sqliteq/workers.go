package sqliteq

import (
	"context"
	"fmt"
	"time"

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

// alive reports whether the worker is known and its lease has not lapsed.
func (d *Driver) alive(r store.Reader, worker uuid.UUID, now time.Time) (bool, error) {
	known := false
	err := r.Query(func(store.Scan) error {
		known = true
		return nil
	}, `SELECT 1 FROM queue_worker WHERE id = $1 AND queue = $2 AND expires_ms > $3`, worker[:], d.queue, store.Millis(now))
	return known, err
}

// renew moves the end of the lease, and reports whether there was one.
func (d *Driver) renew(tx *store.Tx, worker uuid.UUID, now time.Time) (bool, error) {
	return tx.Changed(`UPDATE queue_worker SET beat_ms = $1, expires_ms = $2 WHERE id = $3 AND queue = $4 AND expires_ms > $1 RETURNING 1`,
		store.Millis(now), store.Millis(now.Add(queue.Lease)), worker[:], d.queue)
}

// Sweep implements queue.Driver.
func (d *Driver) Sweep(ctx context.Context) (int, error) {
	suspects, err := d.suspects(ctx)
	if err != nil {
		return 0, fmt.Errorf("sweep: %w", err)
	}
	swept, err := d.locks.Sweep(ctx, suspects)
	if err != nil {
		return swept, fmt.Errorf("sweep: %w", err)
	}
	return swept, nil
}

// suspects are all workers of the queue.
func (d *Driver) suspects(ctx context.Context) (all []queue.Suspect, err error) {
	now := d.db.Now()
	err = d.db.Read(ctx, func(r store.Reader) error {
		all = nil
		return r.Query(func(scan store.Scan) error {
			var s queue.Suspect
			var expires int64
			if err := scan(&s.ID, &s.Boot, &expires); err != nil {
				return err
			}
			id := s.ID
			s.Lapsed = expires <= store.Millis(now)
			s.TakeBack = func(ctx context.Context, dead bool) (int, error) { return d.takeBack(ctx, id, dead) }
			all = append(all, s)
			return nil
		}, `SELECT id, boot, expires_ms FROM queue_worker WHERE queue = $1`, d.queue)
	})
	return all, err
}

// takeBack is TakeBack of queue.Suspect; the jobs are counted as crashes.
func (d *Driver) takeBack(ctx context.Context, worker uuid.UUID, dead bool) (n int, err error) {
	err = d.db.WriteLight(ctx, func(tx *store.Tx) error {
		n = 0
		gone, err := tx.Changed(`DELETE FROM queue_worker WHERE id = $1 AND (expires_ms <= $2 OR $3 = 1) RETURNING 1`,
			worker[:], store.Millis(d.db.Now()), store.Flag(dead))
		if err != nil || !gone {
			return err
		}
		err = tx.Query(func(store.Scan) error {
			n++
			return nil
		}, `UPDATE job SET state = 0, worker = NULL, crashes = crashes + 1, swept_owner = $1 WHERE worker = $1 AND state = 1 RETURNING 1`, worker[:])
		if n > 0 {
			tx.Signal()
		}
		return err
	})
	return n, err
}

// removeLeftLocks removes the lock files of workers that are not known any more.
func (d *Driver) removeLeftLocks(ctx context.Context) error {
	known := make(map[uuid.UUID]bool)
	err := d.db.Read(ctx, func(r store.Reader) error {
		return r.Query(func(scan store.Scan) error {
			var id uuid.UUID
			if err := scan(&id); err != nil {
				return err
			}
			known[id] = true
			return nil
		}, `SELECT id FROM queue_worker WHERE queue = $1`, d.queue)
	})
	if err != nil {
		return err
	}
	return d.locks.RemoveLeft(known)
}

// Workers implements queue.Driver.
func (d *Driver) Workers(ctx context.Context) ([]queue.Seen, error) {
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
			s.Local, s.Started, s.Beat = boot == d.locks.Boot(), store.Time(started), store.Time(beat)
			seen = append(seen, s)
			return nil
		}, `SELECT id, host, pid, version, handlers, boot, started_ms, beat_ms FROM queue_worker
			WHERE queue = $1 AND expires_ms > $2 ORDER BY started_ms, id`, d.queue, store.Millis(d.db.Now()))
	})
	if err != nil {
		return nil, fmt.Errorf("list workers: %w", err)
	}
	return seen, nil
}
