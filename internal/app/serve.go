package app

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
)

// Serve answers at a door, with n workers and the relay beside it, until graceful ends; then it takes no more connections and
// finishes the requests and messages that are under way, within DrainTime. The end of hard ends everything at once: jobs go
// back to the queue. When the database is replaced under it, Serve ends at once with store.ErrReplaced.
func (a *App) Serve(graceful, hard context.Context, d Door, n int) error {
	graceful, hard, release := a.untilLost(graceful, hard)
	defer release()
	err := a.serve(graceful, hard, d, n)
	if lost := a.db.Err(); lost != nil { // everything else follows from it
		return lost
	}
	return err
}

// untilLost returns contexts that end when the database is replaced under the program, too: nothing can be finished
// then.
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

func (a *App) serve(graceful, hard context.Context, d Door, n int) error {
	a.dialer.Guard(d.Listener.Addr())
	// A stop begins when graceful ends, and also when a part of the server does.
	stopping, stop := context.WithCancel(graceful)
	defer stop()
	limits := a.limits(d)
	g := &gate{
		handler: a.handler,
		strict:  d.Certificate != nil || d.Proxied,
		stop:    stopping,
		clients: newClients(limits, networkOf(a.proxies.names), a.log),
	}
	d.Listener = admitting{d.Listener, g.clients}
	server := limits.server(g)
	server.ConnState = g.clients.follow
	server.ErrorLog = slog.NewLogLogger(serverLog{a.log.Handler()}, slog.LevelWarn)
	// The workers stop after the last request: its mail may still be theirs.
	background, end := context.WithCancel(context.WithoutCancel(graceful))
	defer end()
	tended, answered := make(chan error, 1), make(chan error, 1)
	go func() { tended <- a.tend(background, hard, n) }()
	go func() { answered <- d.serve(server) }()
	beside := a.beside(background, d)
	beside.Go(func() { a.proxies.follow(background) })
	a.life.notify.Ready("answers at " + d.URL())
	a.log.Info("server started", "url", d.URL(), "version", Version)
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
	err = errors.Join(err, <-tended)
	a.log.Info("server stopped")
	return err
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

// serverLog takes what net/http says. What a port scan leaves behind is not worth a warning.
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
