package test

import (
	"fmt"
	"testing"
	"time"

	"otpost/test/e2e"
)

// Redis is silent for longer than a lease while the replies to ten dots are awaited, by two worker processes of a
// host: none of them has died, and none may send what the other one has in hand.
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
	<-time.After(3 * time.Second) // a peer that takes a parting for a death sends within a fraction of a second
	close(answered)
	for _, l := range all {
		w.delivered(t, l)
		w.oneCopy(t, l)
	}
}
