package sqliteq

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"time"

	"github.com/google/uuid"

	"otpost/internal/queue"
	"otpost/internal/store"
)

// knows is the condition under which the queue $1 knows a job, for a claim will come to it: the row can be
// read, is not dead, and is the queue's own, or is leased under a former name of it by a worker that is
// still there. $2 and $3 are within.
const knows = `job.state IN (0, 1, 2) AND typeof(job.kind) = 'text' AND typeof(job.lane) = 'text'
		AND job.priority IN (0, 1)
		AND typeof(job.run_at_ms) = 'integer' AND typeof(job.not_after_ms) = 'integer'
		AND (job.not_after_ms = 0 OR job.run_at_ms <= job.not_after_ms)
		AND (job.queue = $1 OR (job.state = 1 AND EXISTS (
			SELECT 1 FROM queue_worker w WHERE w.id = job.worker AND w.expires_ms > $2 AND w.expires_ms <= $3)))`

// putJob adds a job, or begins anew with one that the queue does not know: a dead one, one of a queue that has been
// renamed. Tokens begin with the time, so that a job whose id comes again after its end gets higher ones: a late
// report about its former life must not fit.
func (d *Driver) putJob(tx *store.Tx, now time.Time, j queue.Job) {
	state, runAt, notAfter := times(now, j.RunAt, j.NotAfter)
	tx.Put(`INSERT INTO job (id, queue, kind, lane, priority, state, run_at_ms, not_after_ms, token, verdict, crashes,
			payload, reason, created_ms)
		VALUES ($4, $1, $5, $6, $7, $8, $9, $10, $11, 0, 0, $12, '', $11)
		ON CONFLICT (id) DO UPDATE SET queue = excluded.queue, kind = excluded.kind, lane = excluded.lane,
			priority = excluded.priority, state = excluded.state, run_at_ms = excluded.run_at_ms,
			not_after_ms = excluded.not_after_ms, worker = NULL, swept_owner = NULL, crashes = 0,
			token = CASE typeof(job.token) WHEN 'integer' THEN max(job.token, 0) ELSE excluded.token END,
			payload = excluded.payload, reason = '', created_ms = excluded.created_ms
		WHERE NOT (`+knows+`)`,
		d.queue, store.Millis(now), store.Millis(now.Add(farthest)),
		j.ID[:], j.Kind, j.Lane, int(j.Priority), state, runAt, notAfter, store.Millis(now), j.Payload)
}

// times returns a waiting job's state (0 ready, 2 scheduled) and its times as they are stored (no end: 0). It is
// due at its end at the latest, to be handed out as expired.
func times(now, runAt, notAfter time.Time) (state int, runAtMS, notAfterMS int64) {
	if runAt.IsZero() {
		runAt = now
	}
	if !notAfter.IsZero() {
		notAfterMS = store.Millis(notAfter)
		if runAt.After(notAfter) {
			runAt = notAfter
		}
	}
	if runAtMS = store.Millis(runAt); runAtMS > store.Millis(now) {
		state = 2
	}
	return state, runAtMS, notAfterMS
}

// inOrder sorts claims as they are to be begun: by priority, then by age.
func inOrder(a, b queue.Claimed) int {
	if a.Priority != b.Priority {
		return int(a.Priority) - int(b.Priority)
	}
	if c := a.RunAt.Compare(b.RunAt); c != 0 {
		return c
	}
	return bytes.Compare(a.ID[:], b.ID[:])
}

// list is a list for json_each: one statement for every length.
func list[T string | queue.Priority](s []T) string {
	if s == nil {
		s = []T{}
	}
	text, _ := json.Marshal(s) //nolint:errchkjson // strings and numbers always marshal
	return string(text)
}

// report does what the results say where the claim still stands.
func (d *Driver) report(tx *store.Tx, now time.Time, worker uuid.UUID, results []queue.Result) error {
	for _, r := range results {
		switch r.Action {
		case queue.Done:
			tx.Put(`DELETE FROM job WHERE id = $1 AND worker = $2 AND token = $3 AND state = 1`, r.ID[:], worker[:], r.Token)
		case queue.Retry:
			if err := d.retry(tx, now, worker, r); err != nil {
				return err
			}
			tx.Signal()
		case queue.Release:
			tx.Put(`UPDATE job SET state = 0, worker = NULL WHERE id = $1 AND worker = $2 AND token = $3 AND state = 1`,
				r.ID[:], worker[:], r.Token)
			tx.Signal()
		case queue.DeadLetter:
			tx.Put(`UPDATE job SET state = 3, worker = NULL, reason = $4 WHERE id = $1 AND worker = $2 AND token = $3 AND state = 1`,
				r.ID[:], worker[:], r.Token, r.Reason)
		}
	}
	return nil
}

func (d *Driver) retry(tx *store.Tx, now time.Time, worker uuid.UUID, r queue.Result) error {
	var stored int64
	err := tx.Get([]any{&stored}, `SELECT not_after_ms FROM job WHERE id = $1 AND worker = $2 AND token = $3 AND state = 1`,
		r.ID[:], worker[:], r.Token)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if r.NotAfter.IsZero() && stored != 0 {
		r.NotAfter = store.Time(stored)
	}
	state, runAt, notAfter := times(now, r.RunAt, r.NotAfter)
	tx.Put(`UPDATE job SET state = $1, run_at_ms = $2, not_after_ms = $3, worker = NULL WHERE id = $4`, state, runAt, notAfter, r.ID[:])
	return nil
}

// held reports whether the claim stands and its worker's lease has not lapsed.
func (d *Driver) held(r store.Reader, now time.Time, c queue.Claimed) (bool, error) {
	var one int
	err := r.Get([]any{&one}, `SELECT 1 FROM job WHERE id = $1 AND worker = $2 AND token = $3 AND state = 1`,
		c.ID[:], c.Worker[:], c.Token)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return d.alive(r, c.Worker, now)
}

// leased lists the jobs under a worker's name, by their ids as they stand in the database.
func (d *Driver) leased(r store.Reader, worker uuid.UUID) ([]any, error) {
	var ids []any
	err := r.Query(func(scan store.Scan) error {
		var id any
		err := scan(&id)
		ids = append(ids, id)
		return err
	}, `SELECT id FROM job WHERE worker = $1 AND state = 1`, worker[:])
	return ids, err
}

// unknown returns those of ids that have no job that the queue knows.
func (d *Driver) unknown(r store.Reader, ids []uuid.UUID) ([]uuid.UUID, error) {
	texts := make([]string, len(ids))
	for i, id := range ids {
		texts[i] = hex.EncodeToString(id[:])
	}
	now := d.db.Now()
	var missing []uuid.UUID
	err := r.Query(func(scan store.Scan) error {
		var id uuid.UUID
		err := scan(&id)
		missing = append(missing, id)
		return err
	}, `SELECT unhex(asked.value) FROM json_each($4) AS asked WHERE NOT EXISTS (
		SELECT 1 FROM job WHERE job.id = unhex(asked.value) AND `+knows+`)`,
		d.queue, store.Millis(now), store.Millis(now.Add(farthest)), list(texts))
	return missing, err
}

func (d *Driver) giveBack(tx *store.Tx, worker uuid.UUID, id any) {
	tx.Put(`UPDATE job SET state = 0, worker = NULL WHERE id = $1 AND worker = $2 AND state = 1`, id, worker[:])
	tx.Signal()
}
