package app

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"testing"
	"time"

	"otpost/internal/dial"
	"otpost/internal/store"
	"otpost/internal/store/storetest"
)

// aside is another process of the same database: it has a dialer and no listener.
func aside(db *store.DB) *App {
	a := &App{db: db, log: slog.New(slog.DiscardHandler)}
	a.dialer = dial.New(dial.Options{Listeners: a.listeners})
	return a
}

func dials(t *testing.T, a *App, to net.Addr) error {
	t.Helper()
	c, err := a.dialer.DialContext(t.Context(), "tcp", to.String())
	if err == nil {
		c.Close() //nolint:errcheck // nothing was said
	}
	return err
}

func TestListenerOfAServerIsRefusedByOtherProcessesWhileItServes(t *testing.T) {
	t.Parallel()
	clock := storetest.NewClock()
	db := storetest.Open(t, clock.Now)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	worker := aside(db)
	if err := dials(t, worker, l.Addr()); err != nil {
		t.Fatalf("before: %v", err)
	}
	server := aside(db)
	said := server.announce(t.Context(), l.Addr())
	if err := dials(t, worker, l.Addr()); !errors.Is(err, dial.ErrRefused) {
		t.Errorf("while it serves: %v, want ErrRefused", err)
	}
	clock.Advance(listenerLease) // a server that was killed
	if err := dials(t, worker, l.Addr()); err != nil {
		t.Errorf("after its lease: %v", err)
	}
	said.say(t.Context())
	if err := dials(t, worker, l.Addr()); !errors.Is(err, dial.ErrRefused) {
		t.Errorf("after it was said again: %v, want ErrRefused", err)
	}
	clock.Advance(-time.Hour) // the clock is set back, and the server was killed
	if err := dials(t, worker, l.Addr()); err != nil {
		t.Errorf("after the clock was set back: %v", err)
	}
	said.say(t.Context()) // it was not
	if err := dials(t, worker, l.Addr()); !errors.Is(err, dial.ErrRefused) {
		t.Errorf("after it was said again by the new time: %v, want ErrRefused", err)
	}
	gone, end := context.WithCancel(t.Context())
	end()
	said.keep(gone)
	if err := dials(t, worker, l.Addr()); err != nil {
		t.Errorf("after it was taken back: %v", err)
	}
}
