package sqliteq

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"otpost/internal/queue"
	"otpost/internal/store"
)

// lanes is a WITH clause that finds the lanes in which jobs of a state lie, each with its kind: found(kind, lane),
// which ends with a NULL for each kind. kinds is a table of kinds in its column value. Each step of the recursion
// is one search in the index of the state, so that the cost does not grow with the jobs.
func lanes(kinds, state string) string {
	ofState := `FROM job WHERE queue = $1 AND state = ` + state
	return `WITH RECURSIVE every(value) AS (
			SELECT min(kind) ` + ofState + `
			UNION ALL
			SELECT (SELECT min(kind) ` + ofState + ` AND kind > e.value) FROM every e WHERE value IS NOT NULL
		), found(kind, lane) AS (
			SELECT value, (SELECT min(lane) ` + ofState + ` AND kind = value) FROM ` + kinds + `
			UNION ALL
			SELECT kind, (SELECT min(lane) ` + ofState + ` AND kind = f.kind AND lane > f.lane)
			FROM found f WHERE lane IS NOT NULL
		)`
}

// openLanes is lanes for the kinds $2 without the lanes $3 (JSON lists), as open(kind, lane).
func openLanes(state string) string {
	return lanes("json_each($2)", state) + `, open(kind, lane) AS (
			SELECT kind, lane FROM found WHERE lane IS NOT NULL AND lane NOT IN (SELECT value FROM json_each($3))) `
}

// A LIMIT is an expression ($4 + 0), here and below: SQLite prepares a statement anew each time a LIMIT that is a mere
// parameter gets its value.
//
// The ready jobs of one lane and priority that a claim of $4 jobs considers. A job is due at its end at the latest,
// so that one which is due since $5 (StaleAfter ago) cannot be stale; of the older ones the first $6 are looked at.
const (
	notStale = `SELECT id FROM (SELECT id FROM job WHERE queue = $1 AND state = 0 AND kind = o.kind AND lane = o.lane
				AND priority = p.value AND run_at_ms > $5 ORDER BY run_at_ms, id LIMIT $4 + 0)
			UNION ALL
			SELECT id FROM (SELECT id, not_after_ms FROM job WHERE queue = $1 AND state = 0 AND kind = o.kind AND lane = o.lane
				AND priority = p.value AND run_at_ms <= $5 ORDER BY run_at_ms, id LIMIT $6 + 0)
			WHERE not_after_ms = 0 OR not_after_ms > $5`
	ofPriority = `SELECT id FROM job WHERE queue = $1 AND state = 0 AND kind = o.kind AND lane = o.lane
				AND priority = p.value AND $5 = $5 AND $6 = $6 ORDER BY run_at_ms, id LIMIT $4 + 0`
	// Whatever stands in the column priority: a claim meets each row that Wait sees.
	anyReady = `SELECT id FROM job WHERE queue = $1 AND state = 0 AND kind = o.kind AND lane = o.lane
				AND $5 = $5 AND $6 = $6 AND p.value = p.value ORDER BY priority, run_at_ms, id LIMIT $4 + 0`
)

// leaseQuery leases the first $4 of the considered jobs, by priority, then by age. $7 are priorities (a JSON
// list), each considered by itself.
func leaseQuery(considered string) string {
	return `UPDATE job SET state = 1, worker = $8, token = token + 1
		WHERE id IN (` + openLanes("0") + `
			SELECT j.id FROM open o CROSS JOIN json_each($7) p CROSS JOIN job j ON j.id IN (` + considered + `)
			ORDER BY j.priority, j.run_at_ms, j.id LIMIT $4 + 0)
		RETURNING id, kind, lane, priority, run_at_ms, not_after_ms, token, crashes, swept_owner, payload`
}

//nolint:gochecknoglobals // statements, composed once
var (
	leaseNotStale   = leaseQuery(notStale)
	leaseOfPriority = leaseQuery(ofPriority)
	leaseAny        = leaseQuery(anyReady)
)

//nolint:gochecknoglobals // a statement, composed once
var promoteQuery = `UPDATE job SET state = 0 WHERE id IN (` + openLanes("2") + `
			SELECT j.id FROM open o CROSS JOIN job j ON j.id IN (
				SELECT id FROM job WHERE queue = $1 AND state = 2 AND kind = o.kind AND lane = o.lane
				AND run_at_ms <= $4 ORDER BY run_at_ms, id LIMIT 500))`

// lease promotes what is due and leases up to req.Most jobs in the order in which they are to be begun.
func (d *Driver) lease(tx *store.Tx, now time.Time, req queue.ClaimRequest, lowestFirst bool) ([]queue.Claimed, error) {
	tx.Put(promoteQuery, d.queue, list(req.Kinds), list(req.Full), store.Millis(now))
	every := []queue.Priority{queue.Urgent, queue.Normal}
	steps := []step{{leaseNotStale, every}}
	if lowestFirst {
		steps = nil
		for _, p := range slices.Backward(every) {
			steps = append(steps, step{leaseOfPriority, []queue.Priority{p}})
		}
	}
	steps = append(steps, step{leaseAny, []queue.Priority{queue.Urgent}}) // any one: it considers all
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

// leaseReady runs a step. A row that cannot be read is put aside with the dead ones, and stops no claim of others.
func (d *Driver) leaseReady(tx *store.Tx, now time.Time, req queue.ClaimRequest, s step) ([]queue.Claimed, error) {
	var got []queue.Claimed
	var unreadable []any // ids
	err := tx.Query(func(scan store.Scan) error {
		var r rawJob
		if err := scan(r.columns()...); err != nil {
			return err
		}
		if c, ok := r.read(); ok {
			c.Worker = req.Worker
			got = append(got, c)
		} else {
			unreadable = append(unreadable, r.id)
		}
		return nil
	}, s.query, d.queue, list(req.Kinds), list(req.Full), req.Most, store.Millis(now.Add(-queue.StaleAfter)),
		queue.MostPassed, list(s.priorities), req.Worker[:])
	for _, id := range unreadable {
		tx.Put(`UPDATE job SET state = 3, worker = NULL, reason = $2 WHERE id = $1`, id, unreadableJob)
		tx.AfterCommit(func() { d.log.Error("unreadable job marked dead", "job", fmt.Sprintf("%x", id)) })
	}
	slices.SortFunc(got, inOrder) // RETURNING promises none
	return got, err
}

const unreadableJob = "its row in the database cannot be read"

// rawJob is a row as it stands in the database: SQLite holds any type in any column.
type rawJob struct {
	id, kind, lane, priority, runAt, notAfter, token, crashes, swept, payload any
}

func (r *rawJob) columns() []any {
	return []any{&r.id, &r.kind, &r.lane, &r.priority, &r.runAt, &r.notAfter, &r.token, &r.crashes, &r.swept,
		&r.payload}
}

// read returns the claim; ok is false when a column has another type or length than the table gives it.
func (r *rawJob) read() (c queue.Claimed, ok bool) {
	id, ok1 := r.id.([]byte)
	kind, ok2 := r.kind.(string)
	lane, ok3 := r.lane.(string)
	swept, ok4 := r.swept.([]byte)
	payload, ok5 := r.payload.([]byte)
	var n [5]int64
	ok6 := true
	for i, value := range []any{r.priority, r.runAt, r.notAfter, r.token, r.crashes} {
		var is bool
		n[i], is = value.(int64)
		ok6 = ok6 && is
	}
	ok = ok1 && len(id) == len(c.ID) && ok2 && ok3 && (r.swept == nil || ok4 && len(swept) == len(c.SweptOwner)) &&
		(r.payload == nil || ok5) && ok6 && n[0] >= int64(queue.Urgent) && n[0] <= int64(queue.Normal)
	if !ok {
		return c, false
	}
	copy(c.ID[:], id)
	copy(c.SweptOwner[:], swept)
	c.Kind, c.Lane, c.Payload = kind, lane, payload
	c.Priority, c.Token, c.Crashes = queue.Priority(n[0]), n[3], int(n[4])
	c.RunAt = store.Time(n[1])
	if n[2] != 0 {
		c.NotAfter = store.Time(n[2])
	}
	return c, true
}

// Whether a job of the open lanes is ready, and when the next of those that are scheduled is due. What is no number
// compares greater than each number.
//
//nolint:gochecknoglobals // statements, composed once
var (
	readyQuery = openLanes("0") + `SELECT 0 FROM open LIMIT 1`
	dueQuery   = openLanes("2") + `
		SELECT CAST(min((SELECT min(run_at_ms) FROM job WHERE queue = $1 AND state = 2 AND kind = o.kind AND lane = o.lane
			AND run_at_ms <= 9223372036854775807)) AS INTEGER) FROM open o`
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
		return r.Get([]any{store.NullTime{To: &next}}, dueQuery, d.queue, list(kinds), list(full))
	})
	return next, err
}
