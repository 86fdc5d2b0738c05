package delivery_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"otpost/internal/delivery"
	"otpost/internal/queue"
	"otpost/internal/store"
)

// A gate that refuses the dot: nothing is sent, the row says what happened meanwhile, and the job is done or
// comes back.
func TestRefusedDotDecidesRowAndJob(t *testing.T) { onEachChannel(t, testRefusedDotDecidesRowAndJob) }

func testRefusedDotDecidesRowAndJob(t *testing.T, newRig rigMaker) {
	type refused struct {
		*rig
		ticket    delivery.Ticket
		challenge uuid.UUID
		fresh     bool
		fails     bool // OnOutcome, and with it the transaction
	}
	for name, c := range map[string]struct {
		meanwhile func(r *refused)
		state     delivery.State
		action    queue.Action
		in        time.Duration // of a job that comes back
		attempts  int
		sent      int
	}{
		"answered": {func(r *refused) { r.drop(r.challenge) }, delivery.Dropped, queue.Done, 0, 0, 0},
		"too late": {func(r *refused) { r.clock.Advance(life) }, delivery.Expired, queue.Done, 0, 1, 0},
		"due now by an administrator": {func(r *refused) {
			r.write(func(tx *store.Tx) { tx.Put(`UPDATE delivery SET epoch = epoch + 1`) })
		}, delivery.Queued, queue.Retry, time.Second, 0, 0},
		"sent by another worker": {func(r *refused) { r.work(workerB, r.ticket, queue.Claimed{}) }, delivery.Accepted, queue.Done, 0, 1, 1},
		"lease lapsed":           {func(r *refused) { r.fresh = false }, delivery.Queued, queue.Retry, time.Second, 0, 0},
		"database fails": {func(r *refused) {
			r.clock.Advance(life)
			r.fails = true
		}, delivery.Queued, queue.Retry, time.Second, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := &refused{rig: newRig(t), fresh: true}
			r.OnOutcome = func(*store.Tx, delivery.Outcome) error {
				if r.fails {
					return errors.New("disk I/O error")
				}
				return nil
			}
			r.ticket, r.challenge = r.put("queued")
			r.server.script = []attempt{{early: func() { c.meanwhile(r) }}}
			claim := queue.Claimed{Job: queue.Job{ID: r.ticket.ID, Kind: delivery.Kind}, Worker: workerA}
			got := r.Handle(t.Context(), claim, func() bool { return r.fresh })
			r.wantState(r.ticket, c.state)
			want := time.Time{}
			if c.action == queue.Retry {
				want = r.clock.Now().Add(c.in)
			}
			if got.Action != c.action || !got.RunAt.Equal(want) {
				t.Errorf("job: action %d at %v, want %d at %v", got.Action, got.RunAt, c.action, want)
			}
			if n := len(r.record(r.ticket).Attempts); n != c.attempts || len(r.server.sent) != c.sent {
				t.Errorf("%d attempts and %d dots, want %d and %d", n, len(r.server.sent), c.attempts, c.sent)
			}
		})
	}
}

// A channel with a fault: before the commit the attempt counts as one without a connection, after it as one
// without a reply.
func TestFaultOfAChannelIsAnAttempt(t *testing.T) { onEachChannel(t, testFaultOfAChannelIsAnAttempt) }

func testFaultOfAChannelIsAnAttempt(t *testing.T, newRig rigMaker) {
	panics := func() { panic("a fault of the channel") }
	for name, c := range map[string]struct {
		attempt
		class  delivery.Class
		sent   int
		inline delivery.State
	}{
		"panics before the dot": {attempt{early: panics}, delivery.ClassUnreachable, 0, delivery.Failed},
		"panics at the dot":     {attempt{atDot: panics}, delivery.ClassUnknown, 0, delivery.Unknown},
		"panics after the dot":  {attempt{afterDot: panics}, delivery.ClassUnknown, 1, delivery.Unknown},
		"commits twice":         {attempt{twice: true, reply: delivery.ClassAccepted}, delivery.ClassUnknown, 1, delivery.Unknown},
	} {
		for _, route := range []string{"queued", "inline"} {
			t.Run(name+", "+route, func(t *testing.T) {
				t.Parallel()
				r := newRig(t, c.attempt)
				ticket, _ := r.put(route)
				want := c.inline
				if route == "inline" {
					if o := r.Dispatch(t.Context(), ticket)[0]; o.State != want || o.Promising() {
						t.Errorf("outcome %+v", o)
					}
				} else {
					want = delivery.Deferred
					got := r.work(workerA, ticket, queue.Claimed{})
					if got.Action != queue.Retry || !got.RunAt.Equal(r.record(ticket).NextTry) {
						t.Errorf("job %+v", got)
					}
				}
				d := r.record(ticket)
				if d.State != want || len(d.Attempts) != 1 || len(r.server.sent) != c.sent {
					t.Fatalf("%s after %d attempts and %d dots", d.State, len(d.Attempts), len(r.server.sent))
				}
				a := d.Attempts[0]
				if a.Class != string(c.class) || a.Diagnosis != delivery.DiagnosisInternal || a.Text == "" || a.Ended == nil {
					t.Errorf("attempt %+v", a)
				}
				if n := strings.Count(r.log.String(), `msg="channel panicked"`); (n == 1) != strings.HasPrefix(name, "panics") {
					t.Errorf("%d lines", n)
				}
			})
		}
	}
}

// A channel that answers after another worker has taken the message over: the state stays, the answer goes
// onto its attempt.
func TestSecondAnswerChangesNoState(t *testing.T) { onEachChannel(t, testSecondAnswerChangesNoState) }

func testSecondAnswerChangesNoState(t *testing.T, newRig rigMaker) {
	for _, late := range []delivery.Class{delivery.ClassAccepted, delivery.ClassTemporary, delivery.ClassPermanent} {
		r := newRig(t)
		ticket, _ := r.put("queued")
		r.server.script = []attempt{{reply: late, text: "late", afterDot: func() { // it stalls until its time to report is over
			r.clock.Advance(66 * time.Second)
			r.work(workerB, ticket, queue.Claimed{})
			r.server.script = []attempt{{reply: delivery.ClassAccepted, text: "first"}}
			r.work(workerB, ticket, queue.Claimed{})
		}}}
		if got := r.work(workerA, ticket, queue.Claimed{}); got.Action != queue.Done {
			t.Errorf("%s: job %+v", late, got)
		}
		r.wantState(ticket, delivery.Accepted)
		a := r.record(ticket).Attempts
		if len(a) != 2 || a[0].Class != string(late) || a[0].Text != "late" || a[1].Text != "first" || len(r.server.sent) != 2 {
			t.Errorf("%s: attempts %+v", late, a)
		}
		if len(r.ended) != 1 {
			t.Errorf("%s: %d outcomes", late, len(r.ended))
		}
	}
}

// A route of a channel that this program does not have.
func TestMessageOfAnUnknownChannelIsNotSent(t *testing.T) {
	t.Parallel()
	r := newRigOn(t, slice)
	ticket, _ := r.put("queued")
	if _, err := r.prepare(uuid.Must(uuid.NewV7()), delivery.Message{Channel: "pigeon", Route: "queued"}); !errors.Is(err, delivery.ErrNoRoute) {
		t.Error(err)
	}
	delete(r.Channels, slice)
	if got := r.work(workerA, ticket, queue.Claimed{}); got.Action != queue.Done {
		t.Errorf("job %+v", got)
	}
	if d := r.record(ticket); d.State != delivery.Failed || d.Reason != delivery.NoRoute || d.Channel != slice {
		t.Errorf("%s (%s) of %q", d.State, d.Reason, d.Channel)
	}
}

// The diagnoses that delivery makes are among those that mail has a sentence for.
func TestEachDiagnosisHasASentence(t *testing.T) {
	t.Parallel()
	for _, d := range []delivery.Diagnosis{
		delivery.DiagnosisTimeout, delivery.DiagnosisTooLate, delivery.DiagnosisNoWorker, delivery.DiagnosisSecret,
		delivery.DiagnosisContent, delivery.DiagnosisNoRoute, delivery.DiagnosisInternal,
	} {
		if d.Sentence("at mail.example:25", "250") == "" {
			t.Errorf("%s has no sentence", d)
		}
	}
}
