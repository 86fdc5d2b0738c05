package test

import (
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"otpost/test/e2e"
)

// TestFullDiskUnderLoad fills the disk while logins come in, for 3 seconds (30 with OTPOST_SOAK):
// each login is answered with a challenge whose mail comes once, or with an error; with free space,
// all are challenged again, without a restart.
func TestFullDiskUnderLoad(t *testing.T) {
	t.Parallel()
	length, perSecond := 3*time.Second, 10
	if soak() > 0 {
		length = 30 * time.Second
	}
	d := newSmallDisk(t, "4")
	s := &load{world: d.world}
	const beside = 2 * time.Second // before it and after it
	for i := range int((length + 2*beside).Seconds()) * perSecond {
		s.logins = append(s.logins, d.enrol(t, fmt.Sprintf("LOAD%d", i)))
	}
	filling := d.enrol(t, "FILLING")
	done := s.run(t, perSecond)
	<-time.After(beside)
	d.fill(t, filling)
	<-time.After(length)
	d.empty(t)
	<-done
	refused := s.check(t)
	if refused == 0 {
		t.Error("no login met the full disk")
	}
	after := d.enrol(t, "AFTER")
	e2e.Eventually(t, "a login after there was room again", func() bool {
		a, err := d.server.Check(t.Context(), after.serial, after.pin)
		after.transaction = a.Detail.TransactionID
		return err == nil && a.Result.Authentication == "CHALLENGE"
	})
	d.delivered(t, after)
	d.server.Stop(t)
}

// load is a steady stream of logins, of which some may be refused.
type load struct {
	*world
	logins []*login
}

// run begins the logins; the channel is closed when all are answered. A login that was answered with a
// challenge has its transaction then.
func (s *load) run(t *testing.T, perSecond int) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(time.Second / time.Duration(perSecond))
		defer tick.Stop()
		var all sync.WaitGroup
		for _, l := range s.logins {
			<-tick.C
			all.Go(func() {
				a, err := s.server.Check(t.Context(), l.serial, l.pin)
				switch {
				case err != nil:
					t.Errorf("%s: %v", l.serial, err)
				case a.Result.Authentication == "CHALLENGE":
					l.transaction = a.Detail.TransactionID
				case a.HTTPStatus < 500:
					t.Errorf("%s: %s, want a challenge or an error", l.serial, a)
				}
			})
		}
		all.Wait()
	}()
	return done
}

// check expects one mail for each login with a challenge, and returns how many were refused.
func (s *load) check(t *testing.T) (refused int) {
	t.Helper()
	for _, l := range s.logins {
		if l.transaction == "" {
			refused++
			continue
		}
		e2e.Eventually(t, l.serial+": a mail", func() bool { return len(s.sink.Mails(l.address)) > 0 })
		s.oneCopy(t, l)
	}
	t.Logf("%d logins, %d refused", len(s.logins), refused)
	return refused
}

// TestLockFilesDeletedUnderLoad deletes the locks and the wake file under two servers and two
// workers, and then restarts some of them: of 200 mails none is lost and none comes twice.
func TestLockFilesDeletedUnderLoad(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "--workers", "0")
	second := w.Serve(t, "--workers", "0")
	workers := []*e2e.Worker{w.Worker(t), w.Worker(t)}
	const phase = 50
	var all []*login
	for i := range 4 * phase {
		all = append(all, w.enrol(t, fmt.Sprintf("LOCKS%d", i)))
	}
	begin := func(logins []*login) {
		var parts sync.WaitGroup
		for k := range 8 {
			parts.Go(func() {
				for i := k; i < len(logins); i += 8 {
					c := w.server.Client
					if i%2 == 0 {
						c = second.Client
					}
					a, err := c.Check(t.Context(), logins[i].serial, logins[i].pin)
					if err != nil || a.Result.Authentication != "CHALLENGE" {
						t.Errorf("%s: %v %s", logins[i].serial, err, a)
					}
				}
			})
		}
		parts.Wait()
	}
	begin(all[:phase])
	removed := 0
	for _, pattern := range []string{"*-writer", "*-wake", "*.lock"} {
		files, err := filepath.Glob(filepath.Join(filepath.Dir(database(w.Site)), pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			if err := os.Remove(name); err != nil {
				t.Fatal(err)
			}
			removed++
		}
	}
	if removed < 4 { // the writers' lock, the wake file and one for each worker
		t.Fatalf("%d lock files", removed)
	}
	begin(all[phase : 2*phase])
	w.arrive(t, all[:2*phase]) // a mail that is being sent at a kill may come twice
	second.Kill()
	second = w.Serve(t, "--workers", "0")
	workers[0].Kill()
	workers[0] = w.Worker(t)
	begin(all[2*phase : 3*phase])
	w.arrive(t, all[:3*phase])
	workers[1].Kill() // its lock file is gone: its lease decides
	begin(all[3*phase:])
	w.arrive(t, all)
	for _, p := range []*e2e.Process{w.server.Process, second.Process} {
		if lines := p.Err.Lines("locked"); len(lines) > 0 {
			t.Errorf("the database was locked: %s", lines[0])
		}
	}
}

// arrive waits until each login has its mail, and expects one for each.
func (w *world) arrive(t *testing.T, logins []*login) {
	t.Helper()
	for _, l := range logins {
		w.oneCopy(t, l)
	}
}

// TestClockStepOnARestart kills the server while a mail is under way, steps the clock by an hour either way, and
// starts the server again: logins work at once, and the message from before has an end. The step is made in the
// database: all its times are moved by an hour, which is the same to a program without other memory (libfaketime
// cannot be preloaded to a static binary). Only the seal of a message is bound to its end and does not move: that a
// message from before is sent is TestWaitingMailIsTriedAfterTheClockWasSetBack.
func TestClockStepOnARestart(t *testing.T) {
	t.Parallel()
	for _, step := range []time.Duration{time.Hour, -time.Hour} {
		t.Run(step.String(), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			before, after := w.enrol(t, "BEFORE"), w.enrol(t, "AFTER")
			gate := w.sink.Hold(t, e2e.AtRcpt)
			before.begin(t, w.server.Client)
			gate.Wait(t)
			w.server.Kill()
			gate.Open()
			moveTimes(t, database(w.Site), -step)
			w.server = w.Serve(t)
			begun := time.Now()
			after.begin(t, w.server.Client)
			w.delivered(t, after)
			if took := time.Since(begun); took > 20*time.Second { // a lease of before the step is 10 s long
				t.Errorf("the first mail after the step took %s", took)
			}
			after.finish(t, w.server.Client, w.oneCopy(t, after))
			e2e.Eventually(t, "an end of the message from before", func() bool {
				return openMessages(t, database(w.Site)) == 0
			})
			if n := len(w.sink.Mails(before.address)); n > 1 || step > 0 && n > 0 {
				t.Errorf("%d mails of the login before the step", n)
			}
		})
	}
}

// moveTimes adds by to all times of a database that no process uses.
func moveTimes(t *testing.T, path string, by time.Duration) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.QueryContext(t.Context(), `SELECT m.name, c.name FROM sqlite_master m, pragma_table_info(m.name) c
		WHERE m.type = 'table' AND c.name LIKE '%\_ms' ESCAPE '\'`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var changes []string
	for rows.Next() {
		var table, column string
		if err := rows.Scan(&table, &column); err != nil {
			t.Fatal(err)
		}
		changes = append(changes, fmt.Sprintf("UPDATE %s SET %s = %s + %d WHERE %s > 0", table, column, column,
			by.Milliseconds(), column))
	}
	if err := rows.Err(); err != nil || len(changes) < 20 {
		t.Fatalf("%d columns with times, %v", len(changes), err)
	}
	if _, err := db.ExecContext(t.Context(), strings.Join(changes, ";")); err != nil {
		t.Fatal(err)
	}
}

// openMessages returns how many messages have no final state.
func openMessages(t *testing.T, path string) int {
	t.Helper()
	return number(t, path, `SELECT count(*) FROM delivery WHERE state IN ('queued', 'deferred', 'sending')`)
}

// number returns what a query of one number finds in a database.
func number(t *testing.T, path, query string) (n int) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path+"?mode=ro&_pragma=busy_timeout(5000)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.QueryRowContext(t.Context(), query).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}
