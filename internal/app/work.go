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

// handlersPerWorker is how many messages one worker (-w 1) has in flight: waiting for a mail server costs nothing but a
// connection.
const handlersPerWorker = 32

// Crew says how a process works on the queue.
type Crew struct {
	Workers  int // from 1
	MaxTasks int // jobs after which each worker is replaced by a new one; 0: never
}

// Work runs a crew and the relay until graceful ends; see Serve for the two ends.
func (a *App) Work(graceful, hard context.Context, c Crew) error {
	if a.driver == nil {
		return errors.New("there is no job queue to work on")
	}
	graceful, hard, release := a.untilLost(graceful, hard)
	defer release()
	a.queueLog.Info("worker started", "pid", os.Getpid(), "workers", c.Workers, "queue", a.config.QueueName, "version", Version)
	var parts sync.WaitGroup
	defer context.AfterFunc(graceful, a.life.notify.Stopping)()
	relay, stop := context.WithCancel(context.WithoutCancel(graceful))
	parts.Go(func() { a.relay(relay, true) })
	parts.Go(func() { a.life.notify.Watch(relay, a.alive) })
	a.life.told = a.readyToWork
	err := a.work(graceful, hard, c)
	stop()
	parts.Wait()
	a.queueLog.Info("worker stopped", "pid", os.Getpid())
	if lost := a.db.Err(); lost != nil { // everything else follows from it
		return lost
	}
	return err
}

// work runs the workers as one: their handlers share a lease. With MaxTasks a new lease takes over as soon as the old one has
// begun its last job, so that no job waits for the slowest of the old ones. Not more than two overlap.
func (a *App) work(graceful, hard context.Context, c Crew) error {
	before := make(chan error, 1) // the end of the worker that was replaced
	before <- nil
	for {
		spent, ended := make(chan struct{}), make(chan error, 1)
		w := a.newWorker(c, func() { close(spent) })
		go func() { ended <- w.Run(graceful, hard) }()
		select {
		case <-spent:
		case err := <-ended:
			ended <- err
		}
		gone := <-before
		select {
		case <-spent: // whether or not ended was as quick
		default:
			return errors.Join(gone, <-ended)
		}
		if gone != nil {
			a.queueLog.Error("worker did not leave the queue as it should", "err", gone)
		}
		a.queueLog.Info("worker replaced", "after_jobs", c.MaxTasks*c.Workers)
		before = ended
	}
}

func (a *App) newWorker(c Crew, spent func()) *worker.Worker {
	deliver := func(ctx context.Context, c queue.Claimed) queue.Result {
		return a.delivery.Handle(ctx, c, func() bool { return worker.MayStart(ctx) })
	}
	return worker.New(worker.Options{
		Driver: beating{a.driver, &a.life.pulse, a.life.told}, Kinds: []worker.Kind{{Name: delivery.Kind, Run: deliver}},
		Handlers: handlersPerWorker * c.Workers, MostJobs: c.MaxTasks * c.Workers, Spent: spent,
		Log: a.queueLog.With("component", "worker"), Now: a.db.Now, Version: Version, Logged: store.Unusable,
	})
}
