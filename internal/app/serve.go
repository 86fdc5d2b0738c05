package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"otpost/internal/challenge"
	"otpost/internal/config"
	"otpost/internal/delivery"
	"otpost/internal/queue"
	"otpost/internal/store"
	"otpost/internal/worker"
)

// handlersPerWorker is how many messages one worker (-w 1) has in flight: waiting for a mail server costs nothing but a
// connection.
const handlersPerWorker = 32

// drainTime is how long a stop waits for the requests that are being answered.
const drainTime = 30 * time.Second

// StartLines says what this process shares with others, for the person who starts it.
func (a *App) StartLines(ctx context.Context) []string {
	if a.driver == nil {
		line := "queue: off, every mail is sent inside its request"
		if servers, err := a.servers.List(ctx); err == nil {
			for _, s := range servers {
				if s.EnqueueJob {
					return []string{line + fmt.Sprintf("; SMTP server %q asks for the queue: set PI_JOB_QUEUE_CLASS in %s", s.Identifier, a.config.Source)}
				}
			}
		}
		return []string{line}
	}
	lines := []string{fmt.Sprintf("queue: embedded in %s", a.db.Path())}
	workers, err := a.driver.Workers(ctx)
	if err != nil {
		return lines
	}
	for _, w := range workers {
		lines = append(lines, fmt.Sprintf("queue: shared with the worker of pid %d on %s (%d messages at once)", w.PID, w.Host, w.Handlers))
	}
	return lines
}

// Serve answers on l, with n workers and the relay beside it, until graceful ends; then it finishes the requests and messages
// that are under way. The end of hard ends everything at once: jobs go back to the queue.
func (a *App) Serve(graceful, hard context.Context, l net.Listener, n int) error {
	a.dialer.Guard(l.Addr())
	server := &http.Server{
		Handler: a.handler, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 64 << 10, ErrorLog: nil,
	}
	// The workers stop after the last request: its mail may still be theirs.
	background, stop := context.WithCancel(context.WithoutCancel(graceful))
	defer stop()
	var parts sync.WaitGroup
	failed := make(chan error, 3)
	parts.Go(func() { failed <- a.tend(background, hard, n) })
	answered := make(chan error, 1)
	go func() { answered <- server.Serve(l) }()
	var err error
	select {
	case <-graceful.Done():
		drain, cancel := context.WithTimeout(hard, drainTime)
		err = server.Shutdown(drain)
		cancel()
	case err = <-answered:
	}
	if errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	stop()
	parts.Wait()
	return errors.Join(err, <-failed)
}

// tend runs what a server does beside answering: workers, relay, warnings.
func (a *App) tend(background, hard context.Context, n int) error {
	var parts sync.WaitGroup
	parts.Go(func() { a.eachMinute(background) })
	parts.Go(func() { a.relay(background, n > 0) })
	var err error
	if n > 0 {
		err = a.work(background, hard, n)
	}
	parts.Wait()
	return err
}

// Work runs n workers and the relay until graceful ends; see Serve for the two ends.
func (a *App) Work(graceful, hard context.Context, n int) error {
	if a.driver == nil {
		return errors.New("there is no job queue to work on")
	}
	a.queueLog.Info("worker started", "pid", os.Getpid(), "workers", n, "queue", a.config.QueueName, "version", Version)
	var parts sync.WaitGroup
	relay, stop := context.WithCancel(context.WithoutCancel(graceful))
	parts.Go(func() { a.relay(relay, true) })
	err := a.work(graceful, hard, n)
	stop()
	parts.Wait()
	a.queueLog.Info("worker stopped", "pid", os.Getpid())
	return err
}

// relay stands for the relay: a worker always, a server only while no worker is seen, so that what the relay ends is told in
// the log that administrators watch.
func (a *App) relay(ctx context.Context, worker bool) {
	stand := func(ctx context.Context) bool {
		if worker || a.driver == nil {
			return true
		}
		seen, err := a.driver.Workers(ctx)
		return err == nil && len(seen) == 0
	}
	if err := a.delivery.Relay(ctx, stand); err != nil {
		a.log.Error("relay ended", "err", err)
	}
}

// work runs n workers as one: their handlers share a lease.
func (a *App) work(graceful, hard context.Context, n int) error {
	deliver := func(ctx context.Context, c queue.Claimed) queue.Result {
		return a.delivery.Handle(ctx, c, func() bool { return worker.MayStart(ctx) })
	}
	w := worker.New(worker.Options{
		Driver: a.driver, Kinds: []worker.Kind{{Name: delivery.Kind, Run: deliver}}, Handlers: handlersPerWorker * n,
		Log: a.queueLog.With("component", "worker"), Now: a.db.Now, Version: Version,
	})
	return w.Run(graceful, hard)
}

// eachMinute deletes challenges that ended, and warns when mails wait and no worker is seen.
func (a *App) eachMinute(ctx context.Context) {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := a.db.WriteLight(ctx, func(tx *store.Tx) error {
			challenge.Prune(tx, a.db.Now())
			return nil
		})
		if err == nil {
			err = a.warnUnseen(ctx)
		}
		if err != nil && ctx.Err() == nil {
			a.log.Error("housekeeping interrupted, tried again in a minute", "err", err)
		}
	}
}

// warnUnseen says that mails wait and no worker is seen, with the command to start one.
func (a *App) warnUnseen(ctx context.Context) error {
	if a.driver == nil {
		return nil
	}
	n, oldest, err := a.delivery.Waiting(ctx)
	if err != nil || n == 0 {
		return err
	}
	seen, err := a.driver.Workers(ctx)
	if err == nil && len(seen) == 0 {
		a.log.Warn("mails wait and no worker is seen", "waiting", n, "oldest", oldest, "start_one_with", a.workerCommand())
	}
	return err
}

// workerCommand is the command line that starts a worker for this configuration.
func (a *App) workerCommand() string {
	if a.config.Source == config.DefaultFile {
		return "privacyidea-queue-huey"
	}
	return "otpost worker --config " + a.config.Source
}
