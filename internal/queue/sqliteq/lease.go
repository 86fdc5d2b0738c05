package sqliteq

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"otpost/internal/queue"
	"otpost/internal/store"
)

// A lease ends by the wall clock, which may be set, or jump when a virtual machine goes on. The time of
// the last sweep tells: workers sweep each half second, so that a gap since then is a step of the
// clock, or a time in which no process ran. For the length of one lease after it, leases stand that
// have lapsed, and the next beat renews them.
const (
	gap      = 3 * time.Second                           // between two sweeps: longer than a busy writer holds one up
	back     = time.Second                               // a last sweep so far ahead: the clock was set back
	noteMost = time.Second                               // how often the time of the last sweep is written
	farthest = queue.Lease + gap                         // no lease ends later from now, but after the clock was set back
	readable = `typeof(id) = 'blob' AND length(id) = 16` // of a worker's row
)

// sweeps is when the queue was last swept and until when lapsed leases are left alone; zero times: never.
type sweeps struct{ last, quiet time.Time }

// names of the two rows of the table lease, whose expires_ms has the times.
func (d *Driver) sweepRows() (last, quiet string) { return "swept " + d.queue, "quiet " + d.queue }

func (d *Driver) sweeps(r store.Reader) (s sweeps, err error) {
	last, quiet := d.sweepRows()
	err = r.Query(func(scan store.Scan) error {
		var name string
		var at time.Time
		err := scan(&name, store.NullTime{To: &at})
		if name == last {
			s.last = at
		} else {
			s.quiet = at
		}
		return err
	}, `SELECT name, CAST(expires_ms AS INTEGER) FROM lease WHERE name IN ($1, $2)`, last, quiet)
	if err != nil {
		return s, fmt.Errorf("read the last sweep: %w", err)
	}
	return s, nil
}

// stepped reports whether the last sweep lies so far back, or ahead, that the clock was set.
func (s sweeps) stepped(now time.Time) bool {
	return !s.last.IsZero() && (now.Sub(s.last) > gap || s.last.Sub(now) > back)
}

// standing reports whether lapsed leases stand.
func (s sweeps) standing(now time.Time) bool {
	return s.stepped(now) || (s.quiet.After(now) && s.quiet.Sub(now) <= queue.Lease)
}

// note writes that the queue is swept now.
func (d *Driver) note(ctx context.Context, now time.Time) error {
	last, quiet := d.sweepRows()
	put := func(tx *store.Tx, name string, at time.Time) {
		tx.Put(`INSERT INTO lease (name, holder, term, expires_ms) VALUES ($1, '', 0, $2)
			ON CONFLICT (name) DO UPDATE SET expires_ms = excluded.expires_ms`, name, store.Millis(at))
	}
	return d.db.WriteLight(ctx, func(tx *store.Tx) error {
		s, err := d.sweeps(tx)
		if err != nil {
			return err
		}
		if s.stepped(now) {
			put(tx, quiet, now.Add(queue.Lease))
		}
		put(tx, last, now)
		return nil
	})
}

// alive reports whether the worker is known and its lease stands.
func (d *Driver) alive(r store.Reader, worker uuid.UUID, now time.Time) (bool, error) {
	var expires int64
	err := r.Get([]any{&expires}, `SELECT CAST(expires_ms AS INTEGER) FROM queue_worker WHERE id = $1 AND queue = $2`,
		worker[:], d.queue)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return false, nil
	case err != nil:
		return false, err
	case !lapsed(expires, now):
		return true, nil
	}
	s, err := d.sweeps(r)
	return s.standing(now), err
}

// lapsed reports whether a lease that ends then has ended. One that ends further ahead than a lease can is
// from before the clock was set back.
func lapsed(expiresMS int64, now time.Time) bool {
	return expiresMS <= store.Millis(now) || expiresMS > store.Millis(now.Add(farthest))
}

// renew moves the end of the lease, and reports whether there was one.
func (d *Driver) renew(tx *store.Tx, worker uuid.UUID, now time.Time) (bool, error) {
	stands, err := d.alive(tx, worker, now)
	if stands {
		tx.Put(`UPDATE queue_worker SET beat_ms = $1, expires_ms = $2 WHERE id = $3`,
			store.Millis(now), store.Millis(now.Add(queue.Lease)), worker[:])
	}
	return stands, err
}

// Sweep implements queue.Driver.
func (d *Driver) Sweep(ctx context.Context) (int, error) {
	swept, err := d.sweep(ctx)
	if err != nil {
		return swept, fmt.Errorf("sweep: %w", err)
	}
	return swept, nil
}

func (d *Driver) sweep(ctx context.Context) (int, error) {
	now := d.db.Now()
	found, err := d.look(ctx, now)
	if err != nil {
		return 0, err
	}
	if found.stepped(now) || now.Sub(found.last) >= noteMost {
		if err := d.note(ctx, now); err != nil {
			return 0, err
		}
	}
	swept, err := d.locks.Sweep(ctx, found.workers)
	if err != nil {
		return swept, err
	}
	if found.orphans {
		n, err := d.takeOrphans(ctx)
		if swept += n; err != nil {
			return swept, err
		}
	}
	return swept, d.prune(ctx, now)
}

// found is what a sweep sees.
type found struct {
	sweeps
	workers []queue.Suspect
	orphans bool // jobs are leased by workers that the queue does not know
}

func (d *Driver) look(ctx context.Context, now time.Time) (f found, err error) {
	err = d.db.Read(ctx, func(r store.Reader) error {
		f = found{}
		if f.sweeps, err = d.sweeps(r); err != nil {
			return err
		}
		err := r.Query(func(scan store.Scan) error {
			var s queue.Suspect
			var expires int64
			if err := scan(&s.ID, &s.Boot, &expires); err != nil {
				return err
			}
			id := s.ID
			s.Lapsed = lapsed(expires, now) && !f.standing(now)
			s.TakeBack = func(ctx context.Context, dead bool) (int, error) { return d.takeBack(ctx, id, dead) }
			f.workers = append(f.workers, s)
			return nil
		}, `SELECT id, CAST(boot AS TEXT), CAST(expires_ms AS INTEGER)
			FROM queue_worker WHERE queue = $1 AND `+readable, d.queue)
		if err != nil {
			return err
		}
		return r.Get([]any{&f.orphans}, `SELECT EXISTS (SELECT 1 FROM job WHERE `+orphan+`)`)
	})
	return f, err
}

// takeBack is TakeBack of queue.Suspect; the jobs are counted as crashes.
func (d *Driver) takeBack(ctx context.Context, worker uuid.UUID, dead bool) (n int, err error) {
	err = d.db.WriteLight(ctx, func(tx *store.Tx) error {
		n = 0
		if !dead {
			if stands, err := d.alive(tx, worker, d.db.Now()); err != nil || stands {
				return err
			}
		}
		gone, err := tx.Changed(`DELETE FROM queue_worker WHERE id = $1 RETURNING 1`, worker[:])
		if err != nil || !gone {
			return err
		}
		n, err = d.takeJobs(tx, `worker = $1 AND state = 1`, worker[:])
		return err
	})
	return n, err
}

// orphan is the condition of a job that is leased by no known worker: a row of queue_worker was lost.
const orphan = `state = 1 AND NOT EXISTS (SELECT 1 FROM queue_worker w WHERE w.id = job.worker AND w.queue = job.queue)`

func (d *Driver) takeOrphans(ctx context.Context) (n int, err error) {
	err = d.db.WriteLight(ctx, func(tx *store.Tx) (err error) {
		n, err = d.takeJobs(tx, orphan)
		return err
	})
	return n, err
}

// takeJobs makes leased jobs ready again, counted as crashes, and returns how many they were.
func (d *Driver) takeJobs(tx *store.Tx, where string, args ...any) (n int, err error) {
	err = tx.Query(func(store.Scan) error {
		n++
		return nil
	}, `UPDATE job SET state = 0, worker = NULL, crashes = crashes + 1,
			swept_owner = CASE WHEN typeof(worker) = 'blob' AND length(worker) = 16 THEN worker END
		WHERE `+where+` RETURNING 1`, args...)
	if n > 0 {
		tx.Signal()
	}
	return n, err
}
