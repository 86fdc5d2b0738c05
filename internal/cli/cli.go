// Package cli is the command line: a file per command.
//
// It reads arguments and configuration, calls app, and turns an error into one sentence on standard
// error and an exit code: 0 done, 1 the command failed, 2 the command line was wrong. It has no
// other logic.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"syscall"

	"github.com/alecthomas/kong"

	"otpost/internal/app"
	"otpost/internal/config"
)

// hueyName is the name under which the program is privacyIDEA's worker, as a link or a copy.
const hueyName = "privacyidea-queue-huey"

// commands are the commands of otpost. Administrators read their help texts first.
type commands struct {
	Setup   setupCommand   `cmd:"" help:"Make the configuration, the keys, the database and the first administrator."`
	Serve   serveCommand   `cmd:"" help:"Run the server."`
	Worker  workerCommand  `cmd:"" help:"Run a worker: it sends the messages that wait in the job queue."`
	Queue   queueCommand   `cmd:"" help:"Inspect the job queue."`
	Admin   adminCommand   `cmd:"" help:"Manage the administrators of the REST API."`
	Demo    demoCommand    `cmd:"" help:"Show one login from PIN to accepted code, inline and through the queue, in temporary files."`
	Bench   benchCommand   `cmd:"" help:"Measure the job queue, on a queue of its own."`
	Version versionCommand `cmd:"" help:"Print the version."`
}

// streams are the input and outputs of a command; tests replace them.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// heapGrowth is how much the heap grows between two garbage collections, in percent of what is live. Under load Go's
// default of 100 collects the live 10 MiB so often that it takes a tenth of a login's processor time (bench/logins).
// More than 200 would multiply the 64 MiB that a password hash has live.
const heapGrowth = 200

// collectLess sets heapGrowth, unless the environment variable GOGC says otherwise.
func collectLess() {
	const goDefault = 100
	if set := debug.SetGCPercent(heapGrowth); set != goDefault {
		debug.SetGCPercent(set)
	}
}

// configFlag names the configuration.
type configFlag struct {
	Config string `placeholder:"FILE" help:"Read only this pi.cfg. Default: ${default_config}, then the file that PRIVACYIDEA_CONFIGFILE names."`
}

// load reads the configuration and prints its warnings once.
func (f configFlag) load(s streams) (*config.Config, error) {
	c, err := config.Load(config.Options{File: f.Config, Env: os.Environ()})
	if err != nil {
		return nil, err
	}
	for _, w := range c.Warnings {
		fmt.Fprintf(s.err, "warning: %s\n", w)
	}
	return c, nil
}

// Main runs a command line, whose first element is the name that the program was started under
// (os.Args), and returns its exit code.
func Main(args []string) int {
	collectLess()
	syscall.Umask(0o077) // files of otpost are only for its user
	name := "otpost"
	if len(args) > 0 && filepath.Base(args[0]) == hueyName {
		name = hueyName
	}
	return run(context.Background(), name, args[min(1, len(args)):], streams{os.Stdin, os.Stdout, os.Stderr})
}

func run(ctx context.Context, name string, args []string, s streams) int {
	var grammar any = &commands{}
	description := "An authentication server whose slow work never holds a login back."
	if name == hueyName {
		grammar, description = &hueyCommand{}, "The worker of otpost's job queue, as privacyIDEA's manual calls it."
	}
	exit := -1
	parser, err := newParser(name, grammar, kong.Description(description), kong.Writers(s.out, s.err),
		kong.Exit(func(code int) { exit = code }), kong.BindTo(ctx, (*context.Context)(nil)), kong.Bind(s))
	if err != nil {
		fmt.Fprintf(s.err, "%s: %v\n", name, err)
		return 1
	}
	parsed, err := parser.Parse(args)
	if exit >= 0 { // help was printed
		return exit
	}
	if err != nil {
		var wrong *kong.ParseError
		text := err.Error()
		if errors.As(err, &wrong) {
			text = explain(text, wrong.Context, args)
		}
		fmt.Fprintf(s.err, "%s: %s (%s --help tells more)\n", name, text, name)
		return 2
	}
	if err := parsed.Run(); err != nil {
		var usage usageError
		app.PrintWithin(s.err, fmt.Sprintf("%s: %v\n", name, err))
		if errors.As(err, &usage) {
			return 2
		}
		return 1
	}
	return 0
}

// newParser returns the parser of a grammar.
func newParser(name string, grammar any, more ...kong.Option) (*kong.Kong, error) {
	return kong.New(grammar, append(more, kong.Name(name), kong.UsageOnError(), kong.ValueFormatter(optionHelp),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}), kong.Vars{"default_config": config.DefaultFile},
		kong.ExplicitGroups([]kong.Group{{Key: "ignored", Title: ignoredGroup}}))...)
}

// usageError is an error in the command line that the parser cannot detect.
type usageError string

// Error implements error.
func (e usageError) Error() string { return string(e) }

// versionCommand prints the version.
type versionCommand struct{}

// Run implements the command.
func (versionCommand) Run(s streams) error {
	_, err := fmt.Fprintln(s.out, "otpost "+app.Version)
	return err
}
