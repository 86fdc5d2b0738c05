package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"syscall"

	"otpost/internal/app"
	"otpost/internal/config"
)

// serveCommand runs the server.
type serveCommand struct {
	configFlag
	Listen  string `default:"127.0.0.1:8080" placeholder:"HOST:PORT" help:"Address of the REST API; plain HTTP, on loopback only: put a proxy with TLS before it."`
	Workers *int   `placeholder:"N" help:"Workers in this process, each with up to 32 messages in flight. Default: 4 with the embedded queue, else 0."`
	Migrate bool   `help:"Bring the database's schema up to date first."`
}

// Run implements the command.
func (c *serveCommand) Run(ctx context.Context, s streams) error {
	cfg, err := c.load(s)
	if err != nil {
		return err
	}
	workers, err := c.workers(cfg)
	if err != nil {
		return err
	}
	logs, err := openLogs(cfg, s)
	if err != nil {
		return err
	}
	defer logs.close()
	stop, end := listen(ctx, stopRules{}, logs.reopen)
	defer end()
	a, err := app.Open(ctx, app.Options{Config: cfg, Migrate: c.Migrate, Log: logs.server, QueueLog: logs.queue})
	if err != nil {
		return err
	}
	defer a.Close() //nolint:errcheck // everything was written by its own commit
	l, err := listenLoopback(c.Listen)
	if err != nil {
		return err
	}
	lines, err := a.StartLines(ctx, workers)
	if err != nil {
		return err
	}
	for _, line := range lines {
		fmt.Fprintln(s.out, line)
	}
	fmt.Fprintf(s.out, "listening on http://%s\n", l.Addr())
	return a.Serve(stop.graceful, stop.hard, l, workers)
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

// listenLoopback opens the server's socket. Codes and PINs do not travel in clear: TLS of our own comes with a later version.
func listenLoopback(address string) (net.Listener, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, usageError(fmt.Sprintf("--listen %s: want HOST:PORT", address))
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, usageError(fmt.Sprintf("--listen %s: plain HTTP is served on loopback only; listen on 127.0.0.1 and put a proxy with TLS before it", address))
	}
	l, err := net.Listen("tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("--listen %s: another program listens there", address)
	}
	return l, err
}

// logs are where the server and the workers in its process write.
type logs struct {
	server, queue *slog.Logger
	files         []*app.LogFile
}

// openLogs opens PI_LOGFILE (default: standard error) and OTPOST_QUEUE_LOGFILE (default: the server's log).
func openLogs(cfg *config.Config, s streams) (*logs, error) {
	l := &logs{}
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
	l.files = append(l.files, file)
	return file, nil
}

// reopen follows a rotation.
func (l *logs) reopen() {
	for _, f := range l.files {
		if err := f.Reopen(); err != nil {
			l.server.Error("log not reopened, the old file stays in use", "err", err)
		}
	}
}

func (l *logs) close() {
	for _, f := range l.files {
		f.Close() //nolint:errcheck // every line was written in one call
	}
}
