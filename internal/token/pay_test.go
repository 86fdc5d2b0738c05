package token_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"otpost/internal/challenge"
	"otpost/internal/fault"
	"otpost/internal/store"
	"otpost/internal/token"
)

func (r *rig) fails(serial string) int {
	r.t.Helper()
	got, err := r.BySerial(r.t.Context(), serial)
	if err != nil {
		r.t.Fatal(err)
	}
	return got.FailCount
}

func (r *rig) pay(serials ...string) []token.Guess {
	r.t.Helper()
	paid, err := r.Pay(r.t.Context(), serials...)
	if err != nil {
		r.t.Fatal(err)
	}
	return paid
}

func (r *rig) settle(v token.Verdict, guesses ...token.Guess) {
	r.t.Helper()
	err := r.db.Write(r.t.Context(), func(tx *store.Tx) error {
		token.Settle(tx, r.db.Now(), v, guesses...)
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

func TestPayTakesFromEveryTokenThatCanBeTried(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, serial := range []string{"A", "LOCKED", "OFF", "Z", "REVOKED"} {
		r.enrol(serial)
	}
	r.exec(`UPDATE token SET failcount = max_failcount WHERE serial = 'LOCKED'`)
	r.exec(`UPDATE token SET active = 0 WHERE serial = 'OFF'`)
	r.exec(`UPDATE token SET revoked = 1 WHERE serial = 'REVOKED'`)
	paid := r.pay("Z", "LOCKED", "A", "OFF", "REVOKED", "NOSUCH")
	if len(paid) != 2 || paid[0].Serial() != "Z" || paid[1].Serial() != "A" || paid[0].Token().FailCount != 1 {
		t.Errorf("paid: %+v", paid)
	}
	for serial, want := range map[string]int{"A": 1, "Z": 1, "LOCKED": 10, "OFF": 0, "REVOKED": 0} {
		if got := r.fails(serial); got != want {
			t.Errorf("%s: failcount %d, want %d", serial, got, want)
		}
	}
}

func TestReceiptThatPayDidNotGiveIsGoodForNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.enrol("A")
	var forged token.Guess
	for _, serial := range []string{"", "A"} {
		if forged.PaidFor(serial) {
			t.Errorf("paid for %q", serial)
		}
	}
	if m := r.Compare(token.Attempt{Guess: forged, Challenges: []challenge.Challenge{{}}}); m.Validity != token.Invalid {
		t.Error("a code fits without a payment")
	}
	pins, err := r.Reserve(t.Context(), "peer", token.Typed{}, r.enrol("B"))
	if err != nil {
		t.Fatal(err)
	}
	defer pins.Release(false)
	if fit, _, err := pins.CheckPIN(t.Context(), forged); fit != token.NoFit || err != nil {
		t.Errorf("a PIN fits without a payment: %v, %v", fit, err)
	}
}

func TestVerdicts(t *testing.T) {
	t.Parallel()
	for _, one := range []struct {
		verdict              token.Verdict
		fail, auth, success  int
		lastAuth, exceededAt bool
	}{
		{token.Returned, 1, 0, 0, false, false},
		{token.Wrong, 2, 0, 0, false, true},
		{token.WrongCounted, 2, 1, 0, false, true},
		{token.Right, 0, 0, 0, false, false},
		{token.RightCounted, 0, 1, 1, true, false},
	} {
		r := newRig(t)
		r.enrol("A")
		r.exec(`UPDATE token SET failcount = 1, max_failcount = 2`)
		r.settle(one.verdict, r.pay("A")...)
		got, err := r.BySerial(t.Context(), "A")
		if err != nil {
			t.Fatal(err)
		}
		if got.FailCount != one.fail || got.CountAuth != one.auth || got.CountAuthSuccess != one.success ||
			got.LastAuth.IsZero() == one.lastAuth || got.FailCounterExceeded.IsZero() == one.exceededAt {
			t.Errorf("verdict %d: %+v", one.verdict, got)
		}
	}
}

// Whatever is paid, settled, reset and limited in whatever order: 0 <= failcount <= max_failcount.
func TestCounterStaysInItsBounds(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	rapid.Check(t, func(p *rapid.T) {
		r.exec(`DELETE FROM token`)
		r.exec(`DELETE FROM token_realm`)
		r.enrol("A")
		var open []token.Guess
		p.Repeat(map[string]func(*rapid.T){
			"": func(p *rapid.T) {
				got, err := r.BySerial(t.Context(), "A")
				if err != nil {
					p.Fatal(err)
				}
				if got.FailCount < 0 || got.FailCount > got.MaxFailCount {
					p.Fatalf("failcount %d of %d", got.FailCount, got.MaxFailCount)
				}
			},
			"pay": func(*rapid.T) { open = append(open, r.pay("A")...) },
			"settle": func(p *rapid.T) {
				if len(open) == 0 {
					p.Skip("nothing is paid")
				}
				i := rapid.IntRange(0, len(open)-1).Draw(p, "guess")
				verdict := token.Verdict(rapid.IntRange(int(token.Returned), int(token.RightCounted)).Draw(p, "verdict"))
				r.settle(verdict, open[i])
				open = append(open[:i], open[i+1:]...)
			},
			"reset": func(p *rapid.T) {
				if _, err := r.Reset(t.Context(), of("A")); err != nil {
					p.Fatal(err)
				}
			},
			"limit": func(p *rapid.T) {
				n := rapid.IntRange(1, 5).Draw(p, "max_failcount")
				if _, err := r.Set(t.Context(), of("A"), token.Changes{MaxFailCount: &n}); err != nil {
					p.Fatal(err)
				}
			},
			"enrol again": func(*rapid.T) { r.enrol("A") },
		})
	})
}

const dyingVariable = "OTPOST_TEST_DATABASE_OF_A_PROCESS_THAT_DIES"

func TestPaymentSurvivesTheProcess(t *testing.T) {
	if path := os.Getenv(dyingVariable); path != "" {
		r := open(t, path)
		r.pay("A")
		syscall.Kill(os.Getpid(), syscall.SIGKILL) //nolint:errcheck // there is no afterwards
	}
	t.Parallel()
	path := filepath.Join(t.TempDir(), "otpost.db")
	r := open(t, path)
	r.enrol("A")
	dying := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestPaymentSurvivesTheProcess$")
	dying.Env = append(os.Environ(), dyingVariable+"="+path)
	out, err := dying.CombinedOutput()
	if dying.ProcessState.ExitCode() != -1 {
		t.Fatalf("the process did not die: %v\n%s", err, out)
	}
	if got := r.fails("A"); got != 1 {
		t.Errorf("failcount %d after a process died between payment and decision, want 1", got)
	}
}

func TestTurnIsGivenUpAfterTwoSeconds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := token.New(token.Options{})
		release, _, err := s.Turn(t.Context(), "A")
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if _, _, err := s.Turn(t.Context(), "B", "A"); fault.CodeOf(err) != fault.Busy || time.Since(start) != 2*time.Second {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		if free, _, err := s.Turn(t.Context(), "B"); err != nil {
			t.Errorf("what was held while waiting is held for ever: %v", err)
		} else {
			free()
		}
		release()
		again, _, err := s.Turn(t.Context(), "A")
		if err != nil {
			t.Fatal(err)
		}
		again()
	})
}

func TestTurnsInOppositeOrderDoNotBlock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := token.New(token.Options{})
		var all sync.WaitGroup
		defer all.Wait()
		for range 50 {
			for _, serials := range [][]string{{"A", "B"}, {"B", "A"}, {"A", "A"}} {
				all.Go(func() {
					release, _, err := s.Turn(t.Context(), serials...)
					if err != nil {
						t.Error(err)
						return
					}
					<-time.After(time.Millisecond)
					release()
				})
			}
		}
	})
}
