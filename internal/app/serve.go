package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"otpost/internal/challenge"
	"otpost/internal/config"
	"otpost/internal/mail"
	"otpost/internal/store"
)

// DrainTime is how long a stop waits for the requests that are being answered, and for the messages that are being sent.
const DrainTime = 30 * time.Second

// Door is where and how Serve answers.
type Door struct {
	Listener    net.Listener
	Certificate *Certificate // nil: plain HTTP
	Proxied     bool         // a proxy before it speaks TLS with the clients
}

// URL returns the address that Serve answers at.
func (d Door) URL() string {
	if d.Certificate != nil {
		return "https://" + d.Listener.Addr().String()
	}
	return "http://" + d.Listener.Addr().String()
}

// serve answers until the listener is closed.
func (d Door) serve(s *http.Server) error {
	if d.Certificate == nil {
		return s.Serve(d.Listener)
	}
	s.TLSConfig = d.Certificate.tls()
	return s.ServeTLS(d.Listener, "", "")
}

// StartLines says what this process does with messages, what it shares with others and what an administrator has switched off,
// for the person who starts it with n workers.
func (a *App) StartLines(ctx context.Context, n int) ([]string, error) {
	servers, err := a.servers.List(ctx)
	if err != nil {
		return nil, err
	}
	lines := a.withoutQueue(servers)
	if a.driver != nil {
		lines = a.withQueue(ctx, n)
	}
	for _, s := range servers {
		if !s.TLSVerify {
			lines = append(lines, fmt.Sprintf("warning: SMTP server %q: its certificate is not verified (tls_verify is off)", s.Identifier))
		}
	}
	return lines, nil
}

// withQueue says where the queue is and who works on it.
func (a *App) withQueue(ctx context.Context, n int) []string {
	line := "queue: " + a.queueAt
	seen, err := a.driver.Workers(ctx)
	if err != nil { // it was logged that it is out of reach
		return []string{line + ", out of reach"}
	}
	for _, w := range seen {
		line += fmt.Sprintf(", shared with pid %d (%d workers)", w.PID, w.Handlers/handlersPerWorker)
	}
	switch {
	case n > 0:
		return []string{line, fmt.Sprintf("workers: %d in this process", n)}
	case len(seen) == 0:
		return []string{line, "workers: none yet, mails wait; start one with: " + a.workerCommand()}
	}
	return []string{line}
}

// withoutQueue says once that everything is inline, and which servers ask for a queue in vain.
func (a *App) withoutQueue(servers []mail.Server) []string {
	lines := []string{"queue: off, every mail is sent inside its request"}
	for _, s := range servers {
		if s.EnqueueJob {
			lines = append(lines, fmt.Sprintf("queue: SMTP server %q asks for it; set PI_JOB_QUEUE_CLASS in %s", s.Identifier, a.config.Source))
		}
	}
	return lines
}

// Serve answers at a door, with n workers and the relay beside it, until graceful ends; then it takes no more connections and
// finishes the requests and messages that are under way, within DrainTime. The end of hard ends everything at once: jobs go
// back to the queue.
func (a *App) Serve(graceful, hard context.Context, d Door, n int) error {
	a.dialer.Guard(d.Listener.Addr())
	// A stop begins when graceful ends, and also when a part of the server does.
	stopping, stop := context.WithCancel(graceful)
	defer stop()
	g := &gate{handler: a.page, strict: d.Certificate != nil || d.Proxied, stop: stopping}
	server := &http.Server{
		Handler: g, ConnState: g.count, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 64 << 10, ErrorLog: slog.NewLogLogger(serverLog{a.log.Handler()}, slog.LevelWarn),
	}
	// The workers stop after the last request: its mail may still be theirs.
	background, end := context.WithCancel(context.WithoutCancel(graceful))
	defer end()
	tended, answered := make(chan error, 1), make(chan error, 1)
	go func() { tended <- a.tend(background, hard, n) }()
	go func() { answered <- d.serve(server) }()
	beside := a.beside(background, d)
	a.life.notify.Ready("answers at " + d.URL())
	var err error
	select {
	case <-graceful.Done():
	case err = <-answered:
	case err = <-tended: // a server without its workers would only pile mails up
		tended <- nil
	}
	a.life.notify.Stopping()
	stop()
	a.page.Stop() // its streams have no end of their own
	err = errors.Join(err, d.drain(hard, server, g))
	end()
	beside.Wait()
	return errors.Join(err, <-tended)
}

// beside runs what only the outside is told of: pings of the watchdog, warnings of the certificate.
func (a *App) beside(ctx context.Context, d Door) *sync.WaitGroup {
	var parts sync.WaitGroup
	parts.Go(func() { a.life.notify.Watch(ctx, a.alive) })
	if d.Certificate != nil {
		parts.Go(func() { d.Certificate.warn(ctx, a.log) })
	}
	return &parts
}

// drain takes no more connections and waits for the requests that are under way.
func (d Door) drain(hard context.Context, server *http.Server, g *gate) error {
	d.Listener.Close() //nolint:errcheck // nobody comes in either way
	within, cancel := context.WithTimeout(hard, DrainTime)
	defer cancel()
	g.linger(within)
	if err := server.Shutdown(within); within.Err() != nil {
		return errors.Join(errors.New("stopped before every request was answered"), server.Close())
	} else if err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// tend runs what a server does beside answering: workers, relay, warnings.
func (a *App) tend(background, hard context.Context, n int) error {
	var parts sync.WaitGroup
	parts.Go(func() { a.eachMinute(background) })
	parts.Go(func() { a.relay(background, n > 0) })
	var err error
	if n > 0 {
		err = a.work(background, hard, Crew{Workers: n})
	}
	parts.Wait()
	return err
}

// Work runs a crew and the relay until graceful ends; see Serve for the two ends.
func (a *App) Work(graceful, hard context.Context, c Crew) error {
	if a.driver == nil {
		return errors.New("there is no job queue to work on")
	}
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
		return err != nil || len(seen) == 0 // a queue out of reach shows no worker
	}
	if err := a.delivery.Relay(ctx, stand); err != nil {
		a.log.Error("relay ended", "err", err)
	}
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
	switch seen, err := a.driver.Workers(ctx); {
	case err != nil:
		a.log.Warn("mails wait and the queue is out of reach", "waiting", n, "oldest", oldest, "err", err)
	case len(seen) == 0:
		a.log.Warn("mails wait and no worker is seen", "waiting", n, "oldest", oldest, "start_one_with", a.workerCommand())
	}
	return nil
}

// workerCommand is the command line that starts a worker for this configuration.
func (a *App) workerCommand() string {
	if a.config.Source == config.DefaultFile {
		return "privacyidea-queue-huey"
	}
	return "otpost worker --config " + a.config.Source
}
