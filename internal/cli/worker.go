package cli

import (
	"context"
	"fmt"

	"otpost/internal/app"
	"otpost/internal/config"
)

// workerCommand runs a worker beside the server. It is the whole program under the name privacyidea-queue-huey.
type workerCommand struct {
	configFlag
	Logfile string `short:"l" default:"privacyidea-queue.log" placeholder:"FILE" help:"Write the log here; SIGHUP opens it anew."`
	Workers int    `short:"w" default:"1" placeholder:"N" help:"Workers, each with up to 32 messages in flight."`
}

// Run implements the command.
func (c *workerCommand) Run(ctx context.Context, s streams) error {
	if c.Workers < 1 {
		return usageError("--workers takes 1 or more")
	}
	cfg, err := c.load(s)
	if err != nil {
		return err
	}
	if cfg.QueueClass == config.NoQueue {
		return fmt.Errorf("there is no job queue to work on: set PI_JOB_QUEUE_CLASS in %s", cfg.Source)
	}
	file, err := app.OpenLogFile(c.Logfile)
	if err != nil {
		return err
	}
	defer file.Close() //nolint:errcheck // every line was written in one call
	log := app.NewLog(file, cfg.LogLevel)
	stop, end := listen(ctx, func() {
		if err := file.Reopen(); err != nil {
			log.Error("log not reopened, the old file stays in use", "err", err)
		}
	})
	defer end()
	a, err := app.Open(ctx, app.Options{Config: cfg, Log: log, QueueLog: log})
	if err != nil {
		return err
	}
	defer a.Close() //nolint:errcheck // everything was written by its own commit
	fmt.Fprintf(s.out, "Logging to '%s'\n", c.Logfile)
	return a.Work(stop.graceful, stop.hard, c.Workers)
}
