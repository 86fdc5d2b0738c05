package delivery_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"otpost/internal/delivery"
	"otpost/internal/queue"
	"otpost/internal/queue/queuetest"
)

// overload lets messages come for a time, one a second, while a worker sends at most one in each gap. It returns how
// old each message was when it was sent.
func (r *rig) overload(lasting, gap time.Duration) (ages []time.Duration) {
	r.t.Helper()
	d := queuetest.NewMemory(r.db.Now)
	r.Driver = d
	if err := d.Register(r.t.Context(), queue.Worker{ID: workerA, Host: "h", Handlers: 1}); err != nil {
		r.t.Fatal(err)
	}
	made := map[uuid.UUID]time.Time{}
	next := r.clock.Now()
	for end := next.Add(lasting); r.clock.Now().Before(end); r.clock.Advance(time.Second) {
		ticket, _ := r.put("queued")
		made[ticket.ID] = r.clock.Now()
		if err := d.Enqueue(r.t.Context(), queue.Job{ID: ticket.ID, Kind: delivery.Kind,
			NotAfter: r.clock.Now().Add(life)}); err != nil {
			r.t.Fatal(err)
		}
		if err := d.Heartbeat(r.t.Context(), workerA); err != nil {
			r.t.Fatal(err)
		}
		for !r.clock.Now().Before(next) {
			id, found := r.handleOne(d)
			if !found {
				break
			}
			if len(r.server.sent) > len(ages) {
				ages = append(ages, r.clock.Now().Sub(made[id]))
				next = next.Add(gap)
			}
		}
	}
	return ages
}

// handleOne plays a worker with one handler.
func (r *rig) handleOne(d queue.Driver) (id uuid.UUID, found bool) {
	r.t.Helper()
	got, err := d.Claim(r.t.Context(), queue.ClaimRequest{Worker: workerA, Most: 1, Kinds: []string{delivery.Kind}})
	if err != nil {
		r.t.Fatal(err)
	}
	if len(got) == 0 {
		return id, false
	}
	result := r.Handle(r.t.Context(), got[0], func() bool { return true })
	if err := d.Report(r.t.Context(), workerA, result); err != nil {
		r.t.Fatal(err)
	}
	return got[0].ID, true
}

// Twice as many messages as can be sent, for three times the life of a code: those that are sent are of use.
func TestUnderLastingOverloadMailsArriveEarly(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ages := r.overload(3*life, 2*time.Second)
	if want := int(3*life/(2*time.Second)) - 2; len(ages) < want {
		t.Errorf("%d messages were sent, want %d: the server stood idle", len(ages), want)
	}
	late := slices.Clone(ages[len(ages)/2:]) // once the backlog is there
	slices.Sort(late)
	if median := late[len(late)/2]; median > life/4 {
		t.Errorf("the median message is %v old when it is sent, want at most %v", median, life/4)
	}
}

// After an outage of the workers nothing that is in time is given up: it costs a message a second.
func TestMailThatWaitedForAWorkerIsSentAMomentLater(t *testing.T) {
	t.Parallel()
	for _, left := range []time.Duration{life / 2, 1900 * time.Millisecond} {
		r := newRig(t)
		d := queuetest.NewMemory(r.db.Now)
		r.Driver = d
		ticket, _ := r.put("queued")
		if err := d.Enqueue(t.Context(), queue.Job{ID: ticket.ID, Kind: delivery.Kind,
			NotAfter: r.clock.Now().Add(life)}); err != nil {
			t.Fatal(err)
		}
		r.clock.Advance(life - left)
		if err := d.Register(t.Context(), queue.Worker{ID: workerA, Host: "h", Handlers: 1}); err != nil {
			t.Fatal(err)
		}
		r.handleOne(d)
		r.clock.Advance(time.Second)
		r.handleOne(d)
		r.wantState(ticket, delivery.Accepted)
	}
}
