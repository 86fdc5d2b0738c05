package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/google/uuid"

	"otpost/internal/app"
	"otpost/internal/queue"
)

// queueCommand looks into the job queue. Nothing of it changes a job.
type queueCommand struct {
	Status queueStatus `cmd:"" help:"Show what waits, who works, and what failed in the last 24 hours."`
	List   queueList   `cmd:"" help:"List jobs."`
	Show   queueShow   `cmd:"" help:"Show one job and the story of its message."`
}

// jsonFlag chooses the form for programs.
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

// queueStatus shows the whole on one screen.
type queueStatus struct {
	configFlag
	jsonFlag
}

// Run implements the command.
func (c *queueStatus) Run(ctx context.Context, s streams) error {
	return withApp(ctx, c.configFlag, s, func(a *app.App) error {
		status, err := a.QueueStatus(ctx)
		if err != nil {
			return err
		}
		view := viewStatus(status)
		return c.print(s.out, view, view.table)
	})
}

// queueList lists jobs.
type queueList struct {
	configFlag
	jsonFlag
	State string `enum:"ready,leased,scheduled,dead,all" default:"all" placeholder:"STATE" help:"Only jobs that are ready (due), leased (in a worker's hands), scheduled (for later) or dead (put aside for good)."`
	Most  int    `default:"100" placeholder:"N" help:"At most so many jobs; 0 for all."`
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
	return withApp(ctx, c.configFlag, s, func(a *app.App) error {
		jobs, err := a.QueueList(ctx, f)
		if err != nil {
			return err
		}
		view := viewJobs(jobs)
		err = c.print(s.out, view, func(w io.Writer) { tableOfJobs(w, view, a.Now()) })
		if err == nil && c.Most > 0 && len(jobs) == c.Most {
			fmt.Fprintf(s.err, "There may be more: these are the first %d (--most).\n", c.Most)
		}
		return err
	})
}

// queueShow shows one job.
type queueShow struct {
	configFlag
	jsonFlag
	ID string `arg:"" help:"Id of a job; it is that of its delivery, as logs and lists name it."`
}

// Run implements the command.
func (c *queueShow) Run(ctx context.Context, s streams) error {
	id, err := uuid.Parse(c.ID)
	if err != nil {
		return usageError(c.ID + " is no id: want one like 0192f6e0-0000-7000-8000-000000000000")
	}
	return withApp(ctx, c.configFlag, s, func(a *app.App) error { // what was sent inline has a story without any queue
		job, story, err := a.Story(ctx, id)
		if err != nil {
			return err
		}
		if job == nil && story == nil {
			return fmt.Errorf("%s: no job and no delivery of this id", id)
		}
		view := viewShow(job, story)
		return c.print(s.out, view, func(w io.Writer) { view.table(w, a.Now()) })
	})
}
