package sqliteq

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"otpost/internal/queue"
	"otpost/internal/store"
)

// Status implements queue.Operator. It reads every job of the queue.
func (d *Driver) Status(ctx context.Context) (queue.Status, error) {
	var s queue.Status
	err := d.db.Read(ctx, func(r store.Reader) error {
		s = queue.Status{}
		return r.Query(func(scan store.Scan) error {
			var state, jobs int
			var priority queue.Priority
			var first time.Time
			if err := scan(&state, &priority, &jobs, store.Moment{To: &first}); err != nil {
				return err
			}
			return count(&s, state, priority, queue.Depth{Jobs: jobs, Oldest: first})
		}, `SELECT state, priority, count(*), min(run_at_ms) FROM job WHERE queue = $1 GROUP BY state, priority`, d.queue)
	})
	if err != nil {
		return s, fmt.Errorf("count jobs: %w", err)
	}
	return s, nil
}

// count adds what one state has in one priority.
func count(s *queue.Status, state int, p queue.Priority, d queue.Depth) error {
	name, err := stateName(state)
	if err != nil {
		return err
	}
	switch name {
	case queue.Ready:
		if p < 0 || int(p) >= len(s.Ready) {
			return fmt.Errorf("a job has priority %d", p)
		}
		s.Ready[p] = d
	case queue.Leased:
		s.Leased += d.Jobs
	case queue.Scheduled:
		s.Scheduled += d.Jobs
		if s.NextDue.IsZero() || d.Oldest.Before(s.NextDue) {
			s.NextDue = d.Oldest
		}
	case queue.Aside:
		s.Dead += d.Jobs
	}
	return nil
}

// stateName returns the name of a state as column job.state has it: the states are stored as their place in queue.States.
func stateName(state int) (queue.State, error) {
	if all := queue.States(); state >= 0 && state < len(all) {
		return all[state], nil
	}
	return "", fmt.Errorf("a job has state %d", state)
}

// List implements queue.Operator.
func (d *Driver) List(ctx context.Context, f queue.Filter) ([]queue.Listed, error) {
	most := f.Most
	if most <= 0 {
		most = math.MaxInt32
	}
	var all []queue.Listed
	err := d.db.Read(ctx, func(r store.Reader) error {
		all = nil
		return r.Query(func(scan store.Scan) error {
			var l queue.Listed
			var state int
			var notAfter int64
			var worker []byte
			err := scan(&l.ID, &l.Kind, &l.Priority, &state, store.Moment{To: &l.RunAt}, &notAfter, &worker, &l.Crashes, &l.Reason)
			if err != nil {
				return err
			}
			if notAfter != 0 {
				l.NotAfter = store.Time(notAfter)
			}
			copy(l.Worker[:], worker)
			l.State, err = stateName(state)
			all = append(all, l)
			return err
		}, `SELECT id, kind, priority, state, run_at_ms, not_after_ms, worker, crashes, reason FROM job
			WHERE queue = $1 AND ($2 = 0 OR id = $3) AND ($4 = -1 OR state = $4) ORDER BY state, run_at_ms, id LIMIT $5`,
			d.queue, store.Flag(f.ID != [16]byte{}), f.ID[:], slices.Index(queue.States(), f.State), most)
	})
	if err != nil {
		return nil, fmt.Errorf("list jobs: %w", err)
	}
	return all, nil
}

var _ queue.Operator = (*Driver)(nil)
