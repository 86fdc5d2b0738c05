package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"otpost/internal/config"
	"otpost/internal/delivery"
	"otpost/internal/queue"
)

// errNoQueue says that the configuration names no queue.
var errNoQueue = errors.New("there is no job queue")

// ErrQueueAway says that the queue did not answer. The values beside it come from the database.
var ErrQueueAway = errors.New("the queue is out of reach")

// away marks an error of the queue's driver with ErrQueueAway. An error of the embedded queue is
// one of the database and stays as it is.
func (a *App) away(err error) error {
	if err == nil || a.config.QueueClass == config.EmbeddedQueue {
		return err
	}
	return fmt.Errorf("%w: %w", ErrQueueAway, err)
}

// operator returns the queue's side for operators.
func (a *App) operator() (queue.Operator, error) {
	if a.driver == nil {
		return nil, fmt.Errorf("%w: PI_JOB_QUEUE_CLASS is not set in %s, every mail is sent inside its request",
			errNoQueue, a.config.Source)
	}
	o, ok := a.driver.(queue.Operator)
	if !ok {
		return nil, errors.New("this queue has no view for operators")
	}
	return o, nil
}

// Now returns the time of the database's clock.
func (a *App) Now() time.Time { return a.db.Now() }

// QueueStatus is what `otpost queue status` shows.
type QueueStatus struct {
	Name     string    // of the queue
	Place    string    // where it is kept
	At       time.Time // the time of the view
	Jobs     queue.Status
	Workers  []queue.Seen
	Open     []delivery.Backlog // the messages without a final state
	Failures []delivery.Failure // in the last FailuresOver
	StartOne string             // the command that starts a worker
}

// FailuresOver is the period for which a QueueStatus counts failures.
const FailuresOver = 24 * time.Hour

// QueueStatus returns the queue, its workers and the messages that are unfinished or failed. With
// ErrQueueAway, Jobs and Workers are empty and the other fields are filled.
func (a *App) QueueStatus(ctx context.Context) (QueueStatus, error) {
	s := QueueStatus{Name: a.config.QueueName, Place: a.queueAt, At: a.db.Now(), StartOne: a.workerCommand()}
	o, err := a.operator()
	if err != nil {
		return s, err
	}
	if s.Open, err = a.delivery.Backlog(ctx); err != nil {
		return s, err
	}
	if s.Failures, err = a.delivery.Failures(ctx, s.At.Add(-FailuresOver)); err != nil {
		return s, err
	}
	jobs, err := o.Status(ctx)
	if err != nil {
		return s, a.away(err)
	}
	workers, err := a.driver.Workers(ctx)
	if err != nil {
		return s, a.away(err)
	}
	s.Jobs, s.Workers = jobs, workers
	return s, nil
}

// QueueList lists jobs of the queue. With ErrQueueAway the list is empty; Unfinished lists the
// messages.
func (a *App) QueueList(ctx context.Context, f queue.Filter) ([]queue.Listed, error) {
	o, err := a.operator()
	if err != nil {
		return nil, err
	}
	jobs, err := o.List(ctx, f)
	return jobs, a.away(err)
}

// Unfinished lists the messages without a final state, the oldest first, at most most; 0 for all.
func (a *App) Unfinished(ctx context.Context, most int) ([]delivery.Unfinished, error) {
	return a.delivery.Unfinished(ctx, most)
}

// QueueShow returns a job of the queue and the delivery of its id; nil: there is none. Both are nil
// for an unknown id. With ErrQueueAway the job is nil, and the delivery is returned if the database
// has it.
func (a *App) QueueShow(ctx context.Context, id uuid.UUID) (*queue.Listed, *delivery.Record, error) {
	var job *queue.Listed
	jobs, away := a.QueueList(ctx, queue.Filter{ID: id, Most: 1})
	if errors.Is(away, errNoQueue) { // an inline message has a delivery, too
		away = nil
	}
	if away != nil && !errors.Is(away, ErrQueueAway) {
		return nil, nil, away
	}
	if len(jobs) > 0 {
		job = &jobs[0]
	}
	d, err := a.delivery.Record(ctx, id, nil)
	switch {
	case errors.Is(err, delivery.ErrNotFound):
		return job, nil, away
	case err != nil:
		return job, nil, err
	}
	return job, &d, away
}

// LocalWorker returns the worker on this host with the latest heartbeat, and its age. When no
// worker has one within its lease, the error says so and names the command that starts a worker.
func (a *App) LocalWorker(ctx context.Context) (queue.Seen, time.Duration, error) {
	if a.driver == nil {
		return queue.Seen{}, 0, errNoQueue
	}
	seen, err := a.driver.Workers(ctx)
	if err != nil {
		return queue.Seen{}, 0, err
	}
	var last queue.Seen
	for _, w := range seen {
		if w.Local && w.Heartbeat.After(last.Heartbeat) {
			last = w
		}
	}
	if last.Heartbeat.IsZero() {
		return last, 0, fmt.Errorf("no worker of the queue %q on this host was seen within %s; start one with: %s",
			a.config.QueueName, queue.Lease, a.workerCommand())
	}
	return last, max(0, a.db.Now().Sub(last.Heartbeat)), nil
}
