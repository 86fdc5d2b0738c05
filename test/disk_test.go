package test

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"otpost/test/e2e"
)

// inNamespace returns the command of a shell script in a mount namespace of its own, where it may
// mount file systems.
func inNamespace(t *testing.T, script string, args ...string) e2e.Command {
	t.Helper()
	unshare, err := exec.LookPath("unshare")
	if err != nil {
		e2e.Missing(t, "unshare (util-linux)")
	}
	if code, p := e2e.Run(t, e2e.Command{Path: unshare, Args: []string{"-m", "mount", "-t", "tmpfs", "-o", "size=64k",
		"none", t.TempDir()}}); code != 0 {
		e2e.Missing(t, "the right to mount in a namespace of one's own: "+p.Err.String())
	}
	return e2e.Command{Path: unshare, Args: append([]string{"-m", "sh", "-c", "set -e; " + script, "sh"}, args...)}
}

func TestReadOnlyDatabaseIsRefused(t *testing.T) {
	t.Parallel()
	site := e2e.NewSite(t, programs, true)
	exits(t, 1, "read-only", inNamespace(t,
		`mount --bind "$1" "$1"; mount -o remount,ro,bind "$1"; exec "$2" serve --config "$3" --listen 127.0.0.1:0`,
		filepath.Dir(database(site)), programs.Path("otpost"), site.Config))
}

// smallDisk is an installation whose state lies on a disk of 24 MiB, several times what the
// write-ahead log grows to, in the mount namespace of its server.
type smallDisk struct {
	*world
	filler string // fills the disk; a path outside the namespace
}

func newSmallDisk(t *testing.T, workers string) *smallDisk {
	t.Helper()
	site := e2e.NewSite(t, programs, true)
	disk := t.TempDir()
	p := e2e.Start(t, inNamespace(t,
		`mount -t tmpfs -o size=24m,mode=0700 none "$1"; cp -a "$2/." "$1/"; mount --bind "$1" "$2"
		exec "$3" serve --config "$4" --listen 127.0.0.1:0 --workers "$5"`,
		disk, filepath.Dir(database(site)), programs.Path("otpost"), site.Config, workers))
	_, address, _ := strings.Cut(p.Line(t, "listening on "), "listening on ")
	client := &e2e.Client{URL: strings.TrimSpace(address), HTTP: &http.Client{}}
	t.Cleanup(client.HTTP.CloseIdleConnections)
	client.LogIn(t, "admin", e2e.AdminPassword)
	w := &world{Site: site, server: &e2e.Server{Process: p, Client: client}, sink: e2e.NewSink(t, e2e.SinkOptions{})}
	client.SMTPServer(t, "queued", w.sink.Port, map[string]any{"enqueue_job": true})
	client.Set(t, "email.identifier", "queued")
	return &smallDisk{w, fmt.Sprintf("/proc/%d/root%s/filler", p.PID(), disk)}
}

// fill writes a file until the disk is full, and then logins until three were refused: the rest of
// the last pages has room for a few.
func (d *smallDisk) fill(t *testing.T, l *login) {
	t.Helper()
	f, err := os.Create(d.filler)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 64 << 10; size > 0; size /= 2 {
		for err == nil {
			_, err = f.Write(bytes.Repeat([]byte{'x'}, size))
		}
		err = nil
	}
	refused := 0
	for range 100 {
		a, err := d.server.Check(t.Context(), l.serial, l.pin)
		switch {
		case err != nil:
			t.Fatal(err)
		case a.HTTPStatus == http.StatusServiceUnavailable && !a.Result.Status && a.Detail.TransactionID == "":
			refused++
		case a.Result.Authentication == "CHALLENGE":
			l.transaction = a.Detail.TransactionID
		default:
			t.Fatalf("on a full disk: %s", a)
		}
		if refused == 3 {
			return
		}
	}
	t.Fatal("the disk is full and no login was refused")
}

// ready returns the status of readyz.
func (d *smallDisk) ready(t *testing.T) int {
	t.Helper()
	return d.server.Call(t, http.MethodGet, "/healthz/readyz", nil).HTTPStatus
}

func (d *smallDisk) saysOnce(t *testing.T, line string) {
	t.Helper()
	if n := len(d.server.Err.Lines(line)); n != 1 {
		t.Errorf("%d lines %q, want 1", n, line)
	}
}

func (d *smallDisk) empty(t *testing.T) {
	t.Helper()
	if err := os.Remove(d.filler); err != nil {
		t.Fatal(err)
	}
}

// TestFullDiskRefusesLoginsAndRecovers fills the disk under a running server: logins are answered
// with an error, not with a challenge without a mail; with free space all works again, without a
// restart.
func TestFullDiskRefusesLoginsAndRecovers(t *testing.T) {
	t.Parallel()
	d := newSmallDisk(t, "4")
	l := d.enrol(t, "FULLDISK")
	d.fill(t, l)
	for range 5 { // small writes may still succeed
		if status := d.ready(t); status != http.StatusServiceUnavailable {
			t.Errorf("readyz answers %d on a full disk", status)
		}
	}
	if a := d.server.Must(t, http.MethodGet, "/queue/", nil); !strings.Contains(string(a.Result.Value),
		`"database": "full"`) {
		t.Errorf("the queue's state says nothing of the full disk: %s", a)
	}
	d.empty(t)
	e2e.Eventually(t, "the server to be ready", func() bool { return d.ready(t) == http.StatusOK })
	d.saysOnce(t, "is full: the database cannot be written, so logins fail; free space, no restart is needed")
	d.saysOnce(t, "the database can be written again")
	if told := append(d.server.Err.Lines("queue out of reach"),
		d.server.Err.Lines("request failed")...); len(told) > 0 {
		t.Errorf("the log has %d lines beside: %s", len(told), told[0])
	}
	e2e.Eventually(t, "a login after there was room again", func() bool {
		a, err := d.server.Check(t.Context(), l.serial, l.pin)
		l.transaction = a.Detail.TransactionID
		return err == nil && a.Result.Authentication == "CHALLENGE"
	})
	d.delivered(t, l)
	mails := d.sink.Mails(l.address)
	l.finish(t, d.server.Client, mails[len(mails)-1])
}

// TestFullDiskInMidSend fills the disk while a mail is being sent: before the dot it waits until
// the dot can be recorded; after the dot its outcome waits for space, and the mail is not sent
// again.
func TestFullDiskInMidSend(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		stage e2e.Stage
		most  int
	}{{"before the dot", e2e.AtRcpt, 1}, {"after the dot", e2e.AtDot, 1}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := newSmallDisk(t, "4")
			l, other := d.enrol(t, "MIDSEND"), d.enrol(t, "OTHER")
			gate := d.sink.Hold(t, c.stage)
			l.begin(t, d.server.Client)
			gate.Wait(t)
			d.fill(t, other)
			gate.Open()
			e2e.Eventually(t, "the sender to have met the full disk, or to have found room", func() bool {
				return len(d.server.Err.Lines("is full: the database cannot be written")) > 0 ||
					len(d.server.Err.Lines("state=accepted")) > 0
			})
			d.empty(t)
			e2e.Eventually(t, "the mail to be sent", func() bool {
				return d.server.DeliveryState(t, l.transaction) == "sent"
			})
			l.finish(t, d.server.Client, d.sameMail(t, l, c.most))
			d.server.Stop(t)
		})
	}
}
