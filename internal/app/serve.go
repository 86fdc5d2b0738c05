package app

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
)

// Serve answers at a listener, with n workers and the relay beside it, until graceful ends. Then it
// accepts no more connections and finishes the running requests and messages, within DrainTime. The
// end of hard ends everything at once, and jobs go back to the queue. When the database file is
// replaced, Serve ends at once with store.ErrReplaced.
func (a *App) Serve(graceful, hard context.Context, l Listener, n int) error {
	graceful, hard, release := a.untilLost(graceful, hard)
	defer release()
	err := a.serve(graceful, hard, l, n)
	if lost := a.db.Err(); lost != nil { // the cause of all other errors
		return lost
	}
	return err
}

// untilLost returns contexts that also end when the database file is replaced, because no work can
// be finished then.
func (a *App) untilLost(graceful, hard context.Context) (g, h context.Context, release func()) {
	g, stop := context.WithCancel(graceful)
	h, kill := context.WithCancel(hard)
	over := make(chan struct{})
	go func() {
		select {
		case <-a.db.Lost():
			a.log.Error("database lost, the process ends", "err", a.db.Err())
			stop()
			kill()
		case <-over:
		}
	}()
	return g, h, func() { close(over); stop(); kill() }
}

func (a *App) serve(graceful, hard context.Context, l Listener, n int) error {
	a.dialer.Guard(l.Listener.Addr())
	// A stop begins when graceful ends, or when a part of the server ends.
	stopping, stop := context.WithCancel(graceful)
	defer stop()
	limits := a.limits(l)
	h := &drainHandler{
		handler: a.handler,
		strict:  l.Certificate != nil || l.Proxied,
		stop:    stopping,
		clients: newClients(limits, networkOf(a.proxies.names), a.log),
	}
	l.Listener = admitting{l.Listener, h.clients}
	server := limits.server(h)
	server.ConnState = h.clients.follow
	server.ErrorLog = slog.NewLogLogger(serverLog{a.log.Handler()}, slog.LevelWarn)
	// The workers stop after the last request, because they may send its mail.
	background, end := context.WithCancel(context.WithoutCancel(graceful))
	defer end()
	tended, answered := make(chan error, 1), make(chan error, 1)
	go func() { tended <- a.runBackground(background, hard, n) }()
	go func() { answered <- l.serve(server) }()
	beside := a.runBeside(background, l)
	beside.Go(func() { a.proxies.follow(background) })
	a.health.notify.Ready("answers at " + l.URL())
	a.log.Info("server started", "url", l.URL(), "version", Version)
	var err error
	select {
	case <-graceful.Done():
	case err = <-answered:
	case err = <-tended: // without its workers, the server would only collect mails
		tended <- nil
	}
	a.health.notify.Stopping()
	stop()
	a.page.Stop() // the page's streams would not end otherwise
	err = errors.Join(err, l.drain(hard, server, h))
	end()
	beside.Wait()
	err = errors.Join(err, <-tended)
	a.log.Info("server stopped")
	return err
}

// runBeside runs the pings of the watchdog and the warnings of the certificate.
func (a *App) runBeside(ctx context.Context, l Listener) *sync.WaitGroup {
	var parts sync.WaitGroup
	parts.Go(func() { a.health.notify.Watch(ctx, a.alive) })
	if l.Certificate != nil {
		parts.Go(func() { l.Certificate.warn(ctx, a.log) })
	}
	return &parts
}

// runBackground runs the background parts of a server: workers, relay, warnings.
func (a *App) runBackground(background, hard context.Context, n int) error {
	var parts sync.WaitGroup
	parts.Go(func() { a.eachMinute(background) })
	parts.Go(func() { a.relay(background, n > 0) })
	var err error
	if n > 0 {
		err = a.work(background, hard, Workers{Count: n})
	}
	parts.Wait()
	return err
}

// serverLog is the log of net/http. A failed TLS handshake, as of a port scan, is not a warning.
type serverLog struct{ slog.Handler }

// Handle implements slog.Handler.
func (h serverLog) Handle(ctx context.Context, r slog.Record) error {
	level := r.Level
	if strings.HasPrefix(r.Message, "http: TLS handshake error") {
		level = slog.LevelDebug
	}
	if !h.Enabled(ctx, level) {
		return nil
	}
	line := slog.NewRecord(r.Time, level, "http server", r.PC)
	line.AddAttrs(slog.String("err", r.Message))
	return h.Handler.Handle(ctx, line)
}
