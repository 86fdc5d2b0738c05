package cli

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"otpost/internal/app"
	"otpost/internal/config"
)

// serveCommand runs the server.
type serveCommand struct {
	configFlag
	listenFlags
	Workers *int `placeholder:"N" help:"Workers in this process, each with up to 32 messages in flight. Default: 4 with the embedded queue, else 0."`
	Migrate bool `help:"Bring the database's schema up to date first."`
	Check   bool `help:"Start nothing: exit with 0 when the server at --listen is ready, otherwise with 1. For probes; pass the options of the server."`
}

// Help is shown by otpost serve --help.
func (serveCommand) Help() string {
	return "SIGTERM and SIGINT: refuse new connections, answer the requests and send the messages under way, within " +
		app.DrainTime.String() + ". A second signal: stop at once. SIGHUP: open the logs and the certificate again."
}

// Run implements the command.
func (c *serveCommand) Run(ctx context.Context, s streams) error {
	if err := c.check(); err != nil {
		return err
	}
	if c.Check {
		return c.probe(ctx, s)
	}
	complaints := app.NewLogBuffer(s.err)
	defer complaints.Close() //nolint:errcheck // its lines have no other target
	s.err = complaints
	cfg, err := c.load(s)
	if err != nil {
		return err
	}
	workers, err := c.workers(cfg)
	if err != nil {
		return err
	}
	certificate, err := c.certificate()
	if err != nil {
		return err
	}
	logs, err := openLogs(cfg, s)
	if err != nil {
		return err
	}
	defer logs.close()
	notify := app.NewNotifier(logs.server)
	most := app.DrainTime
	stop, end := listen(ctx, stopRules{most: &most}, func() { notify.Reload(func() { reload(logs, certificate) }) })
	defer end()
	a, err := app.Open(ctx, app.Options{
		Config:   cfg,
		BasePath: c.basePath(cfg),
		Migrate:  c.Migrate,
		Log:      logs.server,
		QueueLog: logs.queue,
		Notify:   notify,
		LogHangs: func() bool { return complaints.Hangs() || logs.hangs() },
	})
	if err != nil {
		return err
	}
	defer a.Close() //nolint:errcheck // everything was written by its own commit
	listener, err := c.open(certificate)
	if err != nil {
		return err
	}
	lines, err := a.StartLines(ctx, listener, workers)
	if err != nil {
		return err
	}
	if certificate != nil {
		lines = append(lines, "certificate: "+certificate.Describe())
	}
	if base := c.basePath(cfg); base != "" {
		lines = append(lines, "base path: "+base)
	}
	lines = append(lines, "listening on "+listener.URL())
	app.PrintWithin(s.out, strings.Join(lines, "\n")+"\n")
	return a.Serve(stop.graceful, stop.hard, listener, workers)
}

// reload opens the logs and the certificate again.
func reload(logs *logs, certificate *app.Certificate) {
	logs.reopen()
	if certificate == nil {
		return
	}
	if err := certificate.Reload(); err != nil {
		logs.server.Error("certificate not reloaded, the old one stays in use", "err", err)
		return
	}
	logs.server.Info("certificate reloaded", "certificate", certificate.Describe())
}

func (c *serveCommand) workers(cfg *config.Config) (int, error) {
	switch {
	case c.Workers == nil && cfg.QueueClass == config.EmbeddedQueue:
		return 4, nil
	case c.Workers == nil:
		return 0, nil
	case *c.Workers < 0:
		return 0, usageError("--workers takes 0 or more")
	case *c.Workers > 0 && cfg.QueueClass == config.NoQueue:
		return 0, usageError("--workers: there is no job queue (PI_JOB_QUEUE_CLASS is not set in " + cfg.Source + ")")
	}
	return *c.Workers, nil
}

// logs are the logs of the server and of the workers in its process.
type logs struct {
	server, queue *slog.Logger
	files         []*app.LogFile
	buffers       []*app.LogBuffer // one for each of files
	complaints    io.Writer        // where failures of the logs are reported
}

// openLogs opens PI_LOGFILE (default: standard error) and OTPOST_QUEUE_LOGFILE (default: the server's log).
func openLogs(cfg *config.Config, s streams) (*logs, error) {
	l := &logs{complaints: s.err}
	out, err := l.open(cfg.LogFile, s.err)
	if err != nil {
		return nil, fmt.Errorf("PI_LOGFILE: %w", err)
	}
	l.server = app.NewLog(out, cfg.LogLevel)
	l.queue = l.server
	if cfg.QueueLogFile == "" {
		return l, nil
	}
	if out, err = l.open(cfg.QueueLogFile, s.err); err != nil {
		l.close()
		return nil, fmt.Errorf("OTPOST_QUEUE_LOGFILE: %w", err)
	}
	l.queue = app.NewLog(out, cfg.LogLevel)
	return l, nil
}

func (l *logs) open(name string, otherwise io.Writer) (io.Writer, error) {
	if name == "" {
		return otherwise, nil
	}
	file, err := app.OpenLogFile(name)
	if err != nil {
		return nil, err
	}
	file.ReportFailures(l.complaints)
	buffer := app.NewLogBuffer(file)
	l.files, l.buffers = append(l.files, file), append(l.buffers, buffer)
	return buffer, nil
}

// hangs reports whether one of the log files hangs.
func (l *logs) hangs() bool { return slices.ContainsFunc(l.buffers, (*app.LogBuffer).Hangs) }

// reopen opens the logs again, after a rotation.
func (l *logs) reopen() {
	for _, f := range l.files {
		if err := f.Reopen(); err != nil {
			l.server.Error("log not reopened, the old file stays in use", "err", err)
		}
	}
}

// close writes the waiting lines of all logs within app.LogFlushTime.
func (l *logs) close() {
	var all sync.WaitGroup
	for i, f := range l.files {
		all.Go(func() {
			l.buffers[i].Close() //nolint:errcheck // its lines have no other target
			f.Close()            //nolint:errcheck // every line was written in one call
		})
	}
	all.Wait()
}
