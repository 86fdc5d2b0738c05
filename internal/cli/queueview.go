package cli

import (
	"time"

	"github.com/google/uuid"

	"otpost/internal/app"
	"otpost/internal/delivery"
	"otpost/internal/queue"
)

// The views are printed by --json and rendered as tables. Missing times are left out.

// reachView says whether the queue answered, and why not.
type reachView struct {
	Reachable bool    `json:"reachable"`
	Error     *string `json:"error"` // null: it answered
}

// statusView is an overview of a queue. While the queue is out of reach, its own values are empty
// or null.
type statusView struct {
	reachView
	Queue     string             `json:"queue"`
	Place     string             `json:"place"`
	At        time.Time          `json:"at"`
	Ready     []depthView        `json:"depth"` // a row per priority, the most urgent first
	Leased    *int               `json:"leased"`
	Scheduled *int               `json:"scheduled"`
	NextDue   time.Time          `json:"next_due,omitzero"`
	Dead      *int               `json:"dead"`
	Workers   []workerView       `json:"workers"`
	StartOne  string             `json:"start_one_with"`
	Open      []delivery.Backlog `json:"open_deliveries"`
	Failures  []delivery.Failure `json:"failures_24h"`
}

// depthView is the waiting jobs of one priority.
type depthView struct {
	Priority string    `json:"priority"`
	Jobs     int       `json:"ready"`
	Oldest   time.Time `json:"oldest,omitzero"` // when it became due
}

// workerView is a registered worker.
type workerView struct {
	ID       uuid.UUID `json:"id"`
	Host     string    `json:"host"`
	PID      int       `json:"pid"`
	Version  string    `json:"version"`
	Handlers int       `json:"handlers"`
	Started  time.Time `json:"started"`
	Beat     time.Time `json:"beat"`
	Local    bool      `json:"local"`
}

// jobView is a job without its payload.
type jobView struct {
	ID       uuid.UUID   `json:"id"`
	Kind     string      `json:"kind"`
	State    queue.State `json:"state"`
	Priority string      `json:"priority"`
	RunAt    time.Time   `json:"run_at"`
	NotAfter time.Time   `json:"not_after,omitzero"`
	Worker   uuid.UUID   `json:"worker,omitzero"`
	Crashes  int         `json:"crashes"`
	Reason   string      `json:"reason,omitempty"`
}

// listView is the jobs of a queue or, while it is out of reach, the unfinished messages.
type listView struct {
	reachView
	Jobs []jobView             `json:"jobs"`
	Open []delivery.Unfinished `json:"open_deliveries,omitempty"` // only while the queue is out of reach
}

// deliveryView is a message with its attempts.
type deliveryView struct {
	ID        uuid.UUID          `json:"id"`
	State     delivery.State     `json:"state"`
	Reason    delivery.Reason    `json:"reason"`
	Via       delivery.Via       `json:"via"`
	Server    string             `json:"server"`
	Recipient string             `json:"recipient"` // masked
	MessageID string             `json:"message_id"`
	Created   time.Time          `json:"created"`
	NotAfter  time.Time          `json:"not_after"`
	Attempts  []delivery.Attempt `json:"attempts"`
}

// showView is a job and its message; null: none, or the queue is out of reach.
type showView struct {
	reachView
	Job      *jobView      `json:"job"`
	Delivery *deliveryView `json:"delivery"`
}

// viewReach returns the view of an error of the queue; nil: it answered.
func viewReach(away error) reachView {
	if away == nil {
		return reachView{Reachable: true}
	}
	why := away.Error()
	return reachView{Error: &why}
}

func viewStatus(s app.QueueStatus, away error) statusView {
	v := statusView{
		reachView: viewReach(away),
		Queue:     s.Name,
		Place:     s.Place,
		At:        s.At,
		StartOne:  s.StartOne,
		Ready:     []depthView{},
		Workers:   []workerView{},
		Open:      s.Open,
		Failures:  s.Failures,
	}
	if v.Open == nil {
		v.Open = []delivery.Backlog{}
	}
	if v.Failures == nil {
		v.Failures = []delivery.Failure{}
	}
	if away != nil {
		return v
	}
	v.Leased, v.Scheduled, v.NextDue, v.Dead = &s.Jobs.Leased, &s.Jobs.Scheduled, s.Jobs.NextDue, &s.Jobs.Dead
	for p, d := range s.Jobs.Ready {
		v.Ready = append(v.Ready, depthView{Priority: queue.Priority(p).String(), Jobs: d.Jobs, Oldest: d.Oldest})
	}
	for _, w := range s.Workers {
		v.Workers = append(v.Workers, workerView{w.ID, w.Host, w.PID, w.Version, w.Handlers, w.Started, w.Heartbeat,
			w.Local})
	}
	return v
}

func viewJobs(jobs []queue.Listed) []jobView {
	views := make([]jobView, 0, len(jobs))
	for _, j := range jobs {
		views = append(views, viewJob(j))
	}
	return views
}

func viewJob(j queue.Listed) jobView {
	return jobView{j.ID, j.Kind, j.State, j.Priority.String(), j.RunAt, j.NotAfter, j.Worker, j.Crashes, j.Reason}
}

func viewShow(job *queue.Listed, d *delivery.Record, away error) showView {
	v := showView{reachView: viewReach(away)}
	if job != nil {
		one := viewJob(*job)
		v.Job = &one
	}
	if d != nil {
		v.Delivery = &deliveryView{d.ID, d.State, d.Reason, d.Via, d.Server, d.Recipient, d.MessageID, d.Created,
			d.NotAfter, d.Attempts}
	}
	return v
}
