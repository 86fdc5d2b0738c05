package test

import (
	"bufio"
	"context"
	"database/sql"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"otpost/internal/store"
	"otpost/test/e2e"
)

// TestDatabaseReplacedUnderTheProgramEndsIt puts a backup into the place of the database while server and worker
// run: both end with exit code 1 and one sentence that names the file, and the backup is what it was.
func TestDatabaseReplacedUnderTheProgramEndsIt(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, on queueKind) {
		w := newWorldOn(t, on, "--workers", "0")
		worker := w.Worker(t)
		l := w.enrol(t, "REPLACED")
		l.begin(t, w.server.Client)
		w.delivered(t, l)
		path := database(w.Site)
		backup := path + ".bak"
		statement(t, path, "VACUUM INTO '"+backup+"'")
		want, err := os.ReadFile(backup)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{path, path + "-wal", path + "-shm"} {
			if err := os.Remove(name); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Rename(backup, path); err != nil {
			t.Fatal(err)
		}
		if a, err := w.server.Check(t.Context(), l.serial, l.pin); err == nil && a.Result.Status {
			t.Errorf("a login into the file without a name: %s", a)
		}
		for _, p := range []*e2e.Process{w.server.Process, worker.Process} {
			if code := p.Wait(t); code != 1 {
				t.Errorf("exit code %d, want 1", code)
			}
			if said := p.Err.String(); !strings.Contains(said, "the database was replaced") ||
				!strings.Contains(said, path) {
				t.Errorf("standard error does not say why:\n%s", said)
			}
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != string(want) {
			t.Errorf("the backup was written, or cannot be read: %v", err)
		}
		next := w.Serve(t)
		next.MustCheck(t, "CHALLENGE", l.serial, l.pin)
	})
}

// statement runs a statement on a database file, as another program would.
func statement(t *testing.T, path, text string) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), text); err != nil {
		t.Fatal(err)
	}
}

// holdCommit is what this test binary does in place of its tests when OTPOST_TEST_COMMIT names a database: it
// begins a transaction, says so and waits for the end of its input.
func holdCommit(path string) int {
	db, err := store.Open(context.Background(), store.Options{Path: path})
	if err == nil {
		err = db.Write(context.Background(), func(*store.Tx) error {
			fmt.Println("in its transaction")
			_, err := io.ReadAll(os.Stdin)
			return err
		})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// TestProcessStoppedInItsCommit stops a process that holds the writers' lock: logins are refused
// with 503 within seconds, probes answer correctly, abandoned requests end, and all work continues
// with the process.
func TestProcessStoppedInItsCommit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.enrol(t, "STOPPED")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self) //nolint:gosec // this very binary
	cmd.Env = append(os.Environ(), "OTPOST_TEST_COMMIT="+database(w.Site))
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() }) //nolint:errcheck // it may have ended
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	probe := func(path string) e2e.Answer {
		a, err := w.server.Anonymous().Do(t.Context(), http.MethodGet, path, nil)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	a, err := w.server.Check(t.Context(), l.serial, l.pin)
	if err != nil || a.HTTPStatus != http.StatusServiceUnavailable {
		t.Errorf("a login: %v %s, want 503", err, a)
	}
	if a := probe("/healthz/livez"); a.HTTPStatus != http.StatusOK {
		t.Errorf("livez: %s, want 200: a restart would not help", a)
	}
	if a := probe("/healthz/readyz"); a.HTTPStatus != http.StatusServiceUnavailable {
		t.Errorf("readyz: %s, want 503", a)
	}
	var all sync.WaitGroup
	for range 200 {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			defer cancel()
			if a, err := w.server.Check(ctx, l.serial, l.pin); err == nil &&
				a.HTTPStatus != http.StatusServiceUnavailable {
				t.Errorf("a further login: %s, want 503", a)
			}
		})
	}
	all.Wait()
	if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	in.Close() //nolint:errcheck // it ends the process
	e2e.Eventually(t, "a login after the process went on", func() bool {
		a, err := w.server.Check(t.Context(), l.serial, l.pin)
		l.transaction = a.Detail.TransactionID
		return err == nil && a.Result.Authentication == "CHALLENGE"
	})
	w.delivered(t, l)
	if a := probe("/healthz/readyz"); a.HTTPStatus != http.StatusOK {
		t.Errorf("readyz afterwards: %s", a)
	}
}
