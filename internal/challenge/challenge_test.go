package challenge

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"otpost/internal/secret"
	"otpost/internal/secret/secrettest"
	"otpost/internal/store"
	"otpost/internal/store/storetest"
)

// paid is a receipt for one token; the real one comes from token.Pay.
type paid string

func (p paid) PaidFor(serial string) bool { return string(p) == serial }

var start = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

type rig struct {
	db   *store.DB
	keys *secret.Keys
	t    *testing.T
}

func open(t *testing.T) *rig {
	t.Helper()
	db := storetest.Open(t, func() time.Time { return start })
	keys := secrettest.Keys(t)
	return &rig{db: db, keys: keys, t: t}
}

func (r *rig) write(f func(tx *store.Tx) error) {
	r.t.Helper()
	if err := r.db.Write(r.t.Context(), f); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) put(serial, transaction string, valid time.Duration) Challenge {
	r.t.Helper()
	c := New(r.keys, Code{TransactionID: transaction, Serial: serial, DeliveryID: uuid.Must(uuid.NewV7()), Text: "123456", Created: start, ValidUntil: start.Add(valid)})
	r.write(func(tx *store.Tx) error { Put(tx, c); return nil })
	return c
}

func (r *rig) states(serial string) map[uuid.UUID]State {
	r.t.Helper()
	states := map[uuid.UUID]State{}
	err := r.db.Read(r.t.Context(), func(reader store.Reader) error {
		all, err := OfSerial(reader, serial)
		for _, c := range all {
			states[c.ID] = c.State
		}
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return states
}

func TestTransactionIDsAreTwentyDigits(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	leading := map[byte]bool{}
	for range 500 {
		id := NewTransactionID()
		if !WellFormed(id) || seen[id] {
			t.Fatalf("id %q is malformed or came twice", id)
		}
		seen[id], leading[id[0]] = true, true
	}
	if len(leading) != 10 {
		t.Errorf("%d different first digits in 500 ids, want all 10", len(leading))
	}
	for _, bad := range []string{"", "1234567890123456789", "123456789012345678901", "1234567890123456789x", "１2345678901234567"} {
		if WellFormed(bad) {
			t.Errorf("%q counts as a transaction id", bad)
		}
	}
}

func TestCodeMatchesOnlyWithReceiptMessageAndToken(t *testing.T) {
	t.Parallel()
	r := open(t)
	c := r.put("A", NewTransactionID(), time.Minute)
	if !c.Matches(r.keys, paid("A"), "123456") {
		t.Error("the right code with a receipt is refused")
	}
	if c.Matches(r.keys, paid("B"), "123456") || c.Matches(r.keys, paid("A"), "123457") {
		t.Error("a foreign receipt or another code is accepted")
	}
	moved := c
	moved.DeliveryID = uuid.Must(uuid.NewV7())
	renamed := c
	renamed.Serial = "B"
	if moved.Matches(r.keys, paid("A"), "123456") || renamed.Matches(r.keys, paid("B"), "123456") {
		t.Error("a code fits another message or another token")
	}
}

func TestStoredChallengeHoldsNoCode(t *testing.T) {
	t.Parallel()
	r := open(t)
	c := r.put("A", NewTransactionID(), time.Minute)
	if strings.Contains(string(c.mac), "123456") || len(c.mac) != 32 {
		t.Error("the MAC is not one")
	}
}

func TestAnswerIsTakenOnce(t *testing.T) {
	t.Parallel()
	r := open(t)
	c := r.put("A", NewTransactionID(), time.Minute)
	var mu sync.Mutex
	taken := 0
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			var mine bool
			err := r.db.Write(t.Context(), func(tx *store.Tx) (err error) {
				mine, err = Answer(tx, start, c.ID)
				return err
			})
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			if mine {
				taken++
			}
		})
	}
	all.Wait()
	if taken != 1 {
		t.Errorf("%d of 8 answers were taken, want 1", taken)
	}
}

func TestExpiredChallengeCannotBeAnswered(t *testing.T) {
	t.Parallel()
	r := open(t)
	c := r.put("A", NewTransactionID(), time.Minute)
	for _, late := range []time.Duration{time.Minute, time.Hour} {
		if c.Open(start.Add(late)) {
			t.Errorf("open %v after its start", late)
		}
		r.write(func(tx *store.Tx) error {
			if ok, err := Answer(tx, start.Add(late), c.ID); ok || err != nil {
				t.Errorf("answered %v after its start: %v", late, err)
			}
			return nil
		})
	}
	if !c.Open(start.Add(time.Minute - time.Millisecond)) {
		t.Error("closed before its end")
	}
}

func TestSupersedeKeepsTheNewest(t *testing.T) {
	t.Parallel()
	r := open(t)
	a, b, c := r.put("A", NewTransactionID(), time.Minute), r.put("A", NewTransactionID(), time.Minute), r.put("A", NewTransactionID(), time.Minute)
	other := r.put("B", NewTransactionID(), time.Minute)
	r.write(func(tx *store.Tx) error {
		ended, err := Supersede(tx, start, "A", 2)
		if diff := cmp.Diff([]uuid.UUID{a.ID}, ended); diff != "" {
			t.Error(diff)
		}
		return err
	})
	if diff := cmp.Diff(map[uuid.UUID]State{a.ID: Ended, b.ID: Waiting, c.ID: Waiting}, r.states("A")); diff != "" {
		t.Error(diff)
	}
	r.write(func(tx *store.Tx) error { _, err := Supersede(tx, start, "A", 0); return err })
	if diff := cmp.Diff(map[uuid.UUID]State{a.ID: Ended, b.ID: Ended, c.ID: Ended}, r.states("A")); diff != "" {
		t.Error(diff)
	}
	if r.states("B")[other.ID] != Waiting {
		t.Error("the challenge of another token was superseded")
	}
}

func TestSharedMessageEndsWithItsFirstAnswer(t *testing.T) {
	t.Parallel()
	r := open(t)
	first := r.put("A", NewTransactionID(), time.Minute)
	shared := first
	shared.ID, shared.TransactionID = uuid.Must(uuid.NewV7()), NewTransactionID()
	r.write(func(tx *store.Tx) error { Put(tx, shared); return nil })
	r.write(func(tx *store.Tx) error {
		ok, err := Answer(tx, start, shared.ID)
		if !ok || err != nil {
			t.Errorf("answer: %v, %v", ok, err)
		}
		ended, err := AnswerSharing(tx, start, shared.DeliveryID)
		if diff := cmp.Diff([]uuid.UUID{first.ID}, ended); diff != "" {
			t.Error(diff)
		}
		return err
	})
}

func TestPruneKeepsTenMinutes(t *testing.T) {
	t.Parallel()
	r := open(t)
	ended, open := r.put("A", NewTransactionID(), time.Hour), r.put("A", NewTransactionID(), time.Hour)
	r.put("A", NewTransactionID(), time.Second) // expires
	r.write(func(tx *store.Tx) error { _, err := Answer(tx, start, ended.ID); return err })
	prune := func(at time.Duration) int {
		r.write(func(tx *store.Tx) error { _, err := Prune(tx, start.Add(at)); return err })
		return len(r.states("A"))
	}
	if n := prune(Kept); n != 3 {
		t.Errorf("%d rows after ten minutes, want 3", n)
	}
	if n := prune(Kept + time.Millisecond); n != 2 {
		t.Errorf("%d rows after the answered one is old, want 2", n)
	}
	if n := prune(Kept + time.Minute); n != 1 {
		t.Errorf("%d rows after the expired one is old, want 1", n)
	}
	if _, ok := r.states("A")[open.ID]; !ok {
		t.Error("the open challenge is gone")
	}
}

func TestListPagesOpenChallenges(t *testing.T) {
	t.Parallel()
	r := open(t)
	a, b := r.put("PIEM_1", NewTransactionID(), time.Minute), r.put("PIEM_2", NewTransactionID(), time.Minute)
	r.put("PIEMX1", NewTransactionID(), -time.Minute)
	list := func(f Filter) Page {
		t.Helper()
		p, err := List(t.Context(), r.db, f)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	p := list(Filter{PageSize: 1})
	if p.Count != 2 || p.Next != 2 || p.Prev != 0 || len(p.Challenges) != 1 || p.Challenges[0].ID != a.ID {
		t.Errorf("first page: %+v", p)
	}
	p = list(Filter{PageSize: 1, Page: 2})
	if p.Next != 0 || p.Prev != 1 || p.Challenges[0].ID != b.ID {
		t.Errorf("second page: %+v", p)
	}
	if p := list(Filter{Serial: "piem_*", SortBy: "serial", Descending: true}); p.Count != 2 || p.Challenges[0].ID != b.ID {
		t.Errorf("wildcard: %+v", p)
	}
	if p := list(Filter{Serial: "PIEM_1"}); p.Count != 1 {
		t.Errorf("one serial: %+v", p)
	}
	if p := list(Filter{TransactionID: b.TransactionID}); p.Count != 1 || p.Challenges[0].ID != b.ID {
		t.Errorf("one transaction: %+v", p)
	}
	if p := list(Filter{Serial: "NOSUCH"}); p.Count != 0 || p.Challenges == nil {
		t.Errorf("none: %+v", p)
	}
}

// Many ended challenges go in short transactions: a batch leaves the rest to the next one.
func TestPruneTakesABatchAtATime(t *testing.T) {
	t.Parallel()
	r := open(t)
	const n = 2*pruneBatch + 7
	r.write(func(tx *store.Tx) error {
		for range n {
			Put(tx, New(r.keys, Code{
				TransactionID: NewTransactionID(), Serial: "A", DeliveryID: uuid.Must(uuid.NewV7()), Text: "123456", Created: start,
				ValidUntil: start.Add(-Kept - time.Second),
			}))
		}
		return nil
	})
	r.write(func(tx *store.Tx) error {
		more, err := Prune(tx, start)
		if !more || err != nil {
			t.Errorf("more %v, %v", more, err)
		}
		return err
	})
	if left := len(r.states("A")); left != n-pruneBatch {
		t.Errorf("%d rows are left, want %d", left, n-pruneBatch)
	}
	if err := PruneAll(t.Context(), r.db); err != nil {
		t.Fatal(err)
	}
	if left := len(r.states("A")); left != 0 {
		t.Errorf("%d rows are left at the end", left)
	}
}

// Challenges from before the clock was set back do not outlive newer ones.
func TestSupersedeTakesChallengesFromBeforeAStepBackForOld(t *testing.T) {
	t.Parallel()
	r := open(t)
	ahead := New(r.keys, Code{
		TransactionID: NewTransactionID(),
		Serial:        "A",
		DeliveryID:    uuid.Must(uuid.NewV7()),
		Text:          "123456",
		Created:       start.Add(time.Hour),
		ValidUntil:    start.Add(time.Hour + time.Minute),
	})
	r.write(func(tx *store.Tx) error { Put(tx, ahead); return nil })
	fresh := r.put("A", NewTransactionID(), time.Minute)
	r.write(func(tx *store.Tx) error {
		ended, err := Supersede(tx, start, "A", 1)
		if diff := cmp.Diff([]uuid.UUID{ahead.ID}, ended); diff != "" {
			t.Error(diff)
		}
		return err
	})
	if r.states("A")[fresh.ID] != Waiting {
		t.Error("the newest challenge was ended")
	}
}
