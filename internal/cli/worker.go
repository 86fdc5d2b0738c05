package cli

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/alecthomas/kong"

	"otpost/internal/app"
	"otpost/internal/config"
)

// workerCommand runs a worker beside the server.
type workerCommand struct {
	configFlag
	workerOptions
	Check bool `help:"Start nothing: exit with 0 when a worker of this queue on this host has been seen within 10 s, otherwise with 1. For probes."`
}

// Help is shown by otpost worker --help.
func (workerCommand) Help() string { return workerSignals }

// Run implements the command.
func (c *workerCommand) Run(ctx context.Context, s streams, parsed *kong.Context) error {
	if c.Check {
		return checkWorker(ctx, c.configFlag, s)
	}
	return runWorker(ctx, s, c.configFlag, &c.workerOptions, typed(parsed))
}

// hueyCommand is the program under the name privacyidea-queue-huey.
type hueyCommand struct {
	configFlag
	workerOptions
	ignoredOptions
}

// Help is shown by privacyidea-queue-huey --help.
func (hueyCommand) Help() string { return workerSignals }

// Run implements the command.
func (c *hueyCommand) Run(ctx context.Context, s streams, parsed *kong.Context) error {
	return runWorker(ctx, s, c.configFlag, &c.workerOptions, typed(parsed))
}

const workerSignals = "SIGINT and SIGTERM: finish the messages under way, give the other jobs back to the " +
	"queue, exit with 0. " +
	"A second signal: stop at once; its jobs go back, too. SIGHUP: open the log file again."

// runWorker works until a signal ends it. flags are the typed flags, in order.
func runWorker(ctx context.Context, s streams, where configFlag, o *workerOptions, flags []*kong.Flag) error {
	if err := o.check(); err != nil {
		return err
	}
	complaints := app.NewLogBuffer(s.err)
	defer complaints.Close() //nolint:errcheck // its lines have no other target
	s.err = complaints
	cfg, err := loadQueue(where, s)
	if err != nil {
		return err
	}
	file, err := app.OpenLogFile(o.Logfile)
	if err != nil {
		return err
	}
	defer file.Close() //nolint:errcheck // every line was written in one call
	newLog := app.NewLog
	if o.Simple {
		newLog = app.NewSimpleLog
	}
	buffer := app.NewLogBuffer(file)
	defer buffer.Close() //nolint:errcheck // its lines have no other target
	log := newLog(buffer, logLevel(cfg.LogLevel, flags))
	log.Info("worker starting")
	if err := buffer.Flush(); err != nil { // the log reports failed mails
		return err
	}
	file.ReportFailures(s.err)
	notify := app.NewNotifier(log)
	stop, end := listen(ctx, o.stops(), func() {
		notify.Reload(func() {
			if err := file.Reopen(); err != nil {
				log.Error("log not reopened, the old file stays in use", "err", err)
			}
		})
	})
	defer end()
	a, err := app.Open(ctx, app.Options{Config: cfg, Log: log, QueueLog: log, Notify: notify})
	if err != nil {
		return err
	}
	defer a.Close() //nolint:errcheck // everything was written by its own commit
	app.PrintWithin(s.out, "Logging to "+logName(o.Logfile)+"\n")
	warnIgnored(log, flags)
	return a.Work(stop.graceful, stop.hard, app.Workers{Count: o.Workers, MaxTasks: o.MaxTasks})
}

// logName returns the name of a log for the start line: a file in quotes, a stream by its name
// (app.OpenLogFile).
func logName(file string) string {
	switch file {
	case "-", "/dev/stdout", "/dev/fd/1":
		return "standard output"
	case "/dev/stderr", "/dev/fd/2":
		return "standard error"
	}
	return "'" + file + "'"
}

// loadQueue reads the configuration and requires a queue in it.
func loadQueue(where configFlag, s streams) (*config.Config, error) {
	cfg, err := where.load(s)
	if err != nil {
		return nil, err
	}
	if cfg.QueueClass == config.NoQueue {
		return nil, fmt.Errorf("there is no job queue to work on: set PI_JOB_QUEUE_CLASS in %s", cfg.Source)
	}
	return cfg, nil
}

// logLevel returns the level of the last -v or -q, or else the configured one.
func logLevel(configured slog.Level, flags []*kong.Flag) slog.Level {
	level := configured
	for _, f := range flags {
		switch f.Name {
		case "verbose":
			level = slog.LevelDebug
		case "quiet":
			level = slog.LevelWarn // as in huey 3.5
		}
	}
	return level
}

// warnIgnored logs each typed option without effect once.
func warnIgnored(log *slog.Logger, flags []*kong.Flag) {
	logged := make(map[string]bool)
	for _, f := range flags {
		if why := reason(f.Value); why != "" && !logged[f.Name] {
			logged[f.Name] = true
			log.Warn("option without effect", "option", "--"+f.Name, "reason", why)
		}
	}
}

// checkWorker checks that a worker of the queue is alive on this host. A probe prints the error.
func checkWorker(ctx context.Context, where configFlag, s streams) error {
	cfg, err := loadQueue(where, s)
	if err != nil {
		return err
	}
	a, err := app.Open(ctx, app.Options{Config: cfg, Log: warnings(s)})
	if err != nil {
		return err
	}
	defer a.Close() //nolint:errcheck // nothing was written
	w, age, err := a.LocalWorker(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(s.out, "worker with pid %d was seen %s ago\n", w.PID, age.Round(100*time.Millisecond))
	return nil
}
