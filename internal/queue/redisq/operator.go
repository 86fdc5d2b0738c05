package redisq

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/redis/rueidis"

	"otpost/internal/queue"
)

// buckets is how many hashes hold the records (script.go).
const buckets = 64

// List implements queue.Operator. What cannot be read is listed with its id alone once it lies
// with the dead.
func (d *Driver) List(ctx context.Context, f queue.Filter) ([]queue.Listed, error) {
	first, last := 0, buckets-1
	if f.ID != uuid.Nil {
		first = int(f.ID[15]) % buckets
		last = first
	}
	var all []queue.Listed
	for n := first; n <= last; n++ {
		jobs, err := d.bucket(ctx, n)
		if err != nil {
			return nil, fmt.Errorf("list jobs: %w", err)
		}
		all = append(all, jobs...)
	}
	all, err := d.withDead(ctx, all)
	if err != nil {
		return nil, fmt.Errorf("list dead jobs: %w", err)
	}
	all = slices.DeleteFunc(all, func(l queue.Listed) bool {
		return f.ID != uuid.Nil && f.ID != l.ID || f.State != "" && f.State != l.State
	})
	slices.SortFunc(all, inOrder)
	if f.Most > 0 && len(all) > f.Most {
		all = all[:f.Most]
	}
	if len(all) == 0 {
		return nil, nil
	}
	return all, nil
}

// inOrder sorts by state, then by age, then by id.
func inOrder(a, b queue.Listed) int {
	if c := slices.Index(queue.States(), a.State) - slices.Index(queue.States(), b.State); c != 0 {
		return c
	}
	if c := a.RunAt.Compare(b.RunAt); c != 0 {
		return c
	}
	return bytes.Compare(a.ID[:], b.ID[:])
}

// bucket lists the jobs of one bucket whose records can be read.
func (d *Driver) bucket(ctx context.Context, n int) ([]queue.Listed, error) {
	answer, err := d.pairs(ctx, d.scripts.bucket, fields{"bucket", n})
	if err != nil {
		return nil, err
	}
	now, err := strconv.ParseInt(answer[0][0], 10, 64)
	if err != nil {
		return nil, err
	}
	clock := shift(d.now().Sub(time.UnixMilli(now)))
	var all []queue.Listed
	for _, p := range answer[1:] {
		if l, ok := parseListed(p[0], p[1], clock); ok {
			all = append(all, l)
		}
	}
	return all, nil
}

// parseListed reads the first line of a record (script.go).
func parseListed(name, head string, clock shift) (queue.Listed, bool) {
	id, err := uuid.Parse(name)
	if err != nil {
		return queue.Listed{}, false
	}
	c, err := parseRecord(head, clock)
	if err != nil {
		return queue.Listed{}, false
	}
	fields := strings.Split(head, " ")
	states := map[string]queue.State{"r": queue.Ready, "l": queue.Leased, "s": queue.Scheduled, "d": queue.Dead}
	l := queue.Listed{Job: c.Job, State: states[fields[1]], Crashes: c.Crashes}
	l.ID = id
	if worker, err := uuid.Parse(fields[8]); err == nil {
		l.Worker = worker
	}
	return l, l.State != ""
}

// withDead puts the reasons to the dead ones, and adds those of which there is no readable record.
func (d *Driver) withDead(ctx context.Context, all []queue.Listed) ([]queue.Listed, error) {
	answer, err := d.pairs(ctx, d.scripts.dead, nil)
	if err != nil {
		return nil, err
	}
	reasons := make(map[uuid.UUID]string, len(answer))
	for _, p := range answer {
		if id, err := uuid.Parse(p[0]); err == nil {
			reasons[id] = p[1]
		}
	}
	for i := range all {
		if l := &all[i]; l.State == queue.Dead {
			l.Reason = reasons[l.ID]
		}
		delete(reasons, all[i].ID)
	}
	for id, reason := range reasons {
		all = append(all, queue.Listed{Job: queue.Job{ID: id}, State: queue.Dead, Reason: reason})
	}
	return all, nil
}

// pairs runs a script whose answer is a list of pairs.
func (d *Driver) pairs(ctx context.Context, script *rueidis.Lua, args fields) ([][2]string, error) {
	answer, err := d.again(ctx, script, args)
	if err != nil {
		return nil, err
	}
	var all [][2]string
	for ; len(answer) >= 2; answer = answer[2:] {
		a, err := answer[0].ToString()
		if err != nil {
			return nil, err
		}
		b, err := answer[1].ToString()
		if err != nil {
			return nil, err
		}
		all = append(all, [2]string{a, b})
	}
	return all, nil
}

var _ queue.Operator = (*Driver)(nil)
