package queuetest

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"otpost/internal/queue"
)

// Memory is a queue in memory, written to be read rather than to be fast. It blocks on channels and
// timers alone, so it may be used in a synctest bubble. It is safe for concurrent use.
type Memory struct {
	now func() time.Time

	mu      sync.Mutex
	jobs    map[uuid.UUID]*entry
	workers map[uuid.UUID]*queue.Seen
	claims  int
	token   int64
	changed chan struct{} // closed with every change that may make a job due
}

// entry is a job and who has it.
type entry struct {
	queue.Claimed
	leased, dead bool
	reason       string // of a dead one
}

// NewMemory returns an empty queue that goes by the clock now.
func NewMemory(now func() time.Time) *Memory {
	return &Memory{
		now: now, jobs: make(map[uuid.UUID]*entry), workers: make(map[uuid.UUID]*queue.Seen), changed: make(chan struct{}),
	}
}

// time returns the clock's time in whole milliseconds, as drivers store it.
func (m *Memory) time() time.Time { return m.now().UTC().Truncate(time.Millisecond) }

// wake wakes everybody who waits. The caller holds the lock.
func (m *Memory) wake() {
	close(m.changed)
	m.changed = make(chan struct{})
}

// Enqueue implements queue.Driver.
func (m *Memory) Enqueue(_ context.Context, jobs ...queue.Job) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, j := range jobs {
		if err := j.Check(); err != nil {
			return fmt.Errorf("enqueue %s: %w", j.ID, err)
		}
	}
	for _, j := range jobs {
		if known := m.jobs[j.ID]; known != nil && !known.dead {
			continue
		}
		e := &entry{Claimed: queue.Claimed{Job: j}}
		e.schedule(m.time(), j.RunAt, j.NotAfter)
		m.jobs[j.ID] = e
	}
	m.wake()
	return nil
}

// RunNow implements queue.Driver.
func (m *Memory) RunNow(_ context.Context, id uuid.UUID) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e := m.jobs[id]; e != nil && !e.leased && !e.dead && e.RunAt.After(m.time()) {
		e.RunAt = m.time()
		m.wake()
	}
	return nil
}

func (e *entry) schedule(now, runAt, notAfter time.Time) {
	if runAt.IsZero() {
		runAt = now
	}
	if !notAfter.IsZero() && runAt.After(notAfter) {
		runAt = notAfter
	}
	e.RunAt = runAt.UTC().Truncate(time.Millisecond)
	if e.NotAfter = notAfter; !notAfter.IsZero() {
		e.NotAfter = notAfter.UTC().Truncate(time.Millisecond)
	}
}

// Register implements queue.Driver.
func (m *Memory) Register(_ context.Context, w queue.Worker) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.workers[w.ID] = &queue.Seen{Worker: w, Started: m.time(), Heartbeat: m.time(), Local: true}
	return nil
}

// Unregister implements queue.Driver.
func (m *Memory) Unregister(_ context.Context, worker uuid.UUID) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.workers, worker)
	for _, e := range m.heldBy(worker) {
		e.free()
	}
	m.wake()
	return nil
}

func (e *entry) free() { e.leased, e.Worker = false, uuid.Nil }

func (m *Memory) heldBy(worker uuid.UUID) []*entry {
	var held []*entry
	for _, e := range m.jobs {
		if e.leased && e.Worker == worker {
			held = append(held, e)
		}
	}
	return held
}

// alive reports whether the worker's lease stands.
func (m *Memory) alive(worker uuid.UUID) bool {
	w := m.workers[worker]
	return w != nil && m.time().Before(w.Heartbeat.Add(queue.Lease))
}

// Claim implements queue.Driver.
func (m *Memory) Claim(_ context.Context, req queue.ClaimRequest) ([]queue.Claimed, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range req.Done {
		m.report(req.Worker, r)
	}
	lowestFirst := false
	if req.Most > 0 {
		m.claims++
		lowestFirst = m.claims%queue.LowestEvery == 0
	}
	if !m.alive(req.Worker) {
		return nil, queue.ErrLost
	}
	ready := m.ready(req, lowestFirst)
	var got []queue.Claimed
	for _, e := range ready[:min(len(ready), max(req.Most, 0))] {
		m.token++
		e.leased, e.Worker, e.Token = true, req.Worker, m.token
		got = append(got, e.Claimed)
	}
	return got, nil
}

// ready lists the jobs that can be claimed, in order.
func (m *Memory) ready(req queue.ClaimRequest, lowestFirst bool) []*entry {
	now := m.time()
	ready := slices.DeleteFunc(slices.Collect(maps.Values(m.jobs)), func(e *entry) bool {
		return e.leased || e.dead || e.RunAt.After(now) || !slices.Contains(req.Kinds, e.Kind) ||
			slices.Contains(req.Full, e.Lane)
	})
	stale := func(e *entry) bool {
		return !lowestFirst && !e.NotAfter.IsZero() && !e.NotAfter.After(now.Add(-queue.StaleAfter))
	}
	slices.SortFunc(ready, func(a, b *entry) int {
		switch {
		case !stale(a) && stale(b):
			return -1
		case stale(a) && !stale(b):
			return 1
		}
		if a.Priority != b.Priority {
			if lowestFirst {
				return int(b.Priority) - int(a.Priority)
			}
			return int(a.Priority) - int(b.Priority)
		}
		if c := a.RunAt.Compare(b.RunAt); c != 0 {
			return c
		}
		return bytes.Compare(a.ID[:], b.ID[:])
	})
	return ready
}

// report does what a result says where the claim still stands.
func (m *Memory) report(worker uuid.UUID, r queue.Result) {
	e := m.jobs[r.ID]
	if e == nil || !e.leased || e.Worker != worker || e.Token != r.Token {
		return
	}
	e.free()
	switch r.Action {
	case queue.Done:
		delete(m.jobs, r.ID)
	case queue.Retry:
		if r.NotAfter.IsZero() {
			r.NotAfter = e.NotAfter
		}
		e.schedule(m.time(), r.RunAt, r.NotAfter)
	case queue.Release:
	case queue.DeadLetter:
		e.dead, e.reason = true, r.Reason
	}
	m.wake()
}

// Report implements queue.Driver.
func (m *Memory) Report(ctx context.Context, worker uuid.UUID, results ...queue.Result) error {
	_, err := m.Claim(ctx, queue.ClaimRequest{Worker: worker, Done: results})
	return err
}

// Reconcile implements queue.Driver.
func (m *Memory) Reconcile(_ context.Context, worker uuid.UUID, held []uuid.UUID) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.alive(worker) {
		return queue.ErrLost
	}
	for _, e := range m.heldBy(worker) {
		if !slices.Contains(held, e.ID) {
			e.free()
		}
	}
	m.wake()
	return nil
}

// Heartbeat implements queue.Driver.
func (m *Memory) Heartbeat(_ context.Context, worker uuid.UUID) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.alive(worker) {
		return queue.ErrLost
	}
	m.workers[worker].Heartbeat = m.time()
	return nil
}

// Sweep implements queue.Driver.
func (m *Memory) Sweep(context.Context) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for id := range m.workers {
		if m.alive(id) {
			continue
		}
		delete(m.workers, id)
		for _, e := range m.heldBy(id) {
			e.free()
			e.Crashes++
			e.SweptOwner = id
			n++
		}
	}
	m.wake()
	return n, nil
}

// Wait implements queue.Driver.
func (m *Memory) Wait(ctx context.Context, kinds, full []string, most time.Duration) error {
	end := time.After(most)
	for {
		m.mu.Lock()
		changed, left := m.changed, m.untilDue(kinds, full)
		m.mu.Unlock()
		var due <-chan time.Time
		if left != nil {
			if *left <= 0 {
				return nil
			}
			due = time.After(*left)
		}
		select {
		case <-changed:
		case <-due:
		case <-end:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// untilDue returns how long it is until the next job is due; nil: there is none.
func (m *Memory) untilDue(kinds, full []string) *time.Duration {
	var least *time.Duration
	for _, e := range m.jobs {
		if e.leased || e.dead || !slices.Contains(kinds, e.Kind) || slices.Contains(full, e.Lane) {
			continue
		}
		if left := e.RunAt.Sub(m.time()); least == nil || left < *least {
			least = &left
		}
	}
	return least
}

// Workers implements queue.Driver.
func (m *Memory) Workers(context.Context) ([]queue.Seen, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var seen []queue.Seen
	for id, w := range m.workers {
		if m.alive(id) {
			seen = append(seen, *w)
		}
	}
	slices.SortFunc(seen, func(a, b queue.Seen) int {
		if c := a.Started.Compare(b.Started); c != 0 {
			return c
		}
		return bytes.Compare(a.ID[:], b.ID[:])
	})
	return seen, nil
}

var _ queue.Driver = (*Memory)(nil)
