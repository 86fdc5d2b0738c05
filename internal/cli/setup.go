package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"otpost/internal/app"
	"otpost/internal/config"
)

// setupCommand makes an installation.
type setupCommand struct {
	Dir           string `placeholder:"DIR" help:"Put pi.cfg and the keys here, and the database into DIR/state. Only root may omit it, and only while /etc/privacyidea is absent or empty: pi.cfg and the keys then go there, and the database to /var/lib/otpost."`
	Admin         string `default:"admin" placeholder:"NAME" help:"Name of the first administrator."`
	PasswordStdin bool   `help:"Read the administrator's password from the first line of standard input. Otherwise setup asks for it."`
	Queue         string `placeholder:"KIND" help:"Turn the job queue on: embedded (in the database) or redis. Default: off."`
	QueueURL      string `name:"queue-url" placeholder:"URL" help:"URL of the queue's Redis, with --queue redis. Default: redis://localhost:6379/0."`
}

// Help is shown by otpost setup --help.
func (setupCommand) Help() string {
	return "It changes no existing file: run it again to complete an installation. Run it as the user of the server."
}

// Run implements the command.
func (c *setupCommand) Run(ctx context.Context, s streams) error {
	dir, err := setupDir(c.Dir, filepath.Dir(config.DefaultFile), os.Geteuid())
	if err != nil {
		return err
	}
	class := config.QueueClass(c.Queue)
	switch class {
	case config.NoQueue, config.EmbeddedQueue, config.RedisQueue:
	default:
		return usageError(fmt.Sprintf("--queue %s: want embedded or redis", c.Queue))
	}
	if c.QueueURL != "" && class != config.RedisQueue {
		return usageError("--queue-url goes with --queue redis")
	}
	installed, err := app.Setup(ctx, app.SetupOptions{
		Dir:      dir,
		Admin:    c.Admin,
		Queue:    class,
		QueueURL: app.Password(c.QueueURL),
		Env:      os.Environ(),
		Log:      warnings(s),
		Password: func() (app.Password, error) {
			return askPassword(s, "Password of the administrator "+c.Admin, c.PasswordStdin)
		},
	})
	if err != nil {
		return err
	}
	printInstalled(s, installed)
	if c.PasswordStdin {
		printUnused(s, installed, c.Admin)
	}
	return nil
}

// setupDir returns the folder to set up: the system's folder only for root, and only while it is
// unused.
func setupDir(named, system string, uid int) (string, error) {
	if named != "" {
		return named, nil
	}
	if uid != 0 {
		return "", usageError("--dir DIR is missing (only root may leave it out)")
	}
	entries, err := os.ReadDir(system)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if len(entries) > 0 {
		return "", usageError(fmt.Sprintf("--dir DIR is missing: %s is in use (--dir %s completes what is there)",
			system, system))
	}
	return system, nil
}

// printInstalled prints the parts of the installation and the next steps.
func printInstalled(s streams, in app.Installed) {
	for _, t := range in.Things {
		state := "is there"
		if t.Made {
			state = "made"
		}
		fmt.Fprintf(s.out, "%-8s  %-13s  %s\n", state, t.What, t.Where)
	}
	for _, n := range in.Notes {
		fmt.Fprintln(s.out, n)
	}
	file := shellWord(in.Config)
	flag, worker := " --config "+file, "otpost worker --config "+file
	if in.Config == config.DefaultFile {
		flag, worker = "", "privacyidea-queue-huey"
	}
	admin := "admin"
	for _, t := range in.Things {
		if t.What == "administrator" {
			admin = t.Where
		}
	}
	fmt.Fprintf(s.out, "\nKeep a copy of the keys and of pi.cfg apart from the database.\n\nStart the server, as "+
		"this user:\n  otpost serve%s\n", flag)
	switch in.Queue {
	case config.NoQueue:
		fmt.Fprintf(s.out, "The job queue is off: each mail leaves inside its request. To turn it on, write into "+
			"%s\n  PI_JOB_QUEUE_CLASS = 'embedded'\n(or, with a Redis, take the # from the line that is there) and "+
			"start the server again. A worker of its own is then:\n  %s\n", in.Config, worker)
	case config.RedisQueue:
		fmt.Fprintf(s.out, "Start a worker beside it, as this user; without one, mails wait:\n  %s\n", worker)
	default:
		fmt.Fprintf(s.out, "It has 4 workers of its own. More of them, as this user:\n  %s\n", worker)
	}
	fmt.Fprintf(s.out, "Look whether it answers:\n  curl -s http://127.0.0.1:8080/auth --data-urlencode username=%s "+
		"--data-urlencode password=PASSWORD\nThen go on in a browser on this host: http://127.0.0.1:8080/\n",
		shellWord(admin))
}

// printUnused prints that a given password was not used, because administrators exist.
func printUnused(s streams, in app.Installed, admin string) {
	known := false
	for _, t := range in.Things {
		if t.What != "administrator" {
			continue
		}
		if t.Made {
			return
		}
		known = known || t.Where == admin
	}
	config := " --config " + shellWord(in.Config)
	if known {
		fmt.Fprintf(s.out, "\nThe administrator %s is there: its password stays. Change it with:\n  otpost admin "+
			"password%s %s\n", admin, config, shellWord(admin))
		return
	}
	fmt.Fprintf(s.out, "\nThe administrator %s was not added, because there is another one. Add it with:\n  otpost "+
		"admin add%s %s\n", admin, config, shellWord(admin))
}

// shellWord quotes a text for a shell if needed.
func shellWord(text string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' ||
			strings.ContainsRune("/._-@+:,", r)
	}
	if text != "" && strings.IndexFunc(text, func(r rune) bool { return !plain(r) }) < 0 {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
