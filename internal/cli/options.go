package cli

import (
	"fmt"
	"math"
	"time"

	"github.com/alecthomas/kong"
)

// workerOptions and ignoredOptions are the table of the options of huey 3.5's consumer: help,
// parser, log and docs/compatibility.md follow it. These are the options with an effect.
type workerOptions struct {
	Logfile         string   `short:"l" default:"privacyidea-queue.log" placeholder:"FILE" help:"Write the log here; - is standard output; SIGHUP opens a file again."`
	Workers         int      `short:"w" default:"1" placeholder:"N" help:"Workers, each with up to 32 messages in flight."`
	Verbose         bool     `short:"v" help:"Log every job too (level DEBUG). Of -v and -q the last one counts."`
	Quiet           bool     `short:"q" help:"Log warnings and errors only."`
	Simple          bool     `short:"S" help:"Short log lines: time of day and text; above INFO the level too."`
	MaxTasks        int      `short:"M" placeholder:"COUNT" help:"Replace each worker after COUNT jobs: a new one registers and takes over, the old one finishes its jobs. The workers of a process count together: -w 4 -M 100 is 400 jobs in all. Default: never."`
	ShutdownTimeout *float64 `short:"t" placeholder:"SECONDS" help:"How long a graceful stop waits; then jobs that are not done go back to the queue. A mail that was handed over and had no reply yet may then be sent twice, with the same Message-ID. Default: until they end."`
	GracefulSignal  string   `short:"g" enum:"INT,TERM,both" default:"both" placeholder:"SIGNAL" help:"INT or TERM: the signal that stops gracefully; the other one then stops at once, and its jobs go back to the queue. (privacyIDEA's worker takes INT, and loses the mail that is being sent at TERM.)"`
}

// ignoredOptions are accepted, checked for their type, and logged once, each with its reason.
type ignoredOptions struct {
	WorkerType          string   `short:"k" enum:"thread,process,greenlet" default:"thread" placeholder:"TYPE" group:"ignored" help:"thread, process or greenlet." reason:"There is one kind of worker, and messages in flight share its process."`
	Delay               float64  `short:"d" default:"0.1" placeholder:"SECONDS" group:"ignored" help:"Shortest wait between polls." reason:"Nothing is polled: a new job wakes the worker."`
	MaxDelay            float64  `short:"m" default:"10" placeholder:"SECONDS" group:"ignored" help:"Longest wait between polls." reason:"Nothing is polled: a new job wakes the worker."`
	Backoff             float64  `short:"b" default:"1.15" placeholder:"FACTOR" group:"ignored" help:"Growth of that wait." reason:"Nothing is polled: a new job wakes the worker."`
	HealthCheckInterval float64  `short:"c" default:"10" placeholder:"SECONDS" group:"ignored" help:"Time between checks of the workers." reason:"A worker sends a heartbeat each 2 s, and other workers detect a dead worker."`
	DisableHealthCheck  bool     `short:"C" group:"ignored" help:"No such checks." reason:"Without heartbeats a worker would lose its jobs to other workers."`
	FlushLocks          bool     `short:"f" group:"ignored" help:"Remove locks at the start." reason:"The queue has no locks that outlive their process."`
	ExtraLocks          []string `short:"L" placeholder:"A,B" group:"ignored" help:"More locks to remove." reason:"The queue has no locks that outlive their process."`
	SchedulerInterval   int      `short:"s" default:"1" placeholder:"SECONDS" group:"ignored" help:"Time between two runs of the scheduler." reason:"A scheduled job starts when it is due."`
	NoPeriodic          bool     `short:"n" group:"ignored" help:"No periodic tasks." reason:"The queue has none."`
}

// ignoredGroup is the heading of the ignored options in the help text.
const ignoredGroup = "Options of huey's consumer that are accepted and without effect:"

// check refuses values that the parser does not check.
func (o *workerOptions) check() error {
	switch t := o.ShutdownTimeout; {
	case o.Workers < 1:
		return usageError("--workers takes 1 or more")
	case o.MaxTasks < 0:
		return usageError("--max-tasks takes 1 or more; 0 means never")
	case t != nil && !(*t >= 0 && *t <= math.MaxInt32):
		return usageError("--shutdown-timeout takes seconds, 0 or more")
	}
	return nil
}

// stops returns the meaning of the signals.
func (o *workerOptions) stops() stopRules {
	rules := stopRules{graceful: o.GracefulSignal}
	if o.ShutdownTimeout != nil {
		most := time.Duration(*o.ShutdownTimeout * float64(time.Second))
		rules.most = &most
	}
	return rules
}

// typed returns the flags of the command line, in order; a flag that was typed twice comes twice.
func typed(parsed *kong.Context) []*kong.Flag {
	var all []*kong.Flag
	for _, p := range parsed.Path {
		if p.Flag != nil {
			all = append(all, p.Flag)
		}
	}
	return all
}

// reason returns why an option is without effect; empty for an option with an effect.
func reason(v *kong.Value) string {
	if v.Tag == nil {
		return ""
	}
	return v.Tag.Get("reason")
}

// optionHelp returns a flag's help text with its default and, for one without effect, the reason.
func optionHelp(v *kong.Value) string {
	text := v.Help
	if v.HasDefault && v.Default != "" {
		text += fmt.Sprintf(" Default: %s.", v.Default)
	}
	if why := reason(v); why != "" {
		text += " " + why
	}
	return text
}
