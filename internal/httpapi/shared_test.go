package httpapi

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"otpost/internal/delivery"
	"otpost/internal/queue"
)

// slow is something to look at: each look takes a time, and is told how it ended.
type slow struct {
	looks atomic.Int32
	takes time.Duration
	err   error
	ended []error // causes by which looks were given up
}

func (s *slow) ask(ctx context.Context) (int, error) {
	n := s.looks.Add(1)
	select {
	case <-time.After(s.takes):
		return int(n), s.err
	case <-ctx.Done():
		s.ended = append(s.ended, ctx.Err())
		return 0, ctx.Err()
	}
}

// looked is what a caller got.
type looked struct {
	value int
	err   error
}

// many asks with so many callers at once, and returns what each got.
func many(n int, get func() (int, error)) []looked {
	all := make([]looked, n)
	var callers sync.WaitGroup
	for i := range all {
		callers.Go(func() { all[i].value, all[i].err = get() })
	}
	callers.Wait()
	return all
}

func TestManyShareOneLookASecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, dear := newShared[int](time.Now), &slow{takes: 300 * time.Millisecond}
		get := func() (int, error) { return s.get(t.Context(), "", dear.ask) }
		for second := 1; second <= 10; second++ {
			begun := time.Now()
			for _, l := range many(100, get) {
				if l.value != second || l.err != nil {
					t.Fatalf("in second %d: %+v", second, l)
				}
			}
			time.Sleep(time.Until(begun.Add(sharedFor - 1))) // just before the answer is too old
			if n, _ := get(); n != second {
				t.Fatalf("at the end of second %d: look %d", second, n)
			}
			time.Sleep(time.Nanosecond)
		}
	})
}

func TestLooksOfOthersAreNotShared(t *testing.T) {
	t.Parallel()
	s := newShared[string](time.Now)
	all := [][]string{nil, {}, {""}, {"a"}, {"a", "b"}, {"a b"}, {"a, b"}, {`a", "b`}, {"b", "a"}}
	for i, realms := range all {
		got, err := s.get(t.Context(), listKey(delivery.Filter{Realms: realms}), func(context.Context) (string, error) { return strings.Repeat("x", i), nil })
		if err != nil || len(got) != i {
			t.Errorf("%q see what others see, %v", realms, err)
		}
	}
}

func TestErrorOfALookIsToldAndNotKept(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		away := errors.New("away")
		s, dear := newShared[int](time.Now), &slow{takes: time.Second, err: away}
		get := func() (int, error) { return s.get(t.Context(), "", dear.ask) }
		for _, l := range many(5, get) {
			if !errors.Is(l.err, away) {
				t.Fatalf("got %+v", l)
			}
		}
		dear.err = nil
		if n, err := get(); n != 2 || err != nil {
			t.Fatalf("after the error: look %d, %v", n, err)
		}
	})
}

func TestCallerThatGoesFailsNoOther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, dear := newShared[int](time.Now), &slow{takes: time.Second}
		first, leave := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() {
			_, err := s.get(first, "", dear.ask)
			ended <- err
		}()
		synctest.Wait()
		other := make(chan looked)
		go func() {
			n, err := s.get(t.Context(), "", dear.ask)
			other <- looked{n, err}
		}()
		synctest.Wait()
		leave()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("who left got %v", err)
		}
		if l := <-other; l.value != 1 || l.err != nil {
			t.Errorf("who stayed got %+v", l)
		}
	})
}

func TestCallEndsInTimeWithoutCallers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, dear := newShared[int](time.Now), &slow{takes: time.Hour}
		for range 2 { // the second caller joins the call
			ctx, leave := context.WithTimeout(t.Context(), time.Millisecond)
			if _, err := s.get(ctx, "", dear.ask); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v", err)
			}
			leave()
		}
		time.Sleep(longestShared)
		synctest.Wait()
		if n := dear.looks.Load(); n != 1 || len(dear.ended) != 1 {
			t.Errorf("%d calls, %d of them ended, want one of each", n, len(dear.ended))
		}
		if len(s.results) != 0 {
			t.Errorf("%d results are cached", len(s.results))
		}
	})
}

func TestOldLooksAreForgotten(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	s, dear := newShared[int](func() time.Time { return now }), &slow{}
	ask := func(key string) int {
		n, err := s.get(t.Context(), key, dear.ask)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	ask("a")
	ask("b")
	now = now.Add(sharedFor)
	if n := ask("c"); n != 3 || len(s.results) != 1 {
		t.Errorf("look %d, %d are kept", n, len(s.results))
	}
	now = now.Add(-time.Hour) // the clock was set back
	if n := ask("c"); n != 4 {
		t.Errorf("look %d", n)
	}
}

func TestPanicOfALookReachesItsCallers(t *testing.T) {
	t.Parallel()
	q := &shownQueue{}
	q.looking = func() { panic("a bug") }
	r := newRigWith(t, func(d *Deps, _ *Options) { d.Queue = q })
	for range 2 {
		g := r.do("GET", "/queue/", r.admin, nil)
		if g.status != http.StatusInternalServerError || strings.Contains(g.raw, "a bug") {
			t.Error(g.raw)
		}
	}
	if log := r.log.String(); strings.Count(log, "panic: a bug") != 2 || !strings.Contains(log, "shared_test.go") {
		t.Error(log)
	}
}

func TestWatchersOfTheQueueShareItsLooks(t *testing.T) {
	t.Parallel()
	var looks atomic.Int32
	q := &shownQueue{status: queue.Status{Dead: 1}, looking: func() { looks.Add(1) }}
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	r := newRigWith(t, func(d *Deps, o *Options) { d.Queue, o.Now = q, func() time.Time { return now } })
	for range 2 {
		for range 5 {
			if value, _ := r.do("GET", "/queue/", r.admin, nil).value().(map[string]any); value["dead"] != 1.0 {
				t.Fatal(value)
			}
		}
		now = now.Add(sharedFor)
	}
	if n := looks.Load(); n != 2 {
		t.Errorf("%d looks in two seconds", n)
	}
}
