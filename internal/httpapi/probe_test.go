package httpapi

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"otpost/internal/queue"
)

func TestHungProbeIsAnsweredInTimeAndNotAskedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		hang := make(chan struct{})
		p := newProbe(func(context.Context) (int, error) { // it does not listen to its context
			asked.Add(1)
			<-hang
			return 7, nil
		})
		for range 5 {
			begun := time.Now()
			if _, err := p.get(); !errors.Is(err, errHangs) || time.Since(begun) > probeWithin {
				t.Errorf("after %v: %v", time.Since(begun), err)
			}
		}
		if n := asked.Load(); n != 1 {
			t.Errorf("a probe that hangs was asked %d times", n)
		}
		close(hang)
		synctest.Wait()
		if n, err := p.get(); n != 7 || err != nil || asked.Load() != 2 {
			t.Errorf("after it hung: %d, %v, asked %d times", n, err, asked.Load())
		}
	})
}

func TestProbeThatPanicsIsAnError(t *testing.T) {
	t.Parallel()
	p := newProbe(func(context.Context) (int, error) { panic("broken") })
	for range 2 {
		if _, err := p.get(); err == nil || !strings.Contains(err.Error(), "broken") {
			t.Errorf("get: %v", err)
		}
	}
}

// hungQueue is a driver whose server does not answer.
type hungQueue struct {
	queue.Driver
	hang chan struct{}
}

func (h hungQueue) Workers(context.Context) ([]queue.Seen, error) { <-h.hang; return nil, nil }

func TestReadinessAnswersWhateverHangs(t *testing.T) {
	t.Parallel()
	hang := make(chan struct{})
	t.Cleanup(func() { close(hang) })
	for name, one := range map[string]struct {
		change func(*Deps, *Options)
		status int
		part   string
	}{
		"queue": {func(d *Deps, _ *Options) { d.Queue = hungQueue{hang: hang} }, http.StatusOK, `"degraded"`},
		"writer": {func(_ *Deps, o *Options) {
			o.Check = func(context.Context) error { <-hang; return nil }
		}, http.StatusServiceUnavailable, `"not ready"`},
		"both": {func(d *Deps, o *Options) {
			d.Queue = hungQueue{hang: hang}
			o.Check = func(context.Context) error { <-hang; return nil }
		}, http.StatusServiceUnavailable, `"not ready"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRigWith(t, one.change)
			for range 3 {
				begun := time.Now()
				g := r.do("GET", "/healthz/readyz", "", nil)
				if g.status != one.status || !strings.Contains(g.raw, one.part) {
					t.Errorf("readyz: %d %s", g.status, g.raw)
				}
				if took := time.Since(begun); took > 20*probeWithin {
					t.Errorf("readyz took %v", took)
				}
			}
		})
	}
}
