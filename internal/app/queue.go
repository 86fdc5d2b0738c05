package app

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"

	"otpost/internal/config"
	"otpost/internal/queue/redisq"
	"otpost/internal/queue/sqliteq"
)

// stateDir is the folder of the database and of the locks of its processes.
func (a *App) stateDir() string { return filepath.Dir(a.config.DatabaseURI.Path) }

// openQueue opens the queue of the configuration. A Redis out of reach does not stop the start:
// logins go on, and the driver connects when Redis answers. A Redis that belongs to another
// database, or must not be used, stops the start.
func (a *App) openQueue(ctx context.Context) error {
	switch a.config.QueueClass {
	case config.EmbeddedQueue:
		driver, err := sqliteq.Open(a.db, sqliteq.Options{
			Queue:   a.config.QueueName,
			LockDir: a.stateDir(),
			Log:     a.queueLog,
		})
		if err != nil {
			return err
		}
		a.driver, a.closeQueue, a.queueAt = driver, driver.Close, "embedded in "+a.config.DatabaseURI.Path
	case config.RedisQueue:
		driver, err := redisq.Open(redisq.Options{
			URL:     string(a.config.QueueURL.Reveal()),
			Queue:   a.config.QueueName,
			LockDir: a.stateDir(),
			Log:     a.queueLog,
		})
		if err != nil {
			return err
		}
		a.driver, a.queueAt = driver, "Redis at "+driver.Address()
		a.closeQueue = func() error {
			if a.delivery != nil { // nil: Open failed
				a.delivery.Drain()
			}
			return driver.Close()
		}
		owner := a.db.Instance()
		if err := driver.Bind(ctx, owner.ID, owner.Host); errors.Is(err, redisq.ErrAway) {
			a.log.Warn("queue out of reach, mails wait in the database until it answers", "queue", driver.Address(),
				"err", err)
		} else if err != nil {
			return err
		}
	}
	return nil
}

// isQueue returns a function that reports whether an address is the queue's: a mail server at that
// address would let REST talk to Redis. A name is looked up now; a name without an address is not
// guarded.
func (a *App) isQueue(ctx context.Context) func(netip.AddrPort) bool {
	driver, ok := a.driver.(*redisq.Driver)
	if !ok {
		return nil
	}
	host, port, err := net.SplitHostPort(driver.Address())
	if err != nil {
		return nil // a socket
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil
	}
	addresses, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		a.log.Warn("address of the queue not found", "queue", driver.Address(), "err", err)
	}
	return func(dialled netip.AddrPort) bool {
		for _, one := range addresses {
			if dialled.Port() == uint16(n) && dialled.Addr().Unmap() == one.Unmap() {
				return true
			}
		}
		return false
	}
}
