package delivery_test

import (
	"testing"
	"time"

	"otpost/internal/delivery"
	"otpost/internal/store"
)

// fillEnded makes n deliveries that ended a time ago, with a waiter and an attempt each.
func (r *rig) fillEnded(n int, ago time.Duration) {
	r.t.Helper()
	r.fillOpen(n, false)
	r.write(func(tx *store.Tx) {
		tx.Put(`UPDATE delivery SET state = 'accepted', updated_ms = $1`, store.Millis(r.db.Now().Add(-ago)))
		tx.Put(`INSERT INTO attempt (delivery_id, number, route, owner, started_ms, class, phase, phases,
				reply_code, enhanced, text)
			SELECT id, 1, 'queued', 'w', 1, 'accepted', 'reply', '[]', 250, '', '' FROM delivery`)
	})
}

const days = 24 * time.Hour

func TestRetentionDeletesADeliveryWithItsAttemptsAndWaiters(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.fillEnded(700, 31*days)
	open, _ := r.put("queued")
	young, _ := r.deferred()
	r.relay()
	if got := r.number(`SELECT count(*) FROM delivery`); got != 2 {
		t.Errorf("%d deliveries are left, want the two that wait", got)
	}
	if got := r.number(`SELECT count(*) FROM attempt`) + r.number(`SELECT count(*) FROM waiter`); got != 3 {
		t.Errorf("%d attempts and waiters are left, want those of the two that wait", got)
	}
	r.wantState(open, delivery.Queued)
	r.wantState(young, delivery.Deferred)
}

// 1,000 mails a second is the bar: so many rows become old in each second.
func TestRetentionKeepsUpWithAThousandMailsASecond(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	const seconds = 6
	r.fillEnded(1000*seconds, 31*days)
	round := r.rounds("relay")
	for range seconds {
		round()
		r.clock.Advance(time.Second)
	}
	if got := r.number(`SELECT count(*) FROM delivery`); got != 0 {
		t.Errorf("%d old deliveries are left after %d s", got, seconds)
	}
}

func TestRetentionKeepsWhatTheSettingSays(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		keep, ago time.Duration
		kept      bool
	}{
		{0, 30*days - time.Second, true}, {0, 30*days + time.Second, false}, {-1, 4000 * days, true},
		{days, days - time.Second, true},
		{days, days + time.Second, false},
	} {
		r := newRig(t)
		r.Service = delivery.New(func() delivery.Options { o := r.Options; o.Keep = c.keep; return o }())
		r.fillEnded(1, c.ago)
		r.relay()
		if got := r.number(`SELECT count(*) FROM delivery`) == 1; got != c.kept {
			t.Errorf("keep %v, ended %v ago: kept %v", c.keep, c.ago, got)
		}
	}
}
