package test

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"otpost/test/e2e"
)

// TestPostfixsSink sends logins into Postfix's smtp-sink, a foreign mail server.
func TestPostfixsSink(t *testing.T) {
	t.Parallel()
	program := os.Getenv("SMTP_SINK")
	if program == "" {
		deps := os.Getenv("OTPOST_DEPS")
		if cache, err := os.UserCacheDir(); deps == "" && err == nil {
			deps = filepath.Join(cache, "otpost-deps")
		}
		program = filepath.Join(deps, "bin", "smtp-sink")
	}
	if _, err := os.Stat(program); err != nil {
		e2e.Missing(t, "smtp-sink (scripts/deps smtp brings it): "+err.Error())
	}
	// smtp-sink runs as nobody and writes each transaction into a file, below a folder of this
	// test.
	spool := filepath.Join(t.TempDir(), "spool")
	if err := os.Mkdir(spool, 0o777); err != nil {
		t.Fatal(err)
	}
	for dir := spool; ; dir = filepath.Dir(dir) {
		if dir == filepath.Clean(os.TempDir()) || dir == "/" {
			break
		}
		if err := os.Chmod(dir, 0o777); err != nil { //nolint:gosec // the user nobody must get through
			t.Fatal(err)
		}
	}
	port := freePort(t)
	args := []string{"-d", "mail.", fmt.Sprintf("127.0.0.1:%d", port), "1000"}
	if os.Geteuid() == 0 {
		args = append([]string{"-u", "nobody"}, args...)
	}
	sink := e2e.Start(t, e2e.Command{Path: program, Args: args, Dir: spool})
	e2e.Eventually(t, "smtp-sink to listen", func() bool {
		if sink.Ended() {
			t.Fatalf("smtp-sink ended: %s%s", sink.Out, sink.Err)
		}
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			c.Close()
		}
		return err == nil
	})

	w := newWorld(t, "--workers", "0")
	w.Worker(t)
	w.server.SMTPServer(t, "queued", port, map[string]any{"enqueue_job": true})
	w.server.SMTPServer(t, "inline", port, nil)
	for i := range 10 {
		route := []string{"queued", "inline"}[i%2]
		l := w.enrol(t, fmt.Sprintf("SINK%d", i), "email.identifier", route)
		l.begin(t, w.server.Client)
		w.delivered(t, l)
		l.finish(t, w.server.Client, dumped(t, spool, l.address))
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// dumped returns the one mail for a recipient in the files that smtp-sink has written: its X- lines
// about the transaction, then the message.
func dumped(t *testing.T, spool, to string) e2e.Mail {
	t.Helper()
	var found []e2e.Mail
	e2e.Eventually(t, "the file with the mail for "+to, func() bool {
		found = found[:0]
		files, err := filepath.Glob(filepath.Join(spool, "mail.*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			b, err := os.ReadFile(file)
			if err != nil || !strings.Contains(string(b), "X-Rcpt-Args: <"+to+">") {
				continue
			}
			if m, err := e2e.ParseMail(bytes.TrimSuffix(b, []byte("\n"))); err == nil && m.Code() != "" {
				found = append(found, m)
			}
		}
		return len(found) > 0
	})
	if len(found) != 1 {
		t.Fatalf("%d mails for %s, want 1", len(found), to)
	}
	return found[0]
}
