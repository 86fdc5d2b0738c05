package worker

import (
	"sync"
	"time"

	"otpost/internal/queue"
)

const (
	// the longest time that a suspect holds claims back: longer than composing and signing a mail
	// takes
	suspectAlone = 100 * time.Millisecond
	suspectAgain = time.Second // the delay of a suspect while another one runs
)

// suspect is a running job that has killed workers before. No other suspect runs beside it. It
// holds claims back only until it calls MayStart, before its first write to the network: what can
// kill a worker (opening, composing, signing) happens before.
type suspect struct {
	job   queue.Claimed
	wrote chan struct{} // closed by its first call of MayStart
	once  sync.Once
	late  <-chan time.Time // when it stops holding claims back in any case
	apart bool             // it holds claims back
}

func newSuspect(c queue.Claimed) *suspect {
	return &suspect{job: c, wrote: make(chan struct{}), late: time.After(suspectAlone), apart: true}
}

// write records that the job has reached its first write. It is safe for concurrent use.
func (s *suspect) write() { s.once.Do(func() { close(s.wrote) }) }

// isSuspect reports whether a job has killed workers before and still may run.
func isSuspect(c queue.Claimed) bool {
	return c.Crashes >= queue.CrashesAlone && !c.Poisoned()
}

// apart reports whether a suspect holds claims back.
func (r *run) apart() bool { return r.suspect != nil && r.suspect.apart }

// rejoin lets claims go on.
func (r *run) rejoin() { r.suspect.apart, r.maybeDue = false, true }
