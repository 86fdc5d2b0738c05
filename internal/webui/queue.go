package webui

// queueState is what GET /queue/ tells, as far as the pages show it.
type queueState struct {
	Configured bool
	Place      string
	Reachable  bool
	Error      string // why it is not
	Database   string // why the database takes no writes now; empty when it does
	OtherKeys  bool   `json:"other_keys"` // the key file is not the one of the database
	Depth      []struct {
		Priority string
		Ready    int
	}
	Dead    int
	Workers []struct {
		Host, Version string
		PID           int
		Handlers      int
	}
	WorkerSeen bool   `json:"worker_seen"`
	StartOne   string `json:"start_one_with"`
}

// queue asks how the job queue stands. For who may not see it, it counts as well.
func (v *visit) queue() (queueState, error) {
	if !v.session.may("queue_read") {
		return queueState{Configured: true, Reachable: true, WorkerSeen: true}, nil
	}
	var q queueState
	return q, v.get("/queue/", nil, &q)
}

// note returns why ticking the box "send from job queue" has no effect, or not yet; "" when it has.
func (v *visit) note(q queueState) string {
	switch {
	case q.Database != "": // workers cannot say that they are there
		return v.text.say("database." + q.Database)
	case !q.Configured:
		return v.text.say("servers.noqueue")
	case !q.Reachable:
		return v.text.say("servers.away", q.Error)
	case !q.WorkerSeen:
		return v.text.say("servers.noworker", q.StartOne)
	}
	return ""
}
