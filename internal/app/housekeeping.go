package app

import (
	"context"
	"errors"
	"time"

	"otpost/internal/challenge"
)

// relay runs the relay: always in a worker, in a server only while no worker is seen. So the
// outcomes of the relay are in the log that administrators watch.
func (a *App) relay(ctx context.Context, worker bool) {
	stand := func(ctx context.Context) bool {
		if worker || a.driver == nil {
			return true
		}
		seen, err := a.driver.Workers(ctx)
		return err != nil || len(seen) == 0 // while the queue is out of reach, no worker is seen
	}
	if err := a.delivery.Relay(ctx, stand); err != nil {
		a.log.Error("relay ended", "err", err)
	}
}

// eachMinute deletes ended challenges, old rows of wrong passwords and old rows of the journal. It
// warns when mails wait and no worker is seen. The relay deletes deliveries.
func (a *App) eachMinute(ctx context.Context) {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		// All of them run, also after an error.
		err := errors.Join(a.warnUnseen(ctx), challenge.PruneAll(ctx, a.db), a.guard.Prune(ctx), a.pruneJournal(ctx))
		if err != nil && ctx.Err() == nil {
			a.log.Error("housekeeping interrupted, tried again in a minute", "err", err)
		}
	}
}

// pruneJournal deletes the rows of the journal that are older than OTPOST_AUDIT_KEEP, and writes
// the rows that count refused requests.
func (a *App) pruneJournal(ctx context.Context) error {
	if err := a.journal.RecordLeftOut(ctx); err != nil || a.config.AuditKeep == 0 {
		return err
	}
	return a.journal.Prune(ctx, a.db.Now().Add(-a.config.AuditKeep))
}

// warnUnseen logs that mails wait and no worker is seen, with the command that starts one.
func (a *App) warnUnseen(ctx context.Context) error {
	if a.driver == nil || a.db.Trouble() != "" { // a database that cannot be written has no heartbeats
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
		a.log.Warn("mails wait and no worker is seen", "waiting", n, "oldest", oldest,
			"start_one_with", a.workerCommand())
	}
	return nil
}
