package delivery_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/uuid"

	"otpost/internal/delivery"
	"otpost/internal/queue"
	"otpost/internal/store"
)

// putIn makes a delivery of a token whose owner is of a realm, with one waiter.
func (r *rig) putIn(realm, serial, transaction string) delivery.Ticket {
	r.t.Helper()
	id := uuid.Must(uuid.NewV7())
	p, err := r.prepare(id, delivery.Message{
		Route: "queued", Recipient: "alice@example.com", Subject: "Your OTP", Body: "482913", Code: "482913", Serial: serial, Realm: realm,
		NotAfter: r.db.Now().Add(life),
	})
	if err != nil {
		r.t.Fatal(err)
	}
	var ticket delivery.Ticket
	err = r.db.Write(r.t.Context(), func(tx *store.Tx) error {
		ticket = r.Put(tx, p, delivery.Waiter{TransactionID: transaction, Serial: serial, ChallengeID: uuid.Must(uuid.NewV7())})
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return ticket
}

func (r *rig) list(f delivery.Filter) delivery.Page {
	r.t.Helper()
	var page delivery.Page
	err := store.ErrBusy
	for tries := 0; tries < 20 && errors.Is(err, store.ErrBusy); tries++ { // on a slow machine each read is a costly one
		page, err = r.List(r.t.Context(), f)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return page
}

// serials returns of which tokens the listed deliveries are, in their order.
func serials(p delivery.Page) string {
	all := ""
	for _, d := range p.Deliveries {
		all += d.Serial
	}
	return all
}

func TestListShowsWhatTheFilterNamesNewestFirst(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	begun := r.db.Now()
	a := r.putIn("realm1", "A", "00000000000000000001")
	r.clock.Advance(time.Second)
	r.putIn("realm2", "B", "00000000000000000002")
	r.clock.Advance(time.Second)
	r.putIn("realm1", "C", "00000000000000000001")
	r.work(workerA, a, queue.Claimed{}) // accepted
	for name, one := range map[string]struct {
		f    delivery.Filter
		want string
	}{
		"all":             {delivery.Filter{}, "CBA"},
		"state":           {delivery.Filter{States: []delivery.State{delivery.Accepted}}, "A"},
		"states":          {delivery.Filter{States: []delivery.State{delivery.Accepted, delivery.Queued}}, "CBA"},
		"server":          {delivery.Filter{Server: "queued"}, "CBA"},
		"another server":  {delivery.Filter{Server: "inline"}, ""},
		"serial":          {delivery.Filter{Serial: "B"}, "B"},
		"serial, pattern": {delivery.Filter{Serial: "%"}, ""},
		"transaction":     {delivery.Filter{TransactionID: "00000000000000000001"}, "CA"},
		"since":           {delivery.Filter{Since: begun.Add(time.Second)}, "CB"},
		"until":           {delivery.Filter{Until: begun.Add(time.Second)}, "A"},
		"before":          {delivery.Filter{Before: a.ID}, ""},
		"all at once":     {delivery.Filter{Realms: []string{"realm1"}, States: []delivery.State{delivery.Accepted}, Server: "queued", Serial: "A", TransactionID: "00000000000000000001", Since: begun, Until: begun.Add(time.Second)}, "A"},
	} {
		if got := serials(r.list(one.f)); got != one.want {
			t.Errorf("%s: %q, want %q", name, got, one.want)
		}
	}
}

// Each state is asked for by itself, by an index that depends on it: together they are what one list of all would show.
func TestListOfStatesIsThatPartOfAllDeliveries(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	fill(t, r.db, 2000, time.Hour)
	err := r.db.Write(t.Context(), func(tx *store.Tx) error {
		for i, state := range []delivery.State{delivery.Queued, delivery.Sending} {
			tx.Put(`UPDATE delivery SET state = $1 WHERE id IN (
				SELECT id FROM delivery WHERE state = 'deferred' ORDER BY id LIMIT 5 OFFSET $2)`, string(state), i)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	// all returns the records of all pages.
	all := func(f delivery.Filter) (records []delivery.Record) {
		f.PageSize = 77
		for {
			page := r.list(f)
			records = append(records, page.Deliveries...)
			if f.Before = page.Next; f.Before == uuid.Nil {
				return records
			}
		}
	}
	// ids returns the ids of the records that are in one of the states; nil stands for all states.
	ids := func(records []delivery.Record, states []delivery.State) (ids []uuid.UUID) {
		for _, d := range records {
			if states == nil || slices.Contains(states, d.State) {
				ids = append(ids, d.ID)
			}
		}
		return ids
	}
	anyState := map[int][]delivery.Record{} // by the other filters: what a list without states shows
	for n := range 1 << len(delivery.States()) {
		f := delivery.Filter{States: []delivery.State{}}
		for i, state := range delivery.States() {
			if n&(1<<i) != 0 {
				f.States = append(f.States, state)
			}
		}
		switch n % 3 { // the combinations with other filters
		case 1:
			f.Server = "server1"
		case 2:
			f.Serial = "PIEM00000012"
		}
		if len(f.States) > 2 && n%16 != 0 { // some of the many
			continue
		}
		if anyState[n%3] == nil {
			others := f
			others.States = nil
			anyState[n%3] = all(others)
		}
		if diff := cmp.Diff(ids(anyState[n%3], f.States), ids(all(f), nil)); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", f, diff)
		}
	}
}

func TestListIsBoundByRealms(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.putIn("realm1", "A", "00000000000000000001")
	b := r.putIn("realm2", "B", "00000000000000000001")
	c := r.putIn("", "C", "00000000000000000001")
	for name, one := range map[string]struct {
		realms []string
		want   string
	}{"all": {nil, "CBA"}, "none": {[]string{}, ""}, "one": {[]string{"realm1"}, "A"}, "two": {[]string{"realm2", "realm1"}, "BA"}, "foreign": {[]string{"realm3"}, ""}} {
		if got := serials(r.list(delivery.Filter{Realms: one.realms, TransactionID: "00000000000000000001"})); got != one.want {
			t.Errorf("%s: %q, want %q", name, got, one.want)
		}
	}
	for _, id := range []uuid.UUID{b.ID, c.ID} {
		if _, err := r.Record(t.Context(), id, []string{"realm1"}); !errors.Is(err, delivery.ErrNotFound) {
			t.Errorf("a foreign delivery is shown: %v", err)
		}
		if _, err := r.Recipient(t.Context(), id, []string{"realm1"}); !errors.Is(err, delivery.ErrNotFound) {
			t.Errorf("a foreign recipient is shown: %v", err)
		}
	}
	if d, err := r.Record(t.Context(), b.ID, []string{"realm2"}); err != nil || d.Realm != "realm2" {
		t.Errorf("the own one is not shown: %+v, %v", d, err)
	}
}

func TestPagesShowEachDeliveryOnceWhileNewOnesAreMade(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, serial := range []string{"A", "B", "C", "D", "E"} {
		r.putIn("", serial, "00000000000000000001")
	}
	got, f := "", delivery.Filter{PageSize: 2}
	for {
		page := r.list(f)
		got += serials(page)
		if page.Next == uuid.Nil {
			break
		}
		f.Before = page.Next
		r.putIn("", "new", "00000000000000000001")
	}
	if got != "EDCBA" {
		t.Errorf("the pages show %q", got)
	}
}

func TestRecordTellsTheAttemptsAndWhoWaits(t *testing.T) {
	t.Parallel()
	r := newRig(t, attempt{before: delivery.ClassTemporary, code: 451})
	ticket := r.putIn("realm1", "A", "00000000000000000001")
	got := r.work(workerA, ticket, queue.Claimed{})
	d, err := r.Record(t.Context(), ticket.ID, nil)
	if err != nil {
		t.Fatal(err)
	}
	if d.State != delivery.Deferred || !d.NextTry.Equal(got.RunAt) || len(d.Attempts) != 1 || d.Attempts[0].Code != 451 || d.Recipient == "alice@example.com" {
		t.Errorf("%+v", d)
	}
	if diff := cmp.Diff([]delivery.Waiter{{TransactionID: "00000000000000000001", Serial: "A"}}, d.Waiters, cmpopts.IgnoreFields(delivery.Waiter{}, "ChallengeID")); diff != "" {
		t.Error(diff)
	}
	if _, err := r.Record(t.Context(), uuid.Must(uuid.NewV7()), nil); !errors.Is(err, delivery.ErrNotFound) {
		t.Errorf("an unknown id: %v", err)
	}
}

// A page has the details of each of its deliveries, however many it shows.
func TestPageTellsAttemptsAndWaitersOfEachDelivery(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	const n = 120
	for i := range n {
		ticket := r.putIn("realm1", fmt.Sprintf("S%03d", i), fmt.Sprintf("%020d", i))
		for range i % 3 {
			r.server.script = []attempt{{before: delivery.ClassTemporary, code: 400 + i%3}}
			got := r.work(workerA, ticket, queue.Claimed{})
			r.clock.Advance(max(got.RunAt.Sub(r.clock.Now()), 0))
		}
	}
	page := r.list(delivery.Filter{PageSize: delivery.MostPageSize})
	if len(page.Deliveries) != n {
		t.Fatalf("%d deliveries, want %d", len(page.Deliveries), n)
	}
	for at, d := range page.Deliveries {
		i := n - 1 - at
		if len(d.Attempts) != i%3 || len(d.Waiters) != 1 || d.Waiters[0].TransactionID != fmt.Sprintf("%020d", i) {
			t.Fatalf("delivery %d: %d attempts, waiters %+v", i, len(d.Attempts), d.Waiters)
		}
		for k, a := range d.Attempts {
			if a.Number != k+1 || a.Code != 400+i%3 {
				t.Fatalf("delivery %d: attempt %+v", i, a)
			}
		}
	}
}

func TestRecipientIsWholeWhileThereIsContent(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ticket := r.putIn("realm1", "A", "00000000000000000001")
	whole, err := r.Recipient(t.Context(), ticket.ID, []string{"realm1"})
	if err != nil || whole != "alice@example.com" {
		t.Fatalf("before its end: %v", err)
	}
	r.work(workerA, ticket, queue.Claimed{})
	masked, err := r.Recipient(t.Context(), ticket.ID, nil)
	if err != nil || masked == whole || masked == "" {
		t.Fatalf("after its end: %q, %v", masked, err)
	}
}
