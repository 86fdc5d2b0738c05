package app

import (
	"context"
	"errors"
	"os"
	"sync"

	"otpost/internal/delivery"
	"otpost/internal/queue"
	"otpost/internal/store"
	"otpost/internal/worker"
)

// handlersPerWorker is how many messages one worker (-w 1) sends at once: waiting for a mail server
// costs only a connection.
const handlersPerWorker = 32

// Workers are the workers of a process.
type Workers struct {
	Count    int // from 1
	MaxTasks int // jobs after which each worker is replaced by a new one; 0: never
}

// Work runs workers and the relay until graceful ends; see Serve for the two contexts.
func (a *App) Work(graceful, hard context.Context, w Workers) error {
	if a.driver == nil {
		return errors.New("there is no job queue to work on")
	}
	graceful, hard, release := a.untilLost(graceful, hard)
	defer release()
	a.queueLog.Info("worker started", "pid", os.Getpid(), "workers", w.Count, "queue", a.config.QueueName,
		"version", Version)
	var parts sync.WaitGroup
	defer context.AfterFunc(graceful, a.health.notify.Stopping)()
	relay, stop := context.WithCancel(context.WithoutCancel(graceful))
	parts.Go(func() { a.relay(relay, true) })
	parts.Go(func() { a.health.notify.Watch(relay, a.alive) })
	a.health.answered = a.readyToWork
	err := a.work(graceful, hard, w)
	stop()
	parts.Wait()
	a.queueLog.Info("worker stopped", "pid", os.Getpid())
	if lost := a.db.Err(); lost != nil { // the cause of all other errors
		return lost
	}
	return err
}

// work runs all workers under one lease. With MaxTasks, a new lease takes over as soon as the old
// one has begun its last job, so that new jobs do not wait for the slowest old one. At most two
// leases overlap.
func (a *App) work(graceful, hard context.Context, w Workers) error {
	before := make(chan error, 1) // the result of the replaced worker
	before <- nil
	for {
		spent, ended := make(chan struct{}), make(chan error, 1)
		next := a.newWorker(w, func() { close(spent) })
		go func() { ended <- next.Run(graceful, hard) }()
		select {
		case <-spent:
		case err := <-ended:
			ended <- err
		}
		gone := <-before
		select {
		case <-spent: // also when ended was ready, too
		default:
			return errors.Join(gone, <-ended)
		}
		if gone != nil {
			a.queueLog.Error("worker did not leave the queue as it should", "err", gone)
		}
		a.queueLog.Info("worker replaced", "after_jobs", w.MaxTasks*w.Count)
		before = ended
	}
}

func (a *App) newWorker(w Workers, spent func()) *worker.Worker {
	deliver := func(ctx context.Context, c queue.Claimed) queue.Result {
		return a.delivery.Handle(ctx, c, func() bool { return worker.MayStart(ctx) })
	}
	return worker.New(worker.Options{
		Driver:   heartbeatDriver{a.driver, &a.health.heartbeat, a.health.answered},
		Kinds:    []worker.Kind{{Name: delivery.Kind, Run: deliver}},
		Handlers: handlersPerWorker * w.Count,
		MostJobs: w.MaxTasks * w.Count,
		Spent:    spent,
		Log:      a.queueLog.With("component", "worker"),
		Now:      a.db.Now,
		Version:  Version,
		Logged:   store.Unusable,
	})
}
