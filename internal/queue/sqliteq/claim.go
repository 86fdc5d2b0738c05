package sqliteq

import (
	"context"
	"errors"
	"slices"
	"time"

	"otpost/internal/queue"
	"otpost/internal/store"
)

// lanes is a WITH clause that finds the lanes in which jobs of a state lie, each with its kind: found(kind, lane), which ends with a NULL
// for each kind. kinds is a table of kinds in its column value. Each step of the recursion is one search in the index of
// the state, so that the cost does not grow with the jobs.
func lanes(kinds, state string) string {
	ofState := `FROM job WHERE queue = $1 AND state = ` + state
	return `WITH RECURSIVE every(value) AS (
			SELECT min(kind) ` + ofState + ` UNION ALL SELECT (SELECT min(kind) ` + ofState + ` AND kind > e.value) FROM every e WHERE value IS NOT NULL
		), found(kind, lane) AS (
			SELECT value, (SELECT min(lane) ` + ofState + ` AND kind = value) FROM ` + kinds + `
			UNION ALL
			SELECT kind, (SELECT min(lane) ` + ofState + ` AND kind = f.kind AND lane > f.lane) FROM found f WHERE lane IS NOT NULL
		)`
}

// openLanes is lanes for the kinds $2 without the lanes $3 (JSON lists), as open(kind, lane).
func openLanes(state string) string {
	return lanes("json_each($2)", state) + `, open(kind, lane) AS (
			SELECT kind, lane FROM found WHERE lane IS NOT NULL AND lane NOT IN (SELECT value FROM json_each($3))) `
}

// The ready jobs of one lane and priority that a claim of $4 jobs considers. A job is due at its end at the latest, so that one which
// is due since $5 (StaleAfter ago) cannot be stale; of the older ones the first $6 are looked at.
const (
	notStale = `SELECT id FROM (SELECT id FROM job WHERE queue = $1 AND state = 0 AND kind = o.kind AND lane = o.lane
				AND priority = p.value AND run_at_ms > $5 ORDER BY run_at_ms, id LIMIT $4)
			UNION ALL
			SELECT id FROM (SELECT id, not_after_ms FROM job WHERE queue = $1 AND state = 0 AND kind = o.kind AND lane = o.lane
				AND priority = p.value AND run_at_ms <= $5 ORDER BY run_at_ms, id LIMIT $6)
			WHERE not_after_ms = 0 OR not_after_ms > $5`
	anyReady = `SELECT id FROM job WHERE queue = $1 AND state = 0 AND kind = o.kind AND lane = o.lane
				AND priority = p.value AND $5 = $5 AND $6 = $6 ORDER BY run_at_ms, id LIMIT $4`
)

// leaseQuery leases the first $4 of the considered jobs of the priorities $7, by priority, then by age.
func leaseQuery(considered string) string {
	return `UPDATE job SET state = 1, worker = $8, token = token + 1,
			verdict = CASE WHEN crashes >= $9 THEN 2 WHEN not_after_ms > 0 AND not_after_ms <= $10 THEN 1 ELSE 0 END
		WHERE id IN (` + openLanes("0") + `SELECT j.id FROM open o CROSS JOIN json_each($7) p CROSS JOIN job j ON j.id IN (` + considered + `)
			ORDER BY j.priority, j.run_at_ms, j.id LIMIT $4)
		RETURNING id, kind, lane, priority, run_at_ms, not_after_ms, token, verdict, crashes, swept_owner, payload`
}

var (
	leaseNotStale = leaseQuery(notStale)
	leaseAny      = leaseQuery(anyReady)
)

var promoteQuery = `UPDATE job SET state = 0 WHERE id IN (` + openLanes("2") + `SELECT j.id FROM open o CROSS JOIN job j ON j.id IN (
			SELECT id FROM job WHERE queue = $1 AND state = 2 AND kind = o.kind AND lane = o.lane AND run_at_ms <= $4 ORDER BY run_at_ms, id LIMIT 500))`

// lease promotes what is due and leases up to req.Most jobs in the order in which they are to be begun.
func (d *Driver) lease(tx *store.Tx, now time.Time, req queue.ClaimRequest, lowestFirst bool) ([]queue.Claimed, error) {
	tx.Put(promoteQuery, d.queue, list(req.Kinds), list(req.Full), store.Millis(now))
	every := []queue.Priority{queue.Urgent, queue.Normal, queue.Low, queue.Idle}
	steps := []step{{leaseNotStale, every}, {leaseAny, every}}
	if lowestFirst {
		steps = nil
		for _, p := range slices.Backward(every) {
			steps = append(steps, step{leaseAny, []queue.Priority{p}})
		}
	}
	var all []queue.Claimed
	for _, s := range steps {
		rest := req
		if rest.Most -= len(all); rest.Most == 0 {
			break
		}
		got, err := d.leaseReady(tx, now, rest, s)
		if err != nil {
			return nil, err
		}
		all = append(all, got...)
	}
	return all, nil
}

// step is one statement of a claim.
type step struct {
	query      string
	priorities []queue.Priority
}

func (d *Driver) leaseReady(tx *store.Tx, now time.Time, req queue.ClaimRequest, s step) ([]queue.Claimed, error) {
	var got []queue.Claimed
	err := tx.Query(func(scan store.Scan) error {
		c := queue.Claimed{Worker: req.Worker}
		var runAt, notAfter int64
		var swept []byte
		err := scan(&c.ID, &c.Kind, &c.Lane, &c.Priority, &runAt, &notAfter, &c.Token, &c.Verdict, &c.Crashes, &swept, &c.Payload)
		if err != nil {
			return err
		}
		c.RunAt = store.Time(runAt)
		if notAfter != 0 {
			c.NotAfter = store.Time(notAfter)
		}
		copy(c.SweptOwner[:], swept)
		got = append(got, c)
		return nil
	}, s.query, d.queue, list(req.Kinds), list(req.Full), req.Most, store.Millis(now.Add(-queue.StaleAfter)), queue.MostPassed,
		list(s.priorities), req.Worker[:], queue.CrashesPoison, store.Millis(now))
	slices.SortFunc(got, inOrder) // RETURNING promises none
	return got, err
}

// Whether a job of the open lanes is ready, and when the next of those that are scheduled is due.
var (
	readyQuery = openLanes("0") + `SELECT 0 FROM open LIMIT 1`
	dueQuery   = openLanes("2") + `SELECT min((SELECT min(run_at_ms) FROM job WHERE queue = $1 AND state = 2 AND kind = o.kind AND lane = o.lane))
		FROM open o`
)

// nextDue returns when the next job is due: a time in the past when one is ready, the zero time when there is none.
func (d *Driver) nextDue(ctx context.Context, kinds, full []string) (next time.Time, err error) {
	err = d.db.Read(ctx, func(r store.Reader) error {
		var ms int64
		err := r.Get([]any{&ms}, readyQuery, d.queue, list(kinds), list(full))
		if err == nil {
			next = time.Unix(0, 0)
			return nil
		}
		if !errors.Is(err, store.ErrNotFound) {
			return err
		}
		next = time.Time{}
		return r.Get([]any{store.Moment{To: &next}}, dueQuery, d.queue, list(kinds), list(full))
	})
	return next, err
}
