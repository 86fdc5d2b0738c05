package worker

import (
	"sync"
	"time"

	"otpost/internal/queue"
)

const (
	// how long a suspect holds claims back at most: longer than a mail is composed and signed
	suspectAlone = 100 * time.Millisecond
	suspectAgain = time.Second // when a suspect comes back that met another one
)

// suspect is a job at work that has killed workers. No other suspect runs beside it. It holds claims back
// only until it asks MayStart, which is before its first write to the network: what is opened, composed and
// signed until then is what may kill.
type suspect struct {
	job   queue.Claimed
	wrote chan struct{} // closed when it asked
	once  sync.Once
	late  <-chan time.Time // when it holds claims back no longer, whatever it does
	apart bool             // it holds claims back
}

func newSuspect(c queue.Claimed) *suspect {
	return &suspect{job: c, wrote: make(chan struct{}), late: time.After(suspectAlone), apart: true}
}

// write takes note that the job has come to its first write. It is safe for concurrent use.
func (s *suspect) write() { s.once.Do(func() { close(s.wrote) }) }

// isSuspect reports whether a job is to run without another suspect beside it.
func isSuspect(c queue.Claimed) bool {
	return c.Crashes >= queue.CrashesAlone && !c.Poisoned()
}

// apart reports whether a suspect holds claims back.
func (r *run) apart() bool { return r.suspect != nil && r.suspect.apart }

// rejoin lets claims go on.
func (r *run) rejoin() { r.suspect.apart, r.maybeDue = false, true }
