package app

import (
	"context"
	"fmt"
	"time"

	"otpost/internal/config"
	"otpost/internal/mail"
)

// StartLines returns the lines at the start of a server with n workers: how it sends messages,
// which workers share its queue and what an administrator has switched off.
func (a *App) StartLines(ctx context.Context, l Listener, n int) ([]string, error) {
	servers, err := a.servers.List(ctx)
	if err != nil {
		return nil, err
	}
	lines := a.withoutQueue(servers)
	if a.driver != nil {
		lines = a.withQueue(ctx, n)
	}
	lines = append(lines, fmt.Sprintf("kept: deliveries %s (OTPOST_DELIVERY_KEEP), the journal %s (OTPOST_AUDIT_KEEP)",
		daysOf(a.config.DeliveryKeep), daysOf(a.config.AuditKeep)))
	for _, s := range servers {
		if !s.TLSVerify {
			lines = append(lines,
				fmt.Sprintf("warning: SMTP server %q: its certificate is not verified: turn tls_verify "+
					"on, and name the authority of its certificate in ca_file where the system does not know it",
					s.Identifier))
		}
	}
	return a.behindProxy(ctx, l, lines)
}

// behindProxy adds a warning when all clients would count as one, so that wrong passwords of one
// client delay all.
func (a *App) behindProxy(ctx context.Context, l Listener, lines []string) ([]string, error) {
	if !l.Proxied {
		return lines, nil
	}
	values, err := a.settings.Load(ctx)
	if err == nil && values.OverrideAuthorizationClient() == "" {
		lines = append(lines,
			"warning: behind a proxy that the setting OverrideAuthorizationClient does not name: every "+
				"client counts as the proxy, and wrong passwords of one client delay the sign-in of all. Set it "+
				"to the proxy's "+
				"address (docs/install.md, 4)")
	}
	return lines, err
}

// withQueue returns the lines about the queue and its workers.
func (a *App) withQueue(ctx context.Context, n int) []string {
	line := "queue: " + a.queueAt
	seen, err := a.driver.Workers(ctx)
	if err != nil { // that it is out of reach was logged
		return []string{line + ", out of reach"}
	}
	for _, w := range seen {
		line += fmt.Sprintf(", shared with pid %d (%d workers)", w.PID, w.Handlers/handlersPerWorker)
	}
	switch {
	case n > 0:
		return []string{line, fmt.Sprintf("workers: %d in this process", n)}
	case len(seen) == 0:
		return []string{line, "workers: none yet, mails wait; start one with: " + a.workerCommand()}
	}
	return []string{line}
}

// withoutQueue says that all mails are sent inline, and which servers ask for a queue.
func (a *App) withoutQueue(servers []mail.Server) []string {
	lines := []string{"queue: off, every mail is sent inside its request"}
	for _, s := range servers {
		if s.EnqueueJob {
			lines = append(lines, fmt.Sprintf("queue: SMTP server %q asks for it; set PI_JOB_QUEUE_CLASS in %s",
				s.Identifier, a.config.Source))
		}
	}
	return lines
}

// daysOf returns a time to keep as text.
func daysOf(keep time.Duration) string {
	if keep == 0 {
		return "for ever"
	}
	return fmt.Sprintf("for %d days", keep/(24*time.Hour))
}

// workerCommand is the command line that starts a worker for this configuration.
func (a *App) workerCommand() string {
	if a.config.Source == config.DefaultFile {
		return "privacyidea-queue-huey"
	}
	return "otpost worker --config " + a.config.Source
}
