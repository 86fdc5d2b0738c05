package test

import (
	"fmt"
	"testing"
	"time"

	"otpost/test/e2e"
)

// Redis is silent for longer than a lease while the replies to ten dots are awaited, by two worker
// processes of a host: neither has died, and neither may send a mail that the other one is sending.
func TestRedisThatIsSilentForALeaseHasNoMailSentTwice(t *testing.T) {
	t.Parallel()
	w := newWorldOn(t, inRedis)
	for range 2 {
		w.Worker(t)
	}
	answered := make(chan struct{})
	w.sink.Use(func(s e2e.Stage, m e2e.Mail) error {
		if s == e2e.AtDot && len(w.sink.Mails(m.To)) == 1 { // the first copy
			<-answered
		}
		return nil
	})
	var all []*login
	for i := range 10 {
		all = append(all, w.enrol(t, fmt.Sprintf("SILENT%d", i)))
	}
	for _, l := range all {
		l.begin(t, w.server.Client)
	}
	e2e.Eventually(t, "ten dots", func() bool { return w.sink.Count() == 10 })
	<-time.After(time.Second) // sweeps have seen the peers
	w.redis.Pause(t)
	<-time.After(11 * time.Second)
	w.redis.Resume(t)
	// a peer that takes an unregistered worker for dead sends within a fraction of a second
	<-time.After(3 * time.Second)
	close(answered)
	for _, l := range all {
		w.delivered(t, l)
		w.oneCopy(t, l)
	}
}
