package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/google/uuid"

	"otpost/internal/app"
	"otpost/internal/queue"
)

// queueCommand shows the job queue. It changes no job.
type queueCommand struct {
	Status queueStatus `cmd:"" help:"Show what waits, the workers, and the failures of the last 24 hours."`
	List   queueList   `cmd:"" help:"List jobs."`
	Show   queueShow   `cmd:"" help:"Show one job and the attempts of its message."`
}

// jsonFlag chooses JSON as output.
type jsonFlag struct {
	JSON bool `name:"json" help:"Print JSON: times in UTC, lists never null."`
}

// print writes a view as JSON, or by table.
func (f jsonFlag) print(w io.Writer, view any, table func(w io.Writer)) error {
	if !f.JSON {
		table(w)
		return nil
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(view)
}

// withQueue opens the installation of the configuration for f. Warnings of the opening are not
// printed, because the output or the error of f is more precise.
func withQueue(ctx context.Context, flag configFlag, s streams, f func(a *app.App) error) error {
	cfg, err := flag.load(s)
	if err != nil {
		return err
	}
	a, err := app.Open(ctx, app.Options{Config: cfg, Log: app.NewLog(s.err, slog.LevelError)})
	if err != nil {
		return err
	}
	defer a.Close() //nolint:errcheck // nothing was written
	return f(a)
}

// known returns nil for the error of a queue out of reach: the values of the database are printed
// before the error is returned.
func known(err error) error {
	if errors.Is(err, app.ErrQueueAway) {
		return nil
	}
	return err
}

// queueStatus shows the queue on one screen.
type queueStatus struct {
	configFlag
	jsonFlag
}

// Run implements the command.
func (c *queueStatus) Run(ctx context.Context, s streams) error {
	return withQueue(ctx, c.configFlag, s, func(a *app.App) error {
		status, away := a.QueueStatus(ctx)
		if err := known(away); err != nil {
			return err
		}
		view := viewStatus(status, away)
		return cmp.Or(c.print(s.out, view, view.table), away)
	})
}

// queueList lists jobs.
type queueList struct {
	configFlag
	jsonFlag
	State string `enum:"ready,leased,scheduled,dead,all" default:"all" placeholder:"STATE" help:"Only jobs that are ready (due), leased (claimed by a worker), scheduled (for later) or dead (given up)."`
	Most  int    `default:"100" placeholder:"N" help:"At most this number of jobs; 0 for all."`
}

// Run implements the command.
func (c *queueList) Run(ctx context.Context, s streams) error {
	if c.Most < 0 {
		return usageError("--most takes 0 or more")
	}
	f := queue.Filter{State: queue.State(c.State), Most: c.Most}
	if c.State == "all" {
		f.State = ""
	}
	return withQueue(ctx, c.configFlag, s, func(a *app.App) error {
		jobs, away := a.QueueList(ctx, f)
		if err := known(away); err != nil {
			return err
		}
		view := listView{reachView: viewReach(away), Jobs: viewJobs(jobs)}
		if away != nil {
			var err error
			if view.Open, err = a.Unfinished(ctx, c.Most); err != nil {
				return err
			}
		}
		err := c.print(s.out, view, func(w io.Writer) { view.table(w, a.Now()) })
		if n := max(len(view.Jobs), len(view.Open)); err == nil && c.Most > 0 && n == c.Most {
			fmt.Fprintf(s.err, "There may be more: these are the first %d (--most).\n", c.Most)
		}
		return cmp.Or(err, away)
	})
}

// queueShow shows one job.
type queueShow struct {
	configFlag
	jsonFlag
	ID string `arg:"" help:"Id of a job. Its delivery has the same id; logs and lists print it."`
}

// Run implements the command.
func (c *queueShow) Run(ctx context.Context, s streams) error {
	id, err := uuid.Parse(c.ID)
	if err != nil {
		return usageError(c.ID + " is not an id: want one like 0192f6e0-0000-7000-8000-000000000000")
	}
	return withQueue(ctx, c.configFlag, s, func(a *app.App) error { // an inline message has a delivery without a queue
		job, d, away := a.QueueShow(ctx, id)
		if err := known(away); err != nil {
			return err
		}
		if away == nil && job == nil && d == nil {
			return fmt.Errorf("%s: no job and no delivery of this id", id)
		}
		view := viewShow(job, d, away)
		return cmp.Or(c.print(s.out, view, func(w io.Writer) { view.table(w, a.Now()) }), away)
	})
}
