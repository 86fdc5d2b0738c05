package test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"
	"time"

	"otpost/test/e2e"
)

// TestKillLoop kills worker, server or both with -9 at random moments while logins come in, and
// starts them again. No login that was answered with a challenge loses its mail; a mail comes once,
// or twice after a kill between dot and outcome. OTPOST_SOAK=n makes n rounds of it.
func TestKillLoop(t *testing.T) {
	t.Parallel()
	rounds := 10
	if n := soak(); n > 0 {
		rounds = n
	}
	for _, c := range []struct {
		name, workers string
	}{{"external worker", "0"}, {"workers in the server", "4"}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			k := &killLoop{world: newWorld(t, "--workers", c.workers), workers: c.workers, ids: map[string]bool{}}
			k.sink.Use(func(e2e.Stage, e2e.Mail) error {
				<-time.After(rand.N(15 * time.Millisecond)) // so that kills hit every stage
				return nil
			})
			if k.workers == "0" {
				k.worker = k.Worker(t)
			}
			for round := range rounds {
				k.round(t, round)
			}
			k.settled(t)
			k.report(t, rounds)
		})
	}
}

const loginsPerRound = 12

type killLoop struct {
	*world
	workers     string      // in the server
	worker      *e2e.Worker // the external one; nil when the server has its own
	serverKills int
	workerKills int
	redisKills  int
	mark        int64 // of Redis' journal: at least a second before it is killed
	late        int   // mails that came after their code's end
	expected    []*login
	ids         map[string]bool
}

// kill kills this round's processes and starts them again.
func (k *killLoop) kill(t *testing.T, round int) {
	t.Helper()
	if k.redis != nil {
		k.killInTurn(t, round)
		return
	}
	server := k.worker == nil || round%4 >= 2
	worker := k.worker != nil && round%4 != 2
	if server {
		k.serverKills++
		k.server.Kill()
	}
	if worker {
		k.workerKills++
		k.worker.Kill()
		k.worker = k.Worker(t)
	}
	if server {
		k.server = k.Serve(t, "--workers", k.workers)
	}
}

// report counts the copies at the end, when no mail is being sent.
func (k *killLoop) report(t *testing.T, rounds int) {
	t.Helper()
	copies, extra := map[int]int{}, 0
	for _, l := range k.expected {
		n := len(k.sink.Mails(l.address))
		copies[n]++
		extra += n - 1
	}
	t.Logf("%d rounds (%d kills of the server, %d of the worker, %d of Redis), %d of %d logins answered, mails by "+
		"their number of copies: %v; after their code's end: %d",
		rounds, k.serverKills, k.workerKills, k.redisKills, len(k.expected), rounds*loginsPerRound, copies, k.late)
	if kills := k.serverKills + k.workerKills + k.redisKills; extra > 4*kills {
		t.Errorf("%d second copies after %d kills: more than the messages that were under way", extra, kills)
	}
}

// round lets logins come in, kills in the middle of them, starts again, and checks the promises.
func (k *killLoop) round(t *testing.T, round int) {
	t.Helper()
	const span = 250 * time.Millisecond
	var logins []*login
	for i := range loginsPerRound {
		logins = append(logins, k.enrol(t, fmt.Sprintf("KILL%dX%d", round, i)))
	}
	var answered sync.Map
	var all sync.WaitGroup
	client := k.server.Client
	for _, l := range logins {
		all.Go(func() {
			<-time.After(rand.N(span))
			if a, err := client.Check(t.Context(), l.serial, l.pin); err == nil &&
				a.Result.Authentication == "CHALLENGE" {
				answered.Store(l, a.Detail.TransactionID)
			} else if err == nil {
				t.Errorf("%s: %s", l.serial, a)
			}
		})
	}
	<-time.After(rand.N(span))
	k.kill(t, round)
	all.Wait()
	for _, l := range logins {
		if transaction, ok := answered.Load(l); ok {
			l.transaction = transaction.(string)
			k.want(t, l)
		}
	}
}

// want checks a login's mail: in time, all copies equal, its code good.
func (k *killLoop) want(t *testing.T, l *login) {
	t.Helper()
	k.expected = append(k.expected, l)
	end, err := time.Parse(time.RFC3339Nano, k.server.Poll(t, l.transaction).Detail.Delivery.ValidUntil)
	if err != nil {
		t.Errorf("%s: valid_until: %v", l.serial, err)
	}
	k.delivered(t, l)
	m := k.sameMail(t, l, 2)
	if !m.At.Before(end) {
		k.late++
		t.Errorf("%s: the mail came at %s, after its code's end %s", l.serial, m.At, end)
	}
	if k.ids[m.MessageID] {
		t.Errorf("%s: another mail has the Message-ID %q", l.serial, m.MessageID)
	}
	k.ids[m.MessageID] = true
	l.finish(t, k.server.Client, m)
}

// TestServerWithItsOwnWorkersStopsGracefully ends a server whose workers are sending: what was on its way is finished.
func TestServerWithItsOwnWorkersStopsGracefully(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	gate := w.sink.Hold(t, e2e.AtDot)
	l := w.enrol(t, "STOPPED")
	l.begin(t, w.server.Client)
	gate.Wait(t)
	w.server.Signal(t, syscall.SIGTERM)
	select {
	case <-time.After(500 * time.Millisecond): // a server that drops its work has ended by now
	case <-ended(w.server.Process):
		t.Fatal("the server ended while a mail was being sent")
	}
	gate.Open()
	if code := w.server.Wait(t); code != 0 {
		t.Errorf("exit code %d, want 0; stderr: %s", code, w.server.Err)
	}
	w.server = w.Serve(t)
	w.delivered(t, l)
	l.finish(t, w.server.Client, w.oneCopy(t, l))
}
