package redisq

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"otpost/internal/queue"
)

// What goes into one script call: Redis does nothing else meanwhile.
const (
	mostJobs  = 500
	mostBytes = 1 << 20
	flights   = 2 // script calls under way at once: one is made ready while another runs
	// mostWaiting is how many batches wait for a flight: while Redis hangs, the rows and the relay
	// have the rest.
	mostWaiting = 4
)

// Enqueue implements queue.Driver. A lone call goes out at once; what is called while others are
// under way shares the next one. When ctx ends before the answer, the jobs may have been added.
// While Redis hangs only some calls wait for it, and the others get ErrAway at once.
func (d *Driver) Enqueue(ctx context.Context, jobs ...queue.Job) error {
	for _, j := range jobs {
		if err := j.Check(); err != nil {
			return fmt.Errorf("enqueue %s: %w", j.ID, err)
		}
		if !kindName(j.Kind) || j.Priority < queue.Urgent || j.Priority > queue.Normal {
			return fmt.Errorf("enqueue %s: kind %q or priority %d is none", j.ID, j.Kind, j.Priority)
		}
		d.kinds.meet(j.Kind)
	}
	for part := range slices.Chunk(jobs, mostJobs) {
		if err := d.enqueue(ctx, part); err != nil {
			return fmt.Errorf("enqueue: %w", err)
		}
	}
	return nil
}

// enqueue is Enqueue for what fits into one call, unless its payloads are long.
func (d *Driver) enqueue(ctx context.Context, jobs []queue.Job) error {
	mine, err := d.add(jobs)
	for range mine {
		d.fly()
	}
	for _, b := range mine {
		select {
		case <-b.done:
			err = errors.Join(err, b.err)
		case <-ctx.Done():
			d.adding.leave(mine)
			if err := ctx.Err(); !errors.Is(err, context.DeadlineExceeded) {
				return err // the caller has gone
			}
			return d.silent(ctx.Err())
		}
	}
	return err
}

// kindName reports whether a kind can be part of a key.
func kindName(kind string) bool {
	return kind != "" && len(kind) <= 64 && strings.Trim(kind, "abcdefghijklmnopqrstuvwxyz0123456789._-") == ""
}

// kinds are those that this process has had to do with: the check looks at their keys.
type kinds struct {
	mu  sync.Mutex
	met []string
}

func (k *kinds) meet(names ...string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, name := range names {
		if !slices.Contains(k.met, name) {
			k.met = append(k.met, name)
		}
	}
}

func (k *kinds) list() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.met)
}

// batches are the jobs that wait for a script call.
type batches struct {
	mu      sync.Mutex
	waiting []*batch
	flying  int
	flights sync.WaitGroup
}

// batch is what goes into one call.
type batch struct {
	jobs    []added
	bytes   int
	callers int           // that wait for it
	done    chan struct{} // closed when err stands
	err     error
}

// added is a job and when it was given to the driver.
type added struct {
	queue.Job
	at time.Time
}

// add puts jobs into the last batch that waits and has room, and into new ones, each with one more
// caller. With an error the rest of the jobs is in none.
func (d *Driver) add(jobs []queue.Job) (mine []*batch, err error) {
	b := &d.adding
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, j := range jobs {
		n := len(b.waiting)
		if n == 0 || len(b.waiting[n-1].jobs) >= mostJobs || b.waiting[n-1].bytes+len(j.Payload) > mostBytes {
			if n >= mostWaiting {
				return mine, awayError{fmt.Errorf("redis at %s does not answer, and %d calls wait for it", d.target.address, n),
					[]error{ErrAway}}
			}
			b.waiting = append(b.waiting, &batch{done: make(chan struct{})})
			n++
		}
		last := b.waiting[n-1]
		if len(mine) == 0 || mine[len(mine)-1] != last {
			last.callers++
			mine = append(mine, last)
		}
		last.bytes += len(j.Payload)
		last.jobs = append(last.jobs, added{j, d.now()})
	}
	return mine, nil
}

// leave takes a caller out of its batches. One that waits for no caller any more is dropped: its
// rows have the relay, and a job that comes late would stand before fresh ones.
func (b *batches) leave(mine []*batch) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, m := range mine {
		m.callers--
	}
	b.waiting = slices.DeleteFunc(b.waiting, func(w *batch) bool { return w.callers == 0 })
}

// fly sees to it that what waits is sent, and does not wait for it.
func (d *Driver) fly() {
	b := &d.adding
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.flying >= flights || len(b.waiting) == 0 {
		return
	}
	b.flying++
	b.flights.Go(func() {
		for next := b.next(); next != nil; next = b.next() {
			next.err = d.addAll(next.jobs)
			close(next.done)
		}
	})
}

// addAll is one script call. A job that has come to its end while it waited is left out.
func (d *Driver) addAll(jobs []added) error {
	all := make([]fields, 0, len(jobs))
	for _, j := range jobs {
		if j.NotAfter.After(j.at) && !j.NotAfter.After(d.now()) {
			continue
		}
		all = append(all, fields{
			"id", j.ID.String(), "line", lineOf(j.Kind, j.Lane), "prio", int(j.Priority), "run_at", d.ahead(j.RunAt),
			"not_after", d.ahead(j.NotAfter), "payload", string(j.Payload),
		})
	}
	args := fields{"owner", d.line.owner(), "most_lines", mostLines, "jobs", all}
	answer, err := d.again(context.Background(), d.scripts.enqueue, args) // bounded by the time of a call
	if err != nil {
		return err
	}
	return bound(answer)
}

// next takes the batch that has waited longest; nil when there is none and the flight has ended.
func (b *batches) next() *batch {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.waiting) == 0 {
		b.flying--
		return nil
	}
	first := b.waiting[0]
	b.waiting = b.waiting[1:]
	return first
}
