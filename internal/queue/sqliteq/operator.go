package sqliteq

import (
	"context"
	"fmt"
	"math"
	"slices"

	"otpost/internal/queue"
	"otpost/internal/store"
)

// Status implements queue.Operator. It reads the index entries of the jobs, and no job but the leased ones.
func (d *Driver) Status(ctx context.Context) (queue.Status, error) {
	var s queue.Status
	err := d.db.Read(ctx, func(r store.Reader) error {
		for p := range s.Ready {
			at := &s.Ready[p]
			if err := r.Get([]any{&at.Jobs, store.Moment{To: &at.Oldest}}, countQuery, d.queue, p); err != nil {
				return err
			}
		}
		return r.Get([]any{&s.Leased, &s.Scheduled, store.Moment{To: &s.NextDue}, &s.Dead}, restQuery, d.queue)
	})
	if err != nil {
		return queue.Status{}, fmt.Errorf("count jobs: %w", err)
	}
	return s, nil
}

// The queries of Status. Each count goes by an index of its state, which is chosen only where the state is written out. The least
// time is asked for by itself: beside a count it would be compared with each entry, where it is the first one.
var (
	countQuery = lanes("every", "0") + `SELECT coalesce(sum((SELECT count(*) FROM job WHERE queue = $1 AND state = 0 AND kind = o.kind AND lane = o.lane AND priority = $2)), 0),
		min((SELECT min(run_at_ms) FROM job WHERE queue = $1 AND state = 0 AND kind = o.kind AND lane = o.lane AND priority = $2)) FROM found o WHERE lane IS NOT NULL`
	restQuery = lanes("every", "2") + ` SELECT (SELECT count(*) FROM job WHERE queue = $1 AND state = 1),
		(SELECT count(*) FROM job WHERE queue = $1 AND state = 2),
		(SELECT min((SELECT min(run_at_ms) FROM job WHERE queue = $1 AND state = 2 AND kind = o.kind AND lane = o.lane)) FROM found o WHERE lane IS NOT NULL),
		(SELECT count(*) FROM job WHERE queue = $1 AND state = 3)`
)

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
			err := scan(&l.ID, &l.Kind, &l.Lane, &l.Priority, &state, store.Moment{To: &l.RunAt}, &notAfter, &worker, &l.Crashes, &l.Reason)
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
		}, `SELECT id, kind, lane, priority, state, run_at_ms, not_after_ms, worker, crashes, reason FROM job
			WHERE queue = $1 AND ($2 = 0 OR id = $3) AND ($4 = -1 OR state = $4) ORDER BY state, run_at_ms, id LIMIT $5`,
			d.queue, store.Flag(f.ID != [16]byte{}), f.ID[:], slices.Index(queue.States(), f.State), most)
	})
	if err != nil {
		return nil, fmt.Errorf("list jobs: %w", err)
	}
	return all, nil
}

var _ queue.Operator = (*Driver)(nil)
