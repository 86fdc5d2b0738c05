package cli

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"otpost/internal/app"
)

// adminCommand manages the administrators in the database; those of SUPERUSER_REALM are users.
type adminCommand struct {
	Add      adminAdd      `cmd:"" help:"Add an administrator."`
	List     adminList     `cmd:"" help:"List the administrators."`
	Delete   adminDelete   `cmd:"" help:"Delete an administrator; open sessions end at once."`
	Password adminPassword `cmd:"" help:"Set an administrator's password; open sessions end at once."`
}

// adminAdd adds an administrator.
type adminAdd struct {
	configFlag
	Name          string `arg:"" help:"Name of the administrator."`
	Email         string `placeholder:"ADDRESS" help:"E-mail address of the administrator; it is only shown."`
	PasswordStdin bool   `help:"Read the password from the first line of standard input. Otherwise the command asks for it."`
}

// Run implements the command.
func (c *adminAdd) Run(ctx context.Context, s streams) error {
	return withApp(ctx, c.configFlag, s, func(a *app.App) error {
		password, err := askPassword(s, "Password of the administrator "+c.Name, c.PasswordStdin)
		if err != nil {
			return err
		}
		if err := a.Administrators.Add(ctx, c.Name, c.Email, password); err != nil {
			return fmt.Errorf("%s: %w", c.Name, err)
		}
		fmt.Fprintf(s.out, "added %s\n", c.Name)
		return nil
	})
}

// adminList lists the administrators.
type adminList struct{ configFlag }

// Run implements the command.
func (c *adminList) Run(ctx context.Context, s streams) error {
	return withApp(ctx, c.configFlag, s, func(a *app.App) error {
		all, err := a.Administrators.List(ctx)
		if err != nil {
			return err
		}
		width := len("NAME")
		for _, one := range all {
			width = max(width, len([]rune(one.Name)))
		}
		fmt.Fprintf(s.out, "%-*s  %-20s  %-20s  %s\n", width, "NAME", "ADDED", "PASSWORD SET", "EMAIL")
		for _, one := range all {
			line := fmt.Sprintf("%-*s  %s  %s  %s", width, one.Name, one.Created.Format(time.RFC3339),
				one.PasswordChanged.Format(time.RFC3339), one.Email)
			fmt.Fprintln(s.out, strings.TrimRight(line, " "))
		}
		return nil
	})
}

// adminDelete deletes an administrator.
type adminDelete struct {
	configFlag
	Name string `arg:"" help:"Name of the administrator."`
}

// Run implements the command.
func (c *adminDelete) Run(ctx context.Context, s streams) error {
	return withApp(ctx, c.configFlag, s, func(a *app.App) error {
		if err := a.Administrators.Delete(ctx, c.Name); err != nil {
			return fmt.Errorf("%s: %w", c.Name, err)
		}
		fmt.Fprintf(s.out, "deleted %s\n", c.Name)
		left, err := a.Administrators.List(ctx)
		if err == nil && len(left) == 0 {
			fmt.Fprintln(s.out, "No administrator is left: add one with otpost admin add NAME.")
		}
		return err
	})
}

// adminPassword sets a password.
type adminPassword struct {
	configFlag
	Name          string `arg:"" help:"Name of the administrator."`
	PasswordStdin bool   `help:"Read the password from the first line of standard input. Otherwise the command asks for it."`
}

// Run implements the command.
func (c *adminPassword) Run(ctx context.Context, s streams) error {
	return withApp(ctx, c.configFlag, s, func(a *app.App) error {
		password, err := askPassword(s, "New password of the administrator "+c.Name, c.PasswordStdin)
		if err != nil {
			return err
		}
		if err := a.Administrators.SetPassword(ctx, c.Name, password); err != nil {
			return fmt.Errorf("%s: %w", c.Name, err)
		}
		fmt.Fprintf(s.out, "password of %s is set; sessions from before are void\n", c.Name)
		return nil
	})
}

// withApp runs f on the installation of the configuration; a server may be running on it.
func withApp(ctx context.Context, flag configFlag, s streams, f func(a *app.App) error) error {
	cfg, err := flag.load(s)
	if err != nil {
		return err
	}
	a, err := app.Open(ctx, app.Options{Config: cfg, Log: warnings(s)})
	if err != nil {
		return err
	}
	defer a.Close() //nolint:errcheck // everything was written by its own commit
	return f(a)
}

// warnings is the log of a short command.
func warnings(s streams) *slog.Logger { return app.NewLog(s.err, slog.LevelWarn) }
