package pinhash

import (
	"context"
	"crypto/rand"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// counted returns a Verifier whose computations take a second of fake time and are counted. A plain
// text is right when it equals its hash.
func counted(o Options) (*Verifier, *atomic.Int32) {
	v := New(o)
	var count atomic.Int32
	v.verify = func(hash, plain string) (bool, error) {
		count.Add(1)
		time.Sleep(time.Second)
		return hash == plain, nil
	}
	return v, &count
}

// match begins a turn and matches; it returns Match's results.
func match(ctx context.Context, v *Verifier, hash string, plains ...string) (int, error) {
	turn, err := v.Begin(ctx, "peer", hash)
	if err != nil {
		return -1, err
	}
	i, err := turn.Match(ctx, hash, plains...)
	turn.End(i >= 0)
	return i, err
}

func TestMatchRemembersWhatIsRight(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v, count := counted(Options{Slots: NewSlots(1, nil)})
		if i, err := match(t.Context(), v, "1234", "1234567", "1234"); i != 1 || err != nil || count.Load() != 2 {
			t.Fatalf("first: %d, %v, %d computations", i, err, count.Load())
		}
		busy, err := v.slots.Acquire(t.Context(), "other") // no slot is free now
		if err != nil {
			t.Fatal(err)
		}
		if i, err := match(t.Context(), v, "1234", "1234999", "1234"); i != 1 || err != nil || count.Load() != 2 {
			t.Errorf("again: %d, %v, %d computations", i, err, count.Load())
		}
		busy(false)
		if i, _ := match(t.Context(), v, "12349", "1234"); i != -1 || count.Load() != 3 {
			t.Errorf("another hash: %d, %d computations", i, count.Load())
		}
		time.Sleep(10 * time.Minute)
		if i, err := match(t.Context(), v, "1234", "1234"); i != 0 || err != nil || count.Load() != 4 {
			t.Errorf("after 10 minutes: %d, %v, %d computations", i, err, count.Load())
		}
	})
}

// Were only the right plain text answered, a full house would tell it from the wrong ones, and for nothing.
func TestWithoutSlotsWrongIsToldAsRightIs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v, count := counted(Options{Slots: NewSlots(1, nil)})
		if i, err := match(t.Context(), v, "1234", "1234"); i != 0 || err != nil {
			t.Fatalf("first: %d, %v", i, err)
		}
		busy, err := v.slots.Acquire(t.Context(), "other")
		if err != nil {
			t.Fatal(err)
		}
		defer busy(false)
		for range 2 { // a wrong one changes nothing
			if i, err := match(t.Context(), v, "1234", "9999123456", "9999"); i != -1 || err != nil {
				t.Errorf("wrong: %d, %v", i, err)
			}
			if i, err := match(t.Context(), v, "1234", "1234123456", "1234"); i != 1 || err != nil {
				t.Errorf("right: %d, %v", i, err)
			}
		}
		if i, err := match(t.Context(), v, "5678", "5678"); i != -1 || !errors.Is(err, ErrBusy) {
			t.Errorf("a hash that is not remembered: %d, %v", i, err)
		}
		if count.Load() != 1 {
			t.Errorf("%d computations", count.Load())
		}
	})
}

func TestMatchForgetsWhatIsWrong(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v, count := counted(Options{})
		for range 3 {
			if i, err := match(t.Context(), v, "1234", "9999"); i != -1 || err != nil {
				t.Errorf("%d, %v", i, err)
			}
		}
		if count.Load() != 3 {
			t.Errorf("%d computations", count.Load())
		}
	})
}

func TestVerifyIsNeverRemembered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v, count := counted(Options{})
		for range 2 {
			if right, err := v.Verify(t.Context(), "peer", "1234", "1234"); !right || err != nil {
				t.Errorf("%v, %v", right, err)
			}
		}
		if count.Load() != 2 || v.Known("1234") {
			t.Errorf("%d computations", count.Load())
		}
	})
}

func TestCacheCanBeOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v, count := counted(Options{CacheOff: true})
		for range 2 {
			if i, err := match(t.Context(), v, "1234", "1234"); i != 0 || err != nil {
				t.Errorf("%d, %v", i, err)
			}
		}
		if count.Load() != 2 {
			t.Errorf("%d computations", count.Load())
		}
	})
}

func TestCacheIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v, _ := counted(Options{CacheSize: 2})
		known := func(plain string) bool { return v.Known(plain) }
		for _, plain := range []string{"a", "b", "a", "c"} {
			if _, err := match(t.Context(), v, plain, plain); err != nil {
				t.Fatal(err)
			}
		}
		if !known("a") || known("b") || !known("c") {
			t.Errorf("a %v, b %v, c %v; the one unused for longest should go", known("a"), known("b"), known("c"))
		}
	})
}

func TestPermitsThatAskTheSameShareOneComputation(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v, count := counted(Options{Slots: NewSlots(8, nil)})
		results := make(chan int)
		for range 5 {
			go func() {
				i, err := match(t.Context(), v, "1234", "1234")
				if err != nil {
					t.Error(err)
				}
				results <- i
			}()
		}
		for range 5 {
			if i := <-results; i != 0 {
				t.Errorf("got %d", i)
			}
		}
		if count.Load() != 1 {
			t.Errorf("%d computations", count.Load())
		}
	})
}

func TestBeginFailsBeforeAnythingIsPaid(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v, count := counted(Options{Slots: NewSlots(1, nil)})
		if _, err := v.slots.Acquire(t.Context(), "other"); err != nil {
			t.Fatal(err)
		}
		turn, err := v.Begin(t.Context(), "peer", "1234")
		if turn != nil || !errors.Is(err, ErrBusy) || count.Load() != 0 {
			t.Errorf("%v, %d computations", err, count.Load())
		}
	})
}

func TestDummyComputesOnceWhateverTheHash(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v, count := counted(Options{Params: cheap()})
		for n, like := range []string{passlib()["argon2id"], "", "!"} {
			if err := v.Dummy(t.Context(), "peer", like, passlibPlain); err != nil {
				t.Error(err)
			}
			if int(count.Load()) != n+1 {
				t.Errorf("%q: %d computations", like, count.Load())
			}
		}
		if v.slots.good.has("peer") {
			t.Error("a dummy made the peer known")
		}
	})
}

func TestRealHashesGoThroughTheVerifier(t *testing.T) {
	t.Parallel()
	v := New(Options{Params: cheap()})
	stored, err := v.Hash(t.Context(), "peer", "1234")
	if err != nil {
		t.Fatal(err)
	}
	if i, err := match(t.Context(), v, stored, "12", "1234"); i != 1 || err != nil {
		t.Errorf("%d, %v", i, err)
	}
	if _, err := match(t.Context(), v, "unknown", "1234"); !errors.Is(err, ErrUnknownFormat) {
		t.Errorf("a stored hash of unknown form: %v", err)
	}
	if _, err := v.Hash(t.Context(), "peer", string(make([]byte, MaxPlain+1))); !errors.Is(err, ErrTooLong) {
		t.Errorf("a long plain text: %v", err)
	}
}

func BenchmarkHash(b *testing.B) {
	for b.Loop() {
		if _, err := (Params{}).Hash(rand.Reader, "1234"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkKnown(b *testing.B) {
	v := New(Options{Params: cheap()})
	stored, err := v.Hash(b.Context(), "peer", "1234")
	if err != nil {
		b.Fatal(err)
	}
	if _, err := match(b.Context(), v, stored, "1234"); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if !v.Known(stored) {
			b.Fatal("forgotten")
		}
	}
}
