package login

import (
	"sync"
	"time"
)

const (
	unsentEvery = time.Minute // minimum interval between two log lines with the same text
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

// unsent remembers what was logged within unsentEvery. It is safe for concurrent use.
type unsent struct {
	mu     sync.Mutex
	logged map[string]time.Time
}

// first reports whether what was not logged within unsentEvery. While too much is remembered it forgets all of it.
func (u *unsent) first(now time.Time, what string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if age := now.Sub(u.logged[what]); age >= 0 && age < unsentEvery {
		return false
	}
	if u.logged == nil || len(u.logged) >= mostUnsent {
		u.logged = make(map[string]time.Time)
	}
	u.logged[what] = now
	return true
}
