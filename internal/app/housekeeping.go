package app

import (
	"context"
	"time"

	"otpost/internal/challenge"
	"otpost/internal/store"
)

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

// eachMinute deletes challenges that ended, old rows of wrong passwords and rows of the journal that are too old, and warns when mails wait and no worker is
// seen.
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
			err = a.guard.Prune(ctx)
		}
		if keep := a.config.AuditKeep; err == nil && keep > 0 {
			err = a.journal.Prune(ctx, a.db.Now().Add(-keep))
		}
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
