package queue

import (
	"context"
	"time"

	"github.com/google/uuid"
)

// State is where a job stands.
type State string

// The states, in the order in which List gives them.
const (
	Ready     State = "ready"     // due, waits for a worker
	Leased    State = "leased"    // a worker runs it
	Scheduled State = "scheduled" // waits for its time
	Dead      State = "dead"      // kept with a reason; it is not run
)

// States lists the states in order.
func States() []State { return []State{Ready, Leased, Scheduled, Dead} }

// Depth is what waits in one priority.
type Depth struct {
	Jobs   int
	Oldest time.Time // when the one that waits longest became due; zero: none waits
}

// Status is a queue at a glance. A scheduled job whose time has come may still be counted as
// scheduled until a claim or another driver's step makes it ready.
type Status struct {
	Ready     [Normal + 1]Depth // by priority
	Leased    int
	Scheduled int
	NextDue   time.Time // of the scheduled ones; zero: there is none
	Dead      int
}

// Filter says which jobs to list. The zero value means all of them.
type Filter struct {
	ID    uuid.UUID // only this job; zero: any
	State State     // only these; empty: any
	Most  int       // how many at most; 0: no limit
}

// Listed is a job as an operator may see it: without its payload and claim token.
type Listed struct {
	Job               // Payload is nil
	State   State     // Scheduled may have become due: see Status
	Worker  uuid.UUID // of a leased job; zero otherwise
	Crashes int       // workers that died holding it
	Reason  string    // of a dead job: a sentence without secrets
}

// Operator is what a driver lets an operator see. It changes nothing, and is safe for concurrent
// use.
type Operator interface {
	// Status counts the jobs of the queue.
	Status(ctx context.Context) (Status, error)
	// List returns the jobs that a filter names, by state (in the order of States), then by RunAt,
	// then by id; dead ones may come in the order in which they died. It is nil when there is none.
	// Where Most cuts off, what is first in that order stays.
	List(ctx context.Context, f Filter) ([]Listed, error)
}
