package app

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/google/uuid"

	"otpost/internal/dial"
	"otpost/internal/store"
)

// A server says in the table listener where it answers, so that the dialers of all processes that share the database
// refuse it: a test mail to our own listener would let REST talk to REST, whichever process sends it.
const (
	listenerLease = time.Minute     // how long the listener of a server that died stays refused
	listenerBeat  = 5 * time.Second // how often it is said again
)

// listening is one door of this process.
type listening struct {
	app    *App
	holder string
	at     net.Addr
}

// announce says where a door is, before anything comes in by it. A database that takes nothing just now stops no
// start: keep says it again.
func (a *App) announce(ctx context.Context, at net.Addr) *listening {
	l := &listening{app: a, holder: uuid.NewString(), at: at}
	l.say(ctx)
	return l
}

// keep says it again until ctx ends, and takes it back then.
func (l *listening) keep(ctx context.Context) {
	tick := time.NewTicker(listenerBeat)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			l.say(ctx)
		case <-ctx.Done():
			err := l.app.db.WriteLight(context.WithoutCancel(ctx), func(tx *store.Tx) error {
				tx.Put(`DELETE FROM listener WHERE holder = $1`, l.holder)
				return nil
			})
			if err != nil {
				l.app.log.Warn("listener not taken back, it lapses", "err", err)
			}
			return
		}
	}
}

func (l *listening) say(ctx context.Context) {
	if err := l.write(ctx); err != nil && ctx.Err() == nil {
		l.app.log.Warn("listener not told to other processes, tried again", "err", err)
	}
}

func (l *listening) write(ctx context.Context) error {
	reach, err := dial.Reach(l.at)
	if err != nil {
		return err
	}
	now := l.app.db.Now()
	return l.app.db.WriteLight(ctx, func(tx *store.Tx) error {
		tx.Put(`DELETE FROM listener WHERE expires_ms <= $1 OR expires_ms > $2`,
			store.Millis(now), store.Millis(now.Add(listenerLease)))
		for _, at := range reach {
			tx.Put(`INSERT INTO listener (address, holder, expires_ms) VALUES ($1, $2, $3)
				ON CONFLICT (address, holder) DO UPDATE SET expires_ms = excluded.expires_ms`,
				at.String(), l.holder, store.Millis(now.Add(listenerLease)))
		}
		return nil
	})
}

// listeners returns where the servers of this database answer, for dial.Options. A row that ends later than it can was
// written before the clock was set back: a server that lives writes it anew.
func (a *App) listeners(ctx context.Context) (all []netip.AddrPort, err error) {
	now := a.db.Now()
	err = a.db.Read(ctx, func(r store.Reader) error {
		return store.List(r, func(scan store.Scan) error {
			var text string
			if err := scan(&text); err != nil {
				return err
			}
			at, err := netip.ParseAddrPort(text)
			if err != nil {
				return fmt.Errorf("%w: listener: %w", store.ErrDamaged, err)
			}
			all = append(all, at)
			return nil
		}, `SELECT DISTINCT address FROM listener WHERE expires_ms > $1 AND expires_ms <= $2`,
			store.Millis(now), store.Millis(now.Add(listenerLease)))
	})
	return all, err
}
