package delivery_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"otpost/internal/delivery"
	"otpost/internal/mail"
	"otpost/internal/queue"
	"otpost/internal/secret"
	"otpost/internal/store"
)

// definitions are mail servers whose definition cannot be had as it should, from some moment on.
type definitions struct {
	*server
	err error
}

func (d *definitions) Server(ctx context.Context, identifier string) (mail.Server, error) {
	found, err := d.server.Server(ctx, identifier)
	return found, errors.Join(err, d.err)
}

// What keeps otpost from asking a mail server is told by its cause, in the request as by a worker: with a reason, on
// an attempt and in one line of the log.
func TestErrorBeforeTheConnectionIsToldByItsCause(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err    error
		reason delivery.Reason
		advice string
		says   delivery.Diagnosis
	}{
		"a password that does not open": {fmt.Errorf("password: %w", secret.ErrSealed), delivery.NoSecret,
			"type the password", delivery.DiagnosisSecret},
		"no such server":        {store.ErrNotFound, delivery.NoRoute, "define the SMTP server", delivery.DiagnosisNoRoute},
		"a database that fails": {errors.New("disk I/O error"), delivery.NoServer, "has the database's error", delivery.DiagnosisInternal},
	} {
		for _, route := range []string{"queued", "inline"} {
			r := newRig(t)
			d := &definitions{server: r.server}
			r.Channels = delivery.Channels{delivery.Mail: delivery.NewMail(d, r.server)}
			ticket, _ := r.put(route)
			d.err = c.err
			if route == "inline" {
				if o := r.Dispatch(t.Context(), ticket)[0]; o.State != delivery.Failed {
					t.Errorf("%s, %s: outcome %+v", name, route, o)
				}
			} else {
				for tries := 0; !r.record(ticket).State.Final(); tries++ {
					if tries == 100 {
						t.Fatalf("%s, %s: no end after %d tries", name, route, tries)
					}
					got := r.work(workerA, ticket, queue.Claimed{})
					if got.Action == queue.Retry {
						r.clock.Advance(max(got.RunAt.Sub(r.clock.Now()), 0))
					}
				}
			}
			got, log := r.record(ticket), r.log.String()
			if got.State != delivery.Failed || got.Reason != c.reason || strings.Count(log, "level=ERROR") != 1 ||
				!strings.Contains(log, c.advice) {
				t.Errorf("%s, %s: %s (%s), log:\n%s", name, route, got.State, got.Reason, log)
			}
			if n := len(got.Attempts); n == 0 || !strings.Contains(got.Attempts[n-1].Text, c.err.Error()) ||
				got.Diagnosis() != c.says {
				t.Errorf("%s, %s: attempts %+v", name, route, got.Attempts)
			}
		}
	}
}

// A login needs nothing of a server but its box and its sender.
func TestPasswordThatDoesNotOpenFailsNoLogin(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	d := &definitions{server: r.server, err: fmt.Errorf("password: %w", secret.ErrSealed)}
	r.Channels = delivery.Channels{delivery.Mail: delivery.NewMail(d, r.server)}
	for _, route := range []string{"queued", "inline"} {
		r.put(route)
	}
}

// A database that takes nothing in a request: the answer is a refusal, and later the row says why.
func TestInterruptedRequestIsNoUnknownReply(t *testing.T) {
	t.Parallel()
	for _, lasts := range []bool{false, true} {
		r := newRig(t)
		ticket, _ := r.put("inline")
		failing := true
		r.OnOutcome = func(*store.Tx, delivery.Outcome) error {
			if failing {
				failing = lasts
				return errors.New("disk I/O error")
			}
			return nil
		}
		r.server.script = []attempt{{before: delivery.ClassPermanent, code: 550}}
		if o := r.Dispatch(t.Context(), ticket)[0]; o.State != delivery.Failed || o.Reason != delivery.Interrupted {
			t.Errorf("outcome %+v", o)
		}
		failing = false
		r.clock.Advance(life + 3*time.Second)
		r.relay()
		want := delivery.Failed
		if lasts {
			want = delivery.Expired
		}
		if got := r.record(ticket); got.State != want || got.Reason != delivery.Interrupted {
			t.Errorf("%s (%s), want %s", got.State, got.Reason, want)
		}
	}
}

// A server that takes every message and never replies: the user gets three copies, not one for each try that fits.
func TestServerThatNeverRepliesGetsThreeCopies(t *testing.T) {
	t.Parallel()
	for _, deaths := range []int{0, 1} {
		r := newRig(t)
		ticket, _ := r.put("queued")
		for range deaths {
			r.crash(ticket, workerA)
			r.work(workerB, ticket, queue.Claimed{SweptOwner: workerA})
		}
		for range 20 {
			r.server.script = append(r.server.script, attempt{reply: delivery.ClassUnknown})
		}
		for range 20 {
			got := r.work(workerB, ticket, queue.Claimed{})
			if got.Action != queue.Retry {
				break
			}
			r.clock.Advance(max(got.RunAt.Sub(r.clock.Now()), 0))
		}
		if got := r.record(ticket); got.State != delivery.Unknown || got.Reason != delivery.NoReply ||
			len(r.server.sent) != 3 {
			t.Errorf("%s (%s) after %d copies, want unknown after 3", got.State, got.Reason, len(r.server.sent))
		}
	}
}

// A database that fails interrupts each message each second: the log has one line a minute.
func TestInterruptionsAreLoggedOnceAMinute(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ticket, _ := r.put("queued")
	r.write(func(tx *store.Tx) { tx.Put(`UPDATE delivery SET attempts = 'damaged' WHERE id = $1`, ticket.ID[:]) })
	for range 90 {
		if got := r.work(workerA, ticket, queue.Claimed{}); got.Action != queue.Retry {
			t.Fatalf("job %+v", got)
		}
		r.clock.Advance(time.Second)
	}
	if n := strings.Count(r.log.String(), "delivery interrupted"); n != 2 {
		t.Errorf("%d lines in 90 s, want 2", n)
	}
}

// A row whose seal does not open under its own key file was changed: the advice is not to put another key file back.
func TestDamagedRowIsToldApartFromAnotherKeyFile(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		set    string
		reason delivery.Reason
	}{
		{`serial = 'OTHER'`, delivery.Damaged},
		{`route = 'other'`, delivery.Damaged},
		{`channel = 'other'`, delivery.Damaged},
		{`not_after_ms = not_after_ms + 1`, delivery.Damaged},
		{`sealed = x'00'`, delivery.Damaged},
		{`message_id = 'junk'`, delivery.Damaged},
		{`message_id = message_id || char(13, 10) || 'Bcc: eve@example.com'`, delivery.Damaged},
		{`message_id = printf('%s%.*c', message_id, 100000, 'x')`, delivery.Damaged},
		{`message_id = 'of-another-key@example.com', sealed = x'00'`, delivery.Unreadable},
	} {
		r := newRig(t)
		ticket, _ := r.put("queued")
		r.write(func(tx *store.Tx) { tx.Put(`UPDATE delivery SET ` + c.set) })
		r.work(workerA, ticket, queue.Claimed{})
		got, log := r.record(ticket), r.log.String()
		if got.State != delivery.Failed || got.Reason != c.reason || len(r.server.sent) != 0 {
			t.Errorf("%s: %s (%s), %d mails", c.set, got.State, got.Reason, len(r.server.sent))
		}
		if strings.Contains(log, "put the key file") != (c.reason == delivery.Unreadable) {
			t.Errorf("%s: log:\n%s", c.set, log)
		}
	}
}
