package audit

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"otpost/internal/store"
	"otpost/internal/store/storetest"
)

func open(t *testing.T) *store.DB {
	t.Helper()
	db := storetest.Open(t, nil)
	return db
}

func count(t *testing.T, db *store.DB, where string, args ...any) (n int) {
	t.Helper()
	err := db.Read(context.Background(), func(r store.Reader) error {
		return r.Get([]any{&n}, `SELECT count(*) FROM audit WHERE `+where, args...)
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestRecordWritesOneRow(t *testing.T) {
	t.Parallel()
	db := open(t)
	delivery := uuid.Must(uuid.NewV7())
	e := Entry{
		Action:         "POST /validate/check",
		Success:        true,
		Authentication: "CHALLENGE",
		Serial:         "PIEM1",
		Login:          "alice",
		Client:         "192.0.2.1",
		DeliveryID:     delivery,
	}
	if err := New(db).Record(context.Background(), e); err != nil {
		t.Fatal(err)
	}
	if n := count(t, db, `action = 'POST /validate/check' AND success = 1 AND login = 'alice' AND delivery_id = $1`,
		delivery[:]); n != 1 {
		t.Errorf("rows = %d, want 1", n)
	}
}

func TestPutFallsWithItsTransaction(t *testing.T) {
	t.Parallel()
	db := open(t)
	wrong := errors.New("wrong")
	err := db.Write(context.Background(), func(tx *store.Tx) error {
		Put(tx, time.Now(), Entry{Action: "x"})
		return wrong
	})
	if !errors.Is(err, wrong) {
		t.Fatal(err)
	}
	if n := count(t, db, `1 = 1`); n != 0 {
		t.Errorf("rows = %d, want none", n)
	}
}

func TestPruneDeletesWhatIsOlderInAllItsBatches(t *testing.T) {
	t.Parallel()
	db := open(t)
	edge := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	const old = 2*pruneBatch + 7
	err := db.Write(t.Context(), func(tx *store.Tx) error {
		for i := range old {
			Put(tx, edge.Add(-time.Duration(i+1)*time.Millisecond), Entry{Action: "old"})
		}
		Put(tx, edge, Entry{Action: "young"})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := New(db).Prune(t.Context(), edge.Add(-old*time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if n := count(t, db, `1 = 1`); n != old+1 {
		t.Errorf("%d rows after there was nothing to delete, want %d", n, old+1)
	}
	if err := New(db).Prune(t.Context(), edge); err != nil {
		t.Fatal(err)
	}
	if n, young := count(t, db, `1 = 1`), count(t, db, `action = 'young'`); n != 1 || young != 1 {
		t.Errorf("%d rows, %d of them young, want the young one alone", n, young)
	}
}

func TestPutWithoutDeliveryLeavesItNull(t *testing.T) {
	t.Parallel()
	db := open(t)
	if err := New(db).Record(context.Background(), Entry{Action: "GET /token/"}); err != nil {
		t.Fatal(err)
	}
	if n := count(t, db, `delivery_id IS NULL`); n != 1 {
		t.Errorf("rows without a delivery = %d, want 1", n)
	}
}

func TestCutKeepsWholeCharacters(t *testing.T) {
	t.Parallel()
	for _, s := range []string{strings.Repeat("ü", longest), "a" + strings.Repeat("€", longest), "bad\xff\x00bytes",
		""} {
		got := cut(s)
		if len(got) > longest || !utf8.ValidString(got) || strings.Contains(got, "\x00") {
			t.Errorf("cut(%q) = %q", s, got)
		}
	}
}
