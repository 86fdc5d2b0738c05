package queuetest

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"pgregory.net/rapid"

	"otpost/internal/queue"
)

// likeTheModel does the same random steps with the driver and with Memory, and compares what they
// answer. Tokens differ, so each claim of the one is kept beside the other's.
func likeTheModel(t *testing.T, open Open) {
	t.Helper()
	rapid.Check(t, func(rt *rapid.T) {
		clock := NewClock()
		d, end := open(t, clock.Now)
		defer end()
		m := &machine{t: t, clock: clock, driver: d, model: NewMemory(clock.Now)}
		m.register(rt)
		rt.Repeat(map[string]func(*rapid.T){
			"":           m.look,
			"enqueue":    m.enqueue,
			"register":   m.register,
			"unregister": m.unregister,
			"claim":      m.claim,
			"report":     m.report,
			"reconcile":  m.reconcile,
			"heartbeat":  m.heartbeat,
			"sweep":      m.sweep,
			"advance":    m.advance,
		})
		m.drain(rt)
	})
}

var times = []time.Duration{time.Millisecond, time.Second, queue.Lease / 2, queue.Lease, time.Minute}

var laneNames = []string{"", "a", "b"}

type machine struct {
	t             *testing.T
	clock         *Clock
	driver, model queue.Driver
	jobs          []queue.Job
	workers       []uuid.UUID
	claims        []pair
	looks         int
}

// pair is one claim as the driver and the model gave it.
type pair struct{ driver, model queue.Claimed }

// both runs f with the driver and the model, and compares the errors.
func (m *machine) both(rt *rapid.T, f func(d queue.Driver) error) {
	rt.Helper()
	got, want := f(m.driver), f(m.model)
	if !errors.Is(got, want) {
		rt.Fatalf("the driver says %v, the model %v", got, want)
	}
}

// someTime draws the zero time or one around now.
func (m *machine) someTime(rt *rapid.T, label string) time.Time {
	if rapid.Bool().Draw(rt, label+" given") {
		return m.clock.Now().Add(time.Duration(rapid.IntRange(-5, 60).Draw(rt, label)) * time.Second)
	}
	return time.Time{}
}

func (m *machine) enqueue(rt *rapid.T) {
	j := queue.Job{
		ID: newID(), Kind: rapid.SampledFrom([]string{kind, "test.other"}).Draw(rt, "kind"),
		Priority: queue.Priority(rapid.IntRange(int(queue.Urgent), int(queue.Normal)).Draw(rt, "priority")),
		RunAt:    m.someTime(rt, "run at"), NotAfter: m.someTime(rt, "not after"),
	}
	if len(m.jobs) > 0 && rapid.IntRange(0, 3).Draw(rt, "again") == 0 {
		j.ID = rapid.SampledFrom(m.jobs).Draw(rt, "job").ID
	}
	j.Lane = rapid.SampledFrom(laneNames).Draw(rt, "lane")
	m.jobs = append(m.jobs, j)
	m.both(rt, func(d queue.Driver) error { return d.Enqueue(m.t.Context(), j) })
}

func (m *machine) register(rt *rapid.T) {
	w := queue.Worker{ID: uuid.New(), Host: "host"}
	m.workers = append(m.workers, w.ID)
	m.both(rt, func(d queue.Driver) error { return d.Register(m.t.Context(), w) })
}

func (m *machine) worker(rt *rapid.T) uuid.UUID {
	return rapid.SampledFrom(m.workers).Draw(rt, "worker")
}

func (m *machine) unregister(rt *rapid.T) {
	w := m.worker(rt)
	m.both(rt, func(d queue.Driver) error { return d.Unregister(m.t.Context(), w) })
}

func (m *machine) claim(rt *rapid.T) {
	full := rapid.SliceOfNDistinct(rapid.SampledFrom(laneNames), 0, 2, rapid.ID[string]).Draw(rt, "full")
	m.claimAs(rt, m.worker(rt), rapid.IntRange(0, 5).Draw(rt, "most"), full...)
}

func (m *machine) claimAs(rt *rapid.T, w uuid.UUID, most int, full ...string) (n int) {
	var got, want []queue.Claimed
	m.both(rt, func(d queue.Driver) error {
		c, err := d.Claim(m.t.Context(), queue.ClaimRequest{Worker: w, Most: most, Kinds: []string{kind}, Full: full})
		if d == m.driver {
			got = c
		} else {
			want = c
		}
		return err
	})
	if diff := cmp.Diff(plain(want), plain(got)); diff != "" {
		rt.Fatalf("claim (-model +driver):\n%s", diff)
	}
	for i := range got {
		m.claims = append(m.claims, pair{got[i], want[i]})
	}
	return len(got)
}

// plain is claims without what the drivers choose for themselves.
func plain(claims []queue.Claimed) []queue.Claimed {
	all := make([]queue.Claimed, 0, len(claims))
	for _, c := range claims {
		c.Token, c.Payload = 0, nil
		all = append(all, c)
	}
	return all
}

// report reports one of all claims that ever were, so that many are over.
func (m *machine) report(rt *rapid.T) {
	if len(m.claims) == 0 {
		return
	}
	c := rapid.SampledFrom(m.claims).Draw(rt, "claim")
	r := queue.Result{
		ID: c.driver.ID, Action: queue.Action(rapid.IntRange(int(queue.Done), int(queue.DeadLetter)).Draw(rt, "action")),
		RunAt: m.someTime(rt, "run at"), NotAfter: m.someTime(rt, "not after"),
	}
	m.both(rt, func(d queue.Driver) error {
		r.Token = c.model.Token
		if d == m.driver {
			r.Token = c.driver.Token
		}
		return d.Report(m.t.Context(), c.driver.Worker, r)
	})
}

func (m *machine) reconcile(rt *rapid.T) {
	var held []uuid.UUID
	for _, c := range m.claims {
		if rapid.Bool().Draw(rt, "held") {
			held = append(held, c.driver.ID)
		}
	}
	w := m.worker(rt)
	m.both(rt, func(d queue.Driver) error { return d.Reconcile(m.t.Context(), w, held) })
}

func (m *machine) heartbeat(rt *rapid.T) {
	w := m.worker(rt)
	m.both(rt, func(d queue.Driver) error { return d.Heartbeat(m.t.Context(), w) })
}

// sweep is a sweep after the workers whose lease has lapsed have learnt of it: a process sweeps
// none of its own that it believes alive.
func (m *machine) sweep(rt *rapid.T) {
	for _, w := range m.workers {
		m.both(rt, func(d queue.Driver) error { return d.Report(m.t.Context(), w) })
	}
	var swept []int
	m.both(rt, func(d queue.Driver) error {
		n, err := d.Sweep(m.t.Context())
		swept = append(swept, n)
		return err
	})
	if swept[0] != swept[1] {
		rt.Fatalf("the driver swept %d jobs, the model %d", swept[0], swept[1])
	}
}

func (m *machine) advance(rt *rapid.T) { m.pass(rt, rapid.SampledFrom(times).Draw(rt, "step")) }

// pass lets a time pass while others sweep.
func (m *machine) pass(rt *rapid.T, d time.Duration) {
	for _, part := range steps(d) {
		m.sweep(rt)
		m.clock.Advance(part)
	}
}

// look compares the driver's status with its list, after every eighth step, for a list may be dear.
// It is no step of its own: the counterexamples that are kept would no longer mean what they meant.
// The model's status may differ in what is due and not ready yet.
func (m *machine) look(rt *rapid.T) {
	if m.looks++; m.looks%8 != 0 {
		return
	}
	o, ok := m.driver.(queue.Operator)
	if !ok {
		rt.Fatalf("%T is no queue.Operator", m.driver)
	}
	jobs, err1 := o.List(m.t.Context(), queue.Filter{})
	got, err2 := o.Status(m.t.Context())
	if err := errors.Join(err1, err2); err != nil {
		rt.Fatal(err)
	}
	if diff := cmp.Diff(glance(jobs), got); diff != "" {
		rt.Fatalf("status (-as listed +got):\n%s", diff)
	}
}

// drain lets all leases lapse and claims whatever is left: nothing may be lost on the way.
func (m *machine) drain(rt *rapid.T) {
	m.pass(rt, 2*time.Minute)
	m.sweep(rt)
	m.register(rt)
	for m.claimAs(rt, m.workers[len(m.workers)-1], 50) > 0 {
	}
	for _, w := range m.workers { // a driver may hold something for each
		m.both(rt, func(d queue.Driver) error { return d.Unregister(m.t.Context(), w) })
	}
}
