package test

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"otpost/test/e2e"
)

// soak returns the number of OTPOST_SOAK; 0: it is not set, and tests are short.
func soak() int {
	n, err := strconv.Atoi(os.Getenv("OTPOST_SOAK"))
	if err != nil {
		return 0
	}
	return n
}

// outage is a way to lose Redis, or its data, under load.
type outage struct {
	name        string
	short, long time.Duration // how long it is away; long: with OTPOST_SOAK
	begin, end  func(t *testing.T, s *stream)
}

func outages() []outage {
	start := func(t *testing.T, s *stream) { t.Helper(); s.redis.Start(t) }
	memory := func(bytes string) func(t *testing.T, s *stream) {
		return func(t *testing.T, s *stream) { t.Helper(); s.redis.Do(t, 0, "CONFIG", "SET", "maxmemory", bytes) }
	}
	return []outage{
		{"it answers no more", 8 * time.Second, time.Minute, func(t *testing.T, s *stream) {
			t.Helper()
			s.redis.Pause(t)
		},
			func(t *testing.T, s *stream) { t.Helper(); s.redis.Resume(t) }},
		{"it is stopped", 5 * time.Second, time.Minute, func(t *testing.T, s *stream) {
			t.Helper()
			s.redis.Stop(t)
		}, start},
		{"it is killed and loses its last second", 2 * time.Second, 10 * time.Second, loseASecond, start},
		{"FLUSHALL", 0, 0, flush, func(*testing.T, *stream) {}},
		{"it is full", 3 * time.Second, 30 * time.Second, memory("1"), memory("0")},
	}
}

// backlog holds the mail server until more mails wait than a worker sends at once, so that jobs are
// in Redis. Opening the gate continues.
func (s *stream) backlog(t *testing.T) *e2e.Gate {
	t.Helper()
	gate := s.sink.Hold(t, e2e.AtRcpt)
	gate.Wait(t)
	e2e.Eventually(t, "a backlog in Redis", func() bool {
		answer := s.redis.Do(t, 0, "ZCARD", "otpost:{huey}:ready:delivery.send/queued:0")
		n, err := answer.AsInt64()
		return err == nil && n >= 20
	})
	return gate
}

// loseASecond kills Redis and cuts the last second off its journal, with waiting jobs in it.
func loseASecond(t *testing.T, s *stream) {
	t.Helper()
	mark := s.redis.Mark(t)
	gate := s.backlog(t)
	<-time.After(time.Second) // at least the second that is lost
	s.redis.Kill(t)
	gate.Open()
	if lost := s.redis.CutTo(t, mark); lost == 0 {
		t.Error("nothing was written in the second before")
	} else {
		t.Logf("%d bytes of the journal lost", lost)
	}
}

// flush empties Redis while jobs wait there.
func flush(t *testing.T, s *stream) {
	t.Helper()
	gate := s.backlog(t)
	s.redis.Do(t, 0, "FLUSHALL")
	gate.Open()
}

// TestLoginsGoOnWithoutRedis takes Redis away while logins come in: each is answered with a
// challenge, and its mail comes once.
func TestLoginsGoOnWithoutRedis(t *testing.T) {
	t.Parallel()
	for _, o := range outages() {
		t.Run(o.name, func(t *testing.T) {
			t.Parallel()
			s := &stream{world: newWorldOn(t, inRedis), perSecond: 50}
			s.Worker(t)
			length := o.short
			if soak() > 0 {
				length, s.perSecond = o.long, 100
			}
			const beside = 2 * time.Second // before it and after it
			for i := range int((length + 2*beside).Seconds()) * s.perSecond {
				s.logins = append(s.logins, s.enrol(t, fmt.Sprintf("STREAM%d", i)))
			}
			done := s.run(t)
			<-time.After(beside)
			o.begin(t, s)
			gone := time.Now()
			<-time.After(length)
			o.end(t, s)
			back := time.Now()
			<-done
			s.check(t, gone, back)
		})
	}
}

// underway is how many logins of a stream run at once. On a busy machine the stream is slower, so
// that the server does not refuse it as too much.
const underway = 8

// stream is logins that come in at a steady rate at most, each with a token of its own.
type stream struct {
	*world
	perSecond int
	logins    []*login
	begun     []time.Time     // by login
	answers   []time.Duration // by login
}

// run begins the logins; the channel is closed when all are answered. A login without a challenge
// fails the test.
func (s *stream) run(t *testing.T) <-chan struct{} {
	s.begun, s.answers = make([]time.Time, len(s.logins)), make([]time.Duration, len(s.logins))
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(time.Second / time.Duration(s.perSecond))
		defer tick.Stop()
		var all sync.WaitGroup
		places := make(chan struct{}, underway)
		for i, l := range s.logins {
			<-tick.C
			places <- struct{}{}
			all.Go(func() {
				defer func() { <-places }()
				s.begun[i] = time.Now()
				a, err := s.server.Check(t.Context(), l.serial, l.pin)
				if err != nil || a.Result.Authentication != "CHALLENGE" {
					t.Errorf("%s: %v %s", l.serial, err, a)
				}
				l.transaction, s.answers[i] = a.Detail.TransactionID, a.Took
			})
		}
		all.Wait()
	}()
	return done
}

// check waits for the mails and expects one of each, in time, with a good code.
func (s *stream) check(t *testing.T, gone, back time.Time) {
	t.Helper()
	var last time.Time
	for i, l := range s.logins {
		if l.transaction == "" {
			continue
		}
		m := s.sink.Mail(t, l.address, 1)
		if s.begun[i].Before(back) && m.At.After(last) {
			last = m.At
		}
		s.delivered(t, l)
		l.finish(t, s.server.Client, m)
	}
	s.settled(t)
	for _, l := range s.logins {
		s.oneCopy(t, l)
	}
	during, beside := s.medians(gone, back)
	slices.Sort(s.answers)
	n := len(s.answers)
	t.Logf("away for %s under %d logins a second: %d logins, answered in %s (median), %s (99 %%), %s (longest); the "+
		"last mail %s after its return",
		back.Sub(gone).Round(time.Millisecond), s.perSecond, n, s.answers[n/2].Round(time.Millisecond),
		s.answers[n*99/100].Round(time.Millisecond),
		s.answers[n-1].Round(time.Millisecond), last.Sub(back).Round(time.Millisecond))
	if during > 3*beside+200*time.Millisecond { // a call to a Redis that hangs takes 500 ms at least
		t.Errorf("half of the logins took more than %s while Redis was away, %s before and after it", during, beside)
	}
}

// medians returns the median time of logins that began while Redis was away, and of all other
// logins.
func (s *stream) medians(gone, back time.Time) (during, beside time.Duration) {
	var away, there []time.Duration
	for i, took := range s.answers {
		if s.begun[i].After(gone) && s.begun[i].Before(back) {
			away = append(away, took)
		} else {
			there = append(there, took)
		}
	}
	median := func(all []time.Duration) time.Duration {
		slices.Sort(all)
		if len(all) == 0 {
			return 0
		}
		return all[len(all)/2]
	}
	return median(away), median(there)
}
