package delivery_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"otpost/internal/delivery"
	"otpost/internal/queue"
)

// Workers implements queue.Driver.
func (a *away) Workers(context.Context) ([]queue.Seen, error) {
	if !a.back.Load() {
		return nil, errors.New("connection refused")
	}
	return nil, nil
}

// told returns the lines of a log that hold a message.
func told(log *bytes.Buffer, message string) (lines []string) {
	for line := range strings.Lines(log.String()) {
		if strings.Contains(line, message) {
			lines = append(lines, line)
		}
	}
	return lines
}

func TestOutageIsToldAtItsBeginEachMinuteAndAtItsEnd(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.without(delivery.Refuse)
	var log bytes.Buffer
	r.Log = slog.New(slog.NewTextHandler(&log, nil))
	dispatch := func(n int) {
		t.Helper()
		for range n {
			ticket, _ := r.put("queued")
			r.Dispatch(t.Context(), ticket)
		}
	}
	const begun, over = "job not enqueued", "jobs are enqueued again"
	dispatch(3)
	if lines := told(&log, begun); len(lines) != 1 || !strings.Contains(lines[0], "jobs=1 ") {
		t.Fatalf("at the begin: %q", lines)
	}
	r.clock.Advance(time.Minute - time.Second)
	dispatch(2)
	r.clock.Advance(time.Second)
	dispatch(1)
	dispatch(4)
	if lines := told(&log, begun); len(lines) != 2 || !strings.Contains(lines[1], "jobs=5 ") { // two, two and one
		t.Fatalf("after a minute: %q", lines)
	}
	a.back.Store(true)
	dispatch(2)
	if lines := told(&log, over); len(lines) != 1 || !strings.Contains(lines[0], "missed=4") {
		t.Fatalf("at the end: %q", lines)
	}
	for range 5 { // it comes and goes
		a.back.Store(false)
		dispatch(1)
		a.back.Store(true)
		dispatch(1)
	}
	if b, o := told(&log, begun), told(&log, over); len(b) != 2 || len(o) != 1 {
		t.Fatalf("%d times begun and %d times over within a minute", len(b), len(o))
	}
	a.back.Store(false)
	r.clock.Advance(time.Minute)
	dispatch(1)
	if lines := told(&log, begun); len(lines) != 3 || !strings.Contains(lines[2], "jobs=6 ") {
		t.Fatalf("told after coming and going: %q", lines)
	}
}

func TestRelayTellsAnOutageAtItsBeginEachMinuteAndAtItsEnd(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.without(delivery.WaitInOutbox)
	var log bytes.Buffer
	r.Log, r.Queue = slog.New(slog.DiscardHandler), slog.New(slog.NewTextHandler(&log, nil))
	round := r.RelayRounds("one")
	rounds := func(d time.Duration) {
		t.Helper()
		for range d / time.Second {
			r.clock.Advance(time.Second)
			if err := round(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 3 {
		r.put("queued")
	}
	const begun, over = "queue out of reach, its mails wait", "queue takes mails again"
	rounds(life / 4)
	if lines := told(&log, begun); len(lines) != 1 || !strings.Contains(lines[0], "waiting=3 sent_here=0") {
		t.Fatalf("at the begin: %q", lines)
	}
	rounds(life / 2) // beyond half of their lives, when they are sent here
	r.put("queued")
	rounds(time.Minute / 2)
	if lines := told(&log, begun); len(lines) != 2 || !strings.Contains(lines[1], "sent_here=3") {
		t.Fatalf("after a minute: %q", lines)
	}
	a.back.Store(true)
	rounds(10 * time.Second)
	if lines := told(&log, over); len(lines) != 1 {
		t.Fatalf("at the end: %q", lines)
	}
}

// Nothing waits any more when the queue comes back, so that nothing but a look shows it.
func TestRelayTellsTheEndOfAnOutageWithoutMails(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.without(delivery.WaitInOutbox)
	var log bytes.Buffer
	r.Queue = slog.New(slog.NewTextHandler(&log, nil))
	round := r.RelayRounds("one")
	for i := range 120 {
		if i == 0 {
			r.put("queued")
		}
		a.back.Store(i >= 100)
		r.clock.Advance(time.Second)
		if err := round(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if lines := told(&log, "queue takes mails again"); len(lines) != 1 {
		t.Fatalf("log:\n%s", log.String())
	}
}

// Another process has become the relay meanwhile, and enqueues the rows.
func TestRelayThatIsNoLongerOneTellsTheEndOfItsOutage(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.without(delivery.WaitInOutbox)
	var log bytes.Buffer
	r.Queue = slog.New(slog.NewTextHandler(&log, nil))
	one, other := r.RelayRounds("one"), r.RelayRounds("other")
	r.put("queued")
	for i, round := range []func(context.Context) error{one, other, one} {
		if i < 2 { // the lease of the one before is over
			r.clock.Advance(5 * time.Second)
		}
		a.back.Store(i > 0)
		if err := round(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if b, e := told(&log, "its mails wait"), told(&log, "queue takes mails again"); len(b) != 1 || len(e) != 1 {
		t.Fatalf("log:\n%s", log.String())
	}
}

// slow is a queue outside the database that answers when it is let.
type slow struct {
	queue.Driver
	called, let chan struct{}
}

// Enqueue implements queue.Driver.
func (s *slow) Enqueue(context.Context, ...queue.Job) error {
	s.called <- struct{}{}
	<-s.let
	return nil
}

func TestDrainWaitsForWhatRequestsLeftBehind(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s := &slow{called: make(chan struct{}, 1), let: make(chan struct{})}
	r.Driver = s
	ticket, _ := r.put("queued")
	r.Service.Dispatch(t.Context(), ticket)
	<-s.called
	settled := make(chan struct{})
	go func() { r.Drain(); close(settled) }()
	select {
	case <-settled:
		t.Fatal("settled while a job is handed over")
	case <-time.After(50 * time.Millisecond): // to be seen at all, if it does not wait
	}
	close(s.let)
	<-settled
	late, _ := r.put("queued")
	if o := r.Dispatch(t.Context(), late)[0]; !o.Promising() { // a request that was not waited for
		t.Errorf("outcome %+v", o)
	}
	select {
	case <-s.called:
		t.Error("a job was handed over after that")
	default:
	}
}
