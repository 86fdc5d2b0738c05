package store_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"otpost/internal/store"
	"otpost/internal/store/storetest"
)

func TestTwiceRunsAClosureAgainAfterARollback(t *testing.T) {
	t.Parallel()
	db := storetest.Open(t, nil)
	runs, after := 0, 0
	err := db.Write(t.Context(), func(tx *store.Tx) error {
		runs++
		put(tx, "key", "x") // the second run would meet the row of the first one
		tx.AfterCommit(func() { after++ })
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if runs != 2 || after != 1 || value(t, db, "key") != "x" {
		t.Errorf("%d runs, %d calls after the commit, row %q; want 2, 1 and x", runs, after, value(t, db, "key"))
	}
}

func TestTwiceDropsTheSignalOfTheFirstRun(t *testing.T) {
	t.Parallel()
	db := storetest.Open(t, nil)
	commits, end := db.Subscribe()
	defer end()
	runs := 0
	err := db.Write(t.Context(), func(tx *store.Tx) error {
		if runs++; runs == 1 {
			tx.Signal()
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-commits:
		t.Fatal("the signal of a run that was rolled back has woken a subscriber")
	case <-time.After(50 * time.Millisecond): // a signal comes by then, or the test passes without having seen it
	}
}

func TestTwiceReturnsTheErrorOfAClosure(t *testing.T) {
	t.Parallel()
	db := storetest.Open(t, nil)
	runs := 0
	err := db.Write(t.Context(), func(tx *store.Tx) error {
		runs++
		put(tx, "key", "x")
		return errOwn
	})
	if !errors.Is(err, errOwn) || runs != 1 || value(t, db, "key") != "" {
		t.Errorf("%d runs, err %v, row %q; want one run, the error and no row", runs, err, value(t, db, "key"))
	}
}

func TestClosureRunsOnceWithoutTwice(t *testing.T) {
	t.Parallel()
	db, err := store.Open(t.Context(), store.Options{Path: filepath.Join(t.TempDir(), "otpost.db"), Migrate: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close() //nolint:errcheck // nothing is left to write
	runs := 0
	err = db.Write(context.Background(), func(*store.Tx) error { runs++; return nil })
	if err != nil || runs != 1 {
		t.Errorf("%d runs, err %v; want one run", runs, err)
	}
}
