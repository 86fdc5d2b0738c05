package test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"otpost/test/e2e"
)

// TestKillLoop kills worker or server with -9 at random moments while logins come in, and starts it again. No login that was
// answered with a challenge loses its mail, no mail comes after its code's end, and a mail comes once but for kills that hit
// the moment between dot and outcome. OTPOST_SOAK=n makes n rounds of it.
func TestKillLoop(t *testing.T) {
	t.Parallel()
	rounds := 10
	if n, err := strconv.Atoi(os.Getenv("OTPOST_SOAK")); err == nil && n > 0 {
		rounds = n
	}
	w := newWorld(t, "--workers", "0")
	w.sink.Use(func(e2e.Stage, e2e.Mail) error {
		<-time.After(rand.N(15 * time.Millisecond)) // so that kills hit every stage
		return nil
	})
	k := &killLoop{world: w, worker: w.Worker(t), ids: map[string]bool{}}
	for round := range rounds {
		k.round(t, round)
	}
	w.settled(t)
	copies, extra := map[int]int{}, 0
	for _, l := range k.expected {
		n := len(w.sink.Mails(l.address))
		copies[n]++
		extra += n - 1
	}
	t.Logf("%d kills (%d of the server), %d of %d logins answered, mails by their number of copies: %v",
		rounds, k.serverKills, len(k.expected), rounds*loginsPerRound, copies)
	if extra > rounds*32 {
		t.Errorf("%d extra copies: more than there can have been messages in flight", extra)
	}
}

const loginsPerRound = 12

type killLoop struct {
	*world
	worker      *e2e.Worker
	serverKills int
	expected    []*login
	ids         map[string]bool
}

// round lets logins come in, kills in the middle of them, starts again, and wants what was promised.
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
			if a, err := client.Check(t.Context(), l.serial, l.pin); err == nil && a.Result.Authentication == "CHALLENGE" {
				answered.Store(l, a.Detail.TransactionID)
			} else if err == nil {
				t.Errorf("%s: %s", l.serial, a)
			}
		})
	}
	<-time.After(rand.N(span))
	if round%3 == 2 {
		k.serverKills++
		k.server.Kill()
		k.server = k.Serve(t, "--workers", "0")
	} else {
		k.worker.Kill()
		k.worker = k.Worker(t)
	}
	all.Wait()
	for _, l := range logins {
		if transaction, ok := answered.Load(l); ok {
			l.transaction = transaction.(string)
			k.want(t, l)
		}
	}
}

// want wants a login's mail: there in time, every copy the same, its code good.
func (k *killLoop) want(t *testing.T, l *login) {
	t.Helper()
	k.expected = append(k.expected, l)
	k.delivered(t, l)
	m := k.sameMail(t, l, 2)
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
	case <-time.After(500 * time.Millisecond): // a server that drops everything has ended by now
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
