package store_test

import (
	"testing"
	"time"

	"otpost/internal/store"
)

func TestMomentReadsNullAsTheZeroTime(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 1, 12, 0, 0, 7_000_000, time.UTC)
	got := time.Now()
	for value, want := range map[any]time.Time{nil: {}, at.UnixMilli(): at} {
		if err := (store.NullTime{To: &got}).Scan(value); err != nil || !got.Equal(want) {
			t.Errorf("%v reads as %v, want %v: %v", value, got, want, err)
		}
	}
	if err := (store.NullTime{To: &got}).Scan("yesterday"); err == nil {
		t.Error("a text was read as a time")
	}
}
