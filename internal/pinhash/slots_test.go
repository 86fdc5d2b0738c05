package pinhash

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// seat takes a slot that must be free.
func seat(t *testing.T, s *Slots, peer string) func(bool) {
	t.Helper()
	start := time.Now()
	release, err := s.Acquire(t.Context(), peer)
	if err != nil || time.Since(start) != 0 {
		t.Fatalf("%s waited %v: %v", peer, time.Since(start), err)
	}
	return release
}

func TestAcquireGivesUpAfterTwoSeconds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := NewSlots(1, nil)
		release := seat(t, s, "a")
		start := time.Now()
		if _, err := s.Acquire(t.Context(), "b"); !errors.Is(err, ErrBusy) || time.Since(start) != 2*time.Second {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		release(false)
		seat(t, s, "b")(false) // the slot did not go to the caller who had left
	})
}

func TestAcquireEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := NewSlots(1, nil)
		release := seat(t, s, "a")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := s.Acquire(ctx, "b"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a context that ends: %v", err)
		}
		release(false)
		if _, err := s.Acquire(ctx, "b"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a context that has ended: %v", err)
		}
		seat(t, s, "a")(false)
	})
}

func TestReleaseCountsOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := NewSlots(1, nil)
		release := seat(t, s, "a")
		release(false)
		release(false)
		seat(t, s, "a")
		if _, err := s.Acquire(t.Context(), "a"); !errors.Is(err, ErrBusy) {
			t.Errorf("there are two slots now: %v", err)
		}
	})
}

func TestPeersAreServedInTurn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := NewSlots(1, nil)
		release := seat(t, s, "first")
		served := make(chan string, 10)
		for _, peer := range []string{"flood", "flood", "flood", "flood", "calm", "flood", "quiet"} {
			go func() {
				release, err := s.Acquire(t.Context(), peer)
				if err != nil {
					t.Error(err)
					return
				}
				served <- peer
				release(false)
			}()
			synctest.Wait() // the order of arrival
		}
		release(false)
		synctest.Wait()
		close(served)
		var order []string
		for peer := range served {
			order = append(order, peer)
		}
		if want := []string{"flood", "calm", "quiet", "flood", "flood", "flood", "flood"}; !slices.Equal(order, want) {
			t.Errorf("served %v, want %v", order, want)
		}
	})
}

func TestReserveIsForPeersThatWereRight(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := NewSlots(2, nil)
		seat(t, s, "known")(true)
		stranger := seat(t, s, "stranger")
		if _, err := s.Acquire(t.Context(), "stranger 2"); !errors.Is(err, ErrBusy) {
			t.Errorf("a stranger got the reserve: %v", err)
		}
		seat(t, s, "known")(false) // a wrong PIN of a user behind it does not shut the peer out
		time.Sleep(time.Hour)
		if _, err := s.Acquire(t.Context(), "known"); !errors.Is(err, ErrBusy) {
			t.Errorf("a peer that was right long ago got the reserve: %v", err)
		}
		stranger(false)
		seat(t, s, "known")(false)
	})
}

func TestPeerThatTurnsOutRightIsTrusted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := NewSlots(4, nil)
		release := []func(bool){seat(t, s, "a"), seat(t, s, "b"), seat(t, s, "c")}
		served := make(chan error)
		go func() {
			release, err := s.Acquire(t.Context(), "a")
			if err == nil {
				release(false)
			}
			served <- err
		}()
		synctest.Wait() // one slot is free, and it is the reserve
		release[0](true)
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}

// TestNoSlotIsLostOrDoubled throws callers with limits at the slots and counts who has one.
func TestNoSlotIsLostOrDoubled(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(1, 5).Draw(rt, "slots")
		type caller struct {
			peer         string
			begin, takes time.Duration
			limit        time.Duration
			right        bool
		}
		ms := func(most int, label string) time.Duration {
			return time.Duration(rapid.IntRange(0, most).Draw(rt, label)) * time.Millisecond
		}
		var callers []caller
		for range rapid.IntRange(1, 30).Draw(rt, "callers") {
			callers = append(callers, caller{fmt.Sprint(rapid.IntRange(0, 4).Draw(rt, "peer")), ms(1000, "begin"),
				ms(900, "takes"),
				ms(3000, "limit") + 1, rapid.Bool().Draw(rt, "right")})
		}
		synctest.Test(t, func(t *testing.T) {
			s := NewSlots(n, nil)
			inside := make(chan struct{}, n)
			for _, c := range callers {
				go func() {
					time.Sleep(c.begin)
					ctx, cancel := context.WithTimeout(t.Context(), c.limit)
					defer cancel()
					release, err := s.Acquire(ctx, c.peer)
					if err != nil {
						return
					}
					select {
					case inside <- struct{}{}:
					default:
						t.Errorf("more than %d at once", n)
						return
					}
					time.Sleep(c.takes)
					<-inside
					release(c.right)
				}()
			}
			time.Sleep(time.Hour) // all calls have ended, and the trust has expired
			synctest.Wait()
			if s.free != n || len(s.queues) > 0 || len(s.unknown)+len(s.trusted) > 0 {
				t.Errorf("%d of %d free, %d queues", s.free, n, len(s.queues))
			}
			for range n - s.reserve {
				seat(t, s, "new")
			}
		})
	})
}

// What strangers make the slots keep ends with their requests.
func TestWaitersThatGaveUpLeaveNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := NewSlots(1, nil)
		release := seat(t, s, "a")
		for n := range 50 {
			for range 3 {
				go s.Acquire(t.Context(), fmt.Sprintf("192.0.2.%d", n)) //nolint:errcheck // it gives up
			}
		}
		synctest.Wait()
		if len(s.queues) != 50 {
			t.Errorf("%d queues of waiters, want 50", len(s.queues))
		}
		time.Sleep(maxWait)
		synctest.Wait()
		if len(s.queues)+len(s.unknown)+len(s.trusted) != 0 {
			t.Errorf("the slots keep %d queues, %d of unknown peers and %d of trusted ones", len(s.queues),
				len(s.unknown),
				len(s.trusted))
		}
		release(false)
		seat(t, s, "b")(false)
	})
}

func TestAddressesOfOneNetworkShareALine(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"192.0.2.1":        "192.0.2.1",
		"::ffff:192.0.2.1": "192.0.2.1",
		"2001:db8::1":      "2001:db8::/64",
		"2001:db8::ffff:1": "2001:db8::/64",
		"2001:db8:0:1::1":  "2001:db8:0:1::/64",
		"fe80::1%eth0":     "fe80::/64",
		"administration":   "administration",
		"":                 "",
	} {
		if got := Network(address); got != want {
			t.Errorf("Network(%q) = %q, want %q", address, got, want)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		s := NewSlots(1, nil)
		release := seat(t, s, "a")
		for n := range 5 {
			go s.Acquire(t.Context(), fmt.Sprintf("2001:db8::%x", n)) //nolint:errcheck // it gives up
		}
		synctest.Wait()
		if len(s.queues) != 1 {
			t.Errorf("%d queues of one network, want 1", len(s.queues))
		}
		release(false)
		time.Sleep(maxWait)
	})
}
