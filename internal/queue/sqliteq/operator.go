package sqliteq

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/google/uuid"

	"otpost/internal/queue"
	"otpost/internal/store"
)

// Status implements queue.Operator. It reads the index entries of the jobs, and no job but the leased ones.
func (d *Driver) Status(ctx context.Context) (queue.Status, error) {
	var s queue.Status
	err := d.db.Read(ctx, func(r store.Reader) error {
		for p := range s.Ready {
			at := &s.Ready[p]
			if err := r.Get([]any{&at.Jobs, store.NullTime{To: &at.Oldest}}, countQuery, d.queue, p); err != nil {
				return err
			}
		}
		return r.Get([]any{&s.Leased, &s.Scheduled, store.NullTime{To: &s.NextDue}, &s.Dead}, restQuery, d.queue)
	})
	if err != nil {
		return queue.Status{}, fmt.Errorf("count jobs: %w", err)
	}
	return s, nil
}

// The queries of Status. Each count goes by an index of its state, which is chosen only where the state is written
// out. The least time is asked for by itself: beside a count it would be compared with each entry, where it is the
// first one.
//
//nolint:gochecknoglobals // statements, composed once
var (
	countQuery = lanes("every", "0") + `
		SELECT coalesce(sum((SELECT count(*) FROM job
				WHERE queue = $1 AND state = 0 AND kind = o.kind AND lane = o.lane AND priority = $2)), 0),
			CAST(min((SELECT min(run_at_ms) FROM job
				WHERE queue = $1 AND state = 0 AND kind = o.kind AND lane = o.lane AND priority = $2)) AS INTEGER)
		FROM found o WHERE lane IS NOT NULL`
	restQuery = lanes("every", "2") + `
		SELECT (SELECT count(*) FROM job WHERE queue = $1 AND state = 1),
			(SELECT count(*) FROM job WHERE queue = $1 AND state = 2),
			(SELECT CAST(min((SELECT min(run_at_ms) FROM job
				WHERE queue = $1 AND state = 2 AND kind = o.kind AND lane = o.lane)) AS INTEGER)
			FROM found o WHERE lane IS NOT NULL),
			(SELECT count(*) FROM job WHERE queue = $1 AND state = 3)`
)

// listed are the columns of List. States are stored as their place in queue.States. What no column of the table
// holds is shown as if it were of its type.
const listed = `SELECT id, CAST(kind AS TEXT), CAST(lane AS TEXT), CAST(min(max(priority, -128), 127) AS INTEGER),
			state, CAST(run_at_ms AS INTEGER), CAST(not_after_ms AS INTEGER), worker, CAST(crashes AS INTEGER),
			CAST(reason AS TEXT) FROM job `

// The queries of List: for one job, and for the first $2 jobs of each state. Of each lane (and priority) as many
// are found by the index that a claim uses, and sorted. There are as many leased jobs as handlers, and a bounded
// number of dead ones (mostDead).
//
//nolint:gochecknoglobals // statements, composed once
var (
	listOneQuery = listed + `WHERE id = $2 AND queue = $1 AND state IN (0, 1, 2, 3) AND ($3 = -1 OR state = $3) LIMIT $4`
	listQueries  = [...]string{
		lanes("every", "0") + `, place(kind, lane, priority) AS (
				SELECT kind, lane, (SELECT min(priority) FROM job
					WHERE queue = $1 AND state = 0 AND kind = f.kind AND lane = f.lane)
				FROM found f WHERE lane IS NOT NULL
				UNION ALL
				SELECT kind, lane, (SELECT min(priority) FROM job WHERE queue = $1 AND state = 0 AND kind = o.kind AND lane = o.lane
					AND priority > o.priority) FROM place o WHERE priority IS NOT NULL
			) ` + listed + `WHERE id IN (SELECT j.id FROM place o CROSS JOIN job j ON j.id IN (
				SELECT id FROM job WHERE queue = $1 AND state = 0 AND kind = o.kind AND lane = o.lane AND priority = o.priority
				ORDER BY run_at_ms, id LIMIT $2) WHERE o.priority IS NOT NULL) ORDER BY run_at_ms, id LIMIT $2`,
		listed + `WHERE queue = $1 AND state = 1 ORDER BY run_at_ms, id LIMIT $2`,
		lanes("every", "2") + listed + `WHERE id IN (SELECT j.id FROM found o CROSS JOIN job j ON j.id IN (
				SELECT id FROM job WHERE queue = $1 AND state = 2 AND kind = o.kind AND lane = o.lane
				ORDER BY run_at_ms, id LIMIT $2) WHERE o.lane IS NOT NULL) ORDER BY run_at_ms, id LIMIT $2`,
		listed + `WHERE queue = $1 AND state = 3 ORDER BY run_at_ms, id LIMIT $2`,
	}
)

// List implements queue.Operator. It reads as many jobs of each lane as it returns, whatever the queue holds.
func (d *Driver) List(ctx context.Context, f queue.Filter) ([]queue.Listed, error) {
	most := f.Most
	if most <= 0 {
		most = math.MaxInt32
	}
	var all []queue.Listed
	err := d.db.Read(ctx, func(r store.Reader) error {
		all = nil
		add := func(scan store.Scan) error {
			l, err := scanListed(scan)
			all = append(all, l)
			return err
		}
		if f.ID != uuid.Nil {
			return r.Query(add, listOneQuery, d.queue, f.ID[:], slices.Index(queue.States(), f.State), most)
		}
		for state, query := range listQueries {
			if len(all) >= most || f.State != "" && f.State != queue.States()[state] {
				continue
			}
			if err := r.Query(add, query, d.queue, most-len(all)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list jobs: %w", err)
	}
	return all, nil
}

func scanListed(scan store.Scan) (queue.Listed, error) {
	var l queue.Listed
	var id, worker []byte
	var state int
	var notAfter int64
	err := scan(&id, &l.Kind, &l.Lane, &l.Priority, &state, store.NullTime{To: &l.RunAt}, &notAfter, &worker,
		&l.Crashes, &l.Reason)
	if err != nil {
		return queue.Listed{}, err
	}
	if notAfter != 0 {
		l.NotAfter = store.Time(notAfter)
	}
	copy(l.ID[:], id)
	copy(l.Worker[:], worker)
	l.State = queue.States()[state]
	return l, nil
}

var _ queue.Operator = (*Driver)(nil)
