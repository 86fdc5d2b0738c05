package cli

import (
	"context"
	"log/slog"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestGracefulSignalIsTheChosenOne(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		rule      string
		int, term bool
	}{{"INT", true, false}, {"TERM", false, true}, {"both", true, true}, {"", true, true}} {
		r := stopRules{graceful: c.rule}
		if r.isGraceful(syscall.SIGINT) != c.int || r.isGraceful(syscall.SIGTERM) != c.term {
			t.Errorf("%q: INT %v, TERM %v", c.rule, r.isGraceful(syscall.SIGINT), r.isGraceful(syscall.SIGTERM))
		}
	}
}

func TestGracefulStopTurnsHardAfterItsTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		most := 3 * time.Second
		bounded, endBounded := context.WithCancel(t.Context())
		free, endFree := context.WithCancel(t.Context())
		hard, kill := context.WithCancel(context.Background())
		never, killNever := context.WithCancel(context.Background())
		defer killNever()
		stopRules{most: &most}.bound(bounded, kill)
		stopRules{}.bound(free, killNever)
		endBounded()
		endFree()
		time.Sleep(most - time.Millisecond)
		if synctest.Wait(); hard.Err() != nil {
			t.Error("too early")
		}
		time.Sleep(time.Millisecond)
		if synctest.Wait(); hard.Err() == nil {
			t.Error("not stopped in time")
		}
		if never.Err() != nil {
			t.Error("without a limit it was stopped all the same")
		}
	})
}

func TestLastOfVerboseAndQuietCounts(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args []string
		want slog.Level
	}{
		{nil, slog.LevelError},
		{[]string{"-v"}, slog.LevelDebug},
		{[]string{"-q"}, slog.LevelWarn},
		{[]string{"-v", "-q"}, slog.LevelWarn},
		{[]string{"-qv"}, slog.LevelDebug},
	} {
		parser, err := newParser(hueyName, &hueyCommand{})
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := parser.Parse(c.args)
		if err != nil {
			t.Fatal(err)
		}
		if got := logLevel(slog.LevelError, typed(parsed)); got != c.want {
			t.Errorf("%v: %v, want %v", c.args, got, c.want)
		}
	}
}
