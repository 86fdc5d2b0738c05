package app

import (
	"context"
	"errors"
	"time"

	"otpost/internal/challenge"
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

// eachMinute deletes challenges that ended, old rows of wrong passwords and rows of the journal that are too old,
// and warns when mails wait and no worker is seen. Deliveries are the relay's.
func (a *App) eachMinute(ctx context.Context) {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		// Each has its turn, whatever the one before met.
		err := errors.Join(a.warnUnseen(ctx), challenge.PruneAll(ctx, a.db), a.guard.Prune(ctx), a.pruneJournal(ctx))
		if err != nil && ctx.Err() == nil {
			a.log.Error("housekeeping interrupted, tried again in a minute", "err", err)
		}
	}
}

// pruneJournal deletes the rows of the journal that are older than OTPOST_AUDIT_KEEP, and
// writes those of what was left out.
func (a *App) pruneJournal(ctx context.Context) error {
	if err := a.journal.RecordLeftOut(ctx); err != nil || a.config.AuditKeep == 0 {
		return err
	}
	return a.journal.Prune(ctx, a.db.Now().Add(-a.config.AuditKeep))
}

// warnUnseen says that mails wait and no worker is seen, with the command to start one.
func (a *App) warnUnseen(ctx context.Context) error {
	if a.driver == nil || a.db.Trouble() != "" { // workers cannot be seen in a database that takes no beats
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
