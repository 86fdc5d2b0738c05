package store_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"otpost/internal/store"
)

// pretended counts what pretended reads take together, and how many run at once.
type pretended struct {
	took       atomic.Int64 // ns
	long, most atomic.Int32 // reads that have run for longer than the trial
	failed     atomic.Int32
}

// read returns a read that takes so long.
func (p *pretended) read(length time.Duration) func(ctx context.Context) (time.Duration, error) {
	return func(ctx context.Context) (took time.Duration, err error) {
		begun := time.Now()
		defer func() {
			took = time.Since(begun)
			p.took.Add(int64(took))
		}()
		const trial = store.QuickRead + time.Millisecond
		if err := sleep(ctx, min(length, trial)); err != nil || length <= trial {
			return 0, err
		}
		p.most.Store(max(p.most.Load(), p.long.Add(1)))
		defer p.long.Add(-1)
		return 0, sleep(ctx, length-trial)
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// However many poll, costly reads run one at a time, and all reads together take no more than their share.
func TestReadsInTurnTakeABoundedShareOfTheTime(t *testing.T) {
	t.Parallel()
	for name, length := range map[string]time.Duration{"costly": 300 * time.Millisecond, "quick": store.QuickRead / 4} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				const over = 5 * time.Minute
				ctx, cancel := context.WithTimeout(t.Context(), over)
				defer cancel()
				turns := store.NewTurns(5 * time.Second)
				var p pretended
				var all sync.WaitGroup
				for range 100 {
					all.Go(func() {
						for ctx.Err() == nil {
							asked := time.Now()
							err := turns.Do(ctx, p.read(length))
							if errors.Is(err, store.ErrBusy) {
								p.failed.Add(1)
							} else if err != nil && ctx.Err() == nil {
								t.Error(err)
							}
							if waited := time.Since(asked); waited > 5*time.Second+length+store.QuickRead {
								t.Errorf("a call took %v", waited)
							}
						}
					})
				}
				all.Wait()
				if p.most.Load() > 1 {
					t.Errorf("%d costly reads at once", p.most.Load())
				}
				took, share := time.Duration(p.took.Load()), over/store.CostlyShare+over/store.QuickShare
				if took > share+2*store.ReadAhead+length || took < share/2 {
					t.Errorf("the reads took %v of %v, their share is %v", took, over, share)
				}
				if name == "costly" && p.failed.Load() == 0 {
					t.Error("100 callers poll a costly read, and each got its turn")
				}
			})
		})
	}
}

// A quick read waits for no turn beside three pollers of a costly one. An occasional costly read waits for no pause.
func TestQuickReadsDoNotWaitForCostlyOnes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		turns := store.NewTurns(5 * time.Second)
		var p pretended
		var all sync.WaitGroup
		for range 3 {
			all.Go(func() {
				for ctx.Err() == nil {
					turns.Do(ctx, p.read(300*time.Millisecond)) //nolint:errcheck // the quick reads matter
				}
			})
		}
		for ctx.Err() == nil {
			begun := time.Now()
			if err := turns.Do(t.Context(), p.read(2*time.Millisecond)); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(begun); took != 2*time.Millisecond {
				t.Fatalf("a quick read took %v", took)
			}
			time.Sleep(100 * time.Millisecond)
		}
		all.Wait()
		time.Sleep(time.Minute)
		for range 20 {
			begun := time.Now()
			if err := turns.Do(t.Context(), p.read(time.Second)); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(begun); took != store.QuickRead+time.Second {
				t.Fatalf("a costly read took %v with no other", took)
			}
			time.Sleep(store.CostlyShare * time.Second)
		}
	})
}

// A call that ends while it waits leaves the turn to the next.
func TestTurnOfACallThatEndsIsFree(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		turns := store.NewTurns(5 * time.Second)
		var p pretended
		if err := turns.Do(t.Context(), p.read(10*time.Second)); err != nil { // the next turn comes after its share of these
			t.Fatal(err)
		}
		if err := turns.Do(t.Context(), p.read(time.Second)); !errors.Is(err, store.ErrBusy) {
			t.Errorf("in the pause: %v", err)
		}
		gone, leave := context.WithTimeout(t.Context(), time.Second)
		defer leave()
		if err := turns.Do(gone, p.read(time.Second)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a call whose context has ended: %v", err)
		}
		time.Sleep(time.Minute)
		if err := turns.Do(t.Context(), p.read(time.Second)); err != nil {
			t.Errorf("after the pause: %v", err)
		}
	})
}

// A read of the database that is not quick begins again, and gives its answer once.
func TestSlowReadInTurnBeginsAgain(t *testing.T) {
	t.Parallel()
	db := opened(t, t.TempDir())
	runs, n := 0, 0
	err := db.ReadInTurn(t.Context(), func(r store.Reader) error {
		runs++
		rows := 1000
		if runs == 1 {
			rows = 1 << 40 // no machine is so quick
		}
		return r.Get([]any{&n}, `WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < $1)
			SELECT count(*) FROM n`, rows)
	})
	if err != nil || runs != 2 || n != 1000 {
		t.Errorf("%d runs, %d rows, %v", runs, n, err)
	}
	failed := errors.New("the caller's own")
	if err := db.ReadInTurn(t.Context(), func(store.Reader) error { return failed }); !errors.Is(err, failed) {
		t.Errorf("an error of the function: %v", err)
	}
}
