package queuetest

import (
	"bytes"
	"context"
	"slices"

	"github.com/google/uuid"

	"otpost/internal/queue"
)

// Status implements queue.Operator.
func (m *Memory) Status(ctx context.Context) (queue.Status, error) {
	jobs, err := m.List(ctx, queue.Filter{})
	return glance(jobs), err
}

// List implements queue.Operator.
func (m *Memory) List(_ context.Context, f queue.Filter) ([]queue.Listed, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []queue.Listed
	for _, e := range m.jobs {
		l := m.listed(e)
		if (f.ID == uuid.Nil || f.ID == l.ID) && (f.State == "" || f.State == l.State) {
			all = append(all, l)
		}
	}
	slices.SortFunc(all, func(a, b queue.Listed) int {
		if c := slices.Index(queue.States(), a.State) - slices.Index(queue.States(), b.State); c != 0 {
			return c
		}
		if c := a.RunAt.Compare(b.RunAt); c != 0 {
			return c
		}
		return bytes.Compare(a.ID[:], b.ID[:])
	})
	if f.Most > 0 && len(all) > f.Most {
		all = all[:f.Most]
	}
	return all, nil
}

func (m *Memory) listed(e *entry) queue.Listed {
	l := queue.Listed{Job: e.Job, State: queue.Ready, Worker: e.Worker, Crashes: e.Crashes, Reason: e.reason}
	l.Payload = nil
	switch {
	case e.dead:
		l.State = queue.Dead
	case e.leased:
		l.State = queue.Leased
	case e.RunAt.After(m.time()):
		l.State = queue.Scheduled
	}
	return l
}

var _ queue.Operator = (*Memory)(nil)
