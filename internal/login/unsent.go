package login

import (
	"sync"
	"time"
)

const (
	unsentAgain = time.Minute // how long the same is not logged again
	mostUnsent  = 1000        // what is remembered for that
)

// warnUnsent logs why a token that should have challenged got no message: the user reads only that it could not be
// sent, and there is no delivery to look at. The same of a token is logged once a minute.
func (s *Service) warnUnsent(sub subject, serial, why string) {
	if s.unsent.first(s.DB.Now(), serial+" "+why) {
		s.Log.Warn("challenge not sent, there is no message", "user", sub.user.Login, "realm", sub.user.Realm,
			"serial", serial, "reason", why)
	}
}

// unsent remembers what was logged within unsentAgain. It is safe for concurrent use.
type unsent struct {
	mu   sync.Mutex
	told map[string]time.Time
}

// first reports whether what was not logged within unsentAgain. While too much is remembered it forgets all of it.
func (u *unsent) first(now time.Time, what string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if age := now.Sub(u.told[what]); age >= 0 && age < unsentAgain {
		return false
	}
	if u.told == nil || len(u.told) >= mostUnsent {
		u.told = make(map[string]time.Time)
	}
	u.told[what] = now
	return true
}
