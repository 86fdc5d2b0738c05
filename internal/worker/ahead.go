package worker

import (
	"time"

	"github.com/google/uuid"

	"otpost/internal/queue"
)

const (
	// mostAhead bounds the claimed jobs that wait for a handler, for each handler.
	mostAhead = 8
	// aheadTime is how long they wait at most. Then they go back to the queue, because other
	// workers may be idle.
	aheadTime = 20 * time.Millisecond
)

// ahead holds jobs that were claimed before a handler was free for them. It is used only while
// handlers are faster than a claim, so that the handlers and the queue do not wait for each other.
type ahead struct {
	jobs        []queue.Claimed
	late        <-chan time.Time        // when they go back
	running     map[uuid.UUID]time.Time // the begin of each running handler
	handlerTime time.Duration           // of a handler, smoothed
	claimTime   time.Duration           // of a claim that brought jobs, smoothed
}

// smooth moves an average an eighth of the way to a new value.
func smooth(average *time.Duration, value time.Duration) {
	if *average == 0 {
		*average = value
	}
	*average += (value - *average) / 8
}

// most returns how many jobs a claim may bring beyond the free handlers: as many as the handlers do
// while a claim is running. It is 0 while a handler takes longer than aheadTime.
func (a *ahead) most(handlers int, now time.Time) int {
	if a.claimTime == 0 {
		return 0
	}
	for _, begun := range a.running {
		if now.Sub(begun) > aheadTime {
			return 0
		}
	}
	n := int64(handlers) * int64(a.claimTime) / max(int64(a.handlerTime), int64(time.Microsecond))
	return int(min(n, mostAhead*int64(handlers)))
}

// mayClaimAhead returns how many jobs the next claim may bring beyond the free handlers. A worker
// that is to end after a number of jobs claims none ahead, and none is claimed beside a job that
// may kill the process.
func (r *run) mayClaimAhead() int {
	if r.mostJobs > 0 || r.suspect != nil || r.over {
		return 0
	}
	return r.ahead.most(r.handlers, time.Now()) - len(r.ahead.jobs)
}

// keep appends a claimed job to those that wait for a handler.
func (r *run) keep(c queue.Claimed) {
	if len(r.ahead.jobs) == 0 {
		r.ahead.late = time.After(aheadTime)
	}
	r.ahead.jobs = append(r.ahead.jobs, c)
}

// beginAhead starts a handler for each waiting job whose lane has room.
func (r *run) beginAhead() {
	l := r.current()
	left := r.ahead.jobs[:0]
	for _, c := range r.ahead.jobs {
		if l == nil || c.Worker != l.id || r.room(r.lanes[c.Lane]) == 0 {
			left = append(left, c)
			continue
		}
		r.start(l, c)
	}
	if r.ahead.jobs = left; len(left) == 0 {
		r.ahead.late = nil
	}
}

// giveAheadBack gives the waiting jobs back.
func (r *run) giveAheadBack() {
	for _, c := range r.ahead.jobs {
		r.giveBack(c, queue.Result{Action: queue.Release})
	}
	r.ahead.jobs, r.ahead.late = nil, nil
}
