package test

import (
	"encoding/base64"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"otpost/test/e2e"
)

// TestSecretsAreNowhere sends logins by every way (queued, inline, refused, retried, a mail server
// that repeats its input) and then searches their secrets in every file and every output: database,
// side files, logs, and what Redis has on disk.
func TestSecretsAreNowhere(t *testing.T) {
	t.Parallel()
	onBoth(t, secretsStandNowhere)
}

func secretsStandNowhere(t *testing.T, on queueKind) {
	const password = "Silberdistel-Passwort-93"
	w := &world{sink: e2e.NewSink(t, e2e.SinkOptions{Username: "relay", Password: password})}
	if on == inRedis {
		w.redis = e2e.NewRedis(t, "--loglevel", "debug")
		w.Site = e2e.NewRedisSite(t, programs, w.redis.URL())
	} else {
		w.Site = e2e.NewSite(t, programs, true)
	}
	w.Append(t, "PI_LOGLEVEL = logging.DEBUG\n")
	w.server = w.Serve(t, "--workers", "0")
	worker := w.Worker(t)
	account := map[string]any{"username": "relay", "password": password, "enqueue_job": true}
	w.server.SMTPServer(t, "queued", w.sink.Port, account)
	w.server.SMTPServer(t, "inline", w.sink.Port, map[string]any{"username": "relay", "password": password})
	w.server.SMTPServer(t, "wrong", w.sink.Port, map[string]any{"username": "relay", "password": password + "-falsch",
		"enqueue_job": true})
	w.server.Set(t, "email.identifier", "queued")

	chatty := "chattychatty@example.org"
	seen := map[string]int{}
	w.sink.Use(func(stage e2e.Stage, m e2e.Mail) error {
		switch {
		case m.To != chatty:
		case stage == e2e.AtDot && seen[m.To] == 0:
			seen[m.To]++
			return e2e.Refuse(451, fmt.Sprintf("not now: mail for <%s> of relay:%s says %s, %s", m.To, password,
				m.Code(), base64.StdEncoding.EncodeToString([]byte(m.Code()))))
		case stage == e2e.AtDot:
			return e2e.Refuse(554, fmt.Sprintf("spam: <%s> got %s by %s", m.To, m.Code(),
				base64.StdEncoding.EncodeToString([]byte("\x00relay\x00"+password))))
		}
		return nil
	})

	hunted := map[string]string{"the SMTP password": password, "the administrator's password": e2e.AdminPassword}
	remember := func(l *login) {
		hunted["the PIN of "+l.serial] = l.pin
		hunted["the address of "+l.serial] = l.address
		for _, m := range w.sink.Mails(l.address) {
			hunted["the code of "+l.serial] = m.Code()
			hunted["the subject of "+l.serial] = m.Subject
			if len(m.Code()) != 8 {
				t.Errorf("%s: a code of %d digits, want 8", l.serial, len(m.Code()))
			}
		}
	}
	for _, route := range []string{"queued", "inline"} {
		// Codes of eight digits, so that no other number looks like one.
		l := w.enrol(t, "PLAIN"+strings.ToUpper(route), "otplen", "8", "email.identifier", route)
		l.begin(t, w.server.Client)
		m := w.oneCopy(t, l)
		w.server.MustCheck(t, "REJECT", l.serial, "no-"+l.pin)
		l.finish(t, w.server.Client, m)
		l.begin(t, w.server.Client) // once more, by PIN and code
		w.server.MustCheck(t, "ACCEPT", l.serial, l.pin+w.sink.Mail(t, l.address, 2).Code())
		remember(l)
	}
	talk := w.enrol(t, "CHATTYCHATTY", "otplen", "8")
	talk.begin(t, w.server.Client)
	w.state(t, talk, "not_sent")
	remember(talk)
	locked := w.enrol(t, "LOCKEDOUT", "otplen", "8", "email.identifier", "wrong")
	locked.begin(t, w.server.Client)
	w.state(t, locked, "not_sent")
	remember(locked)
	w.server.Must(t, "POST", "/smtpserver/send_test_email", map[string]any{
		"identifier": "inline", "server": "127.0.0.1", "port": w.sink.Port, "sender": "otpost@example.org",
		"timeout":  10,
		"username": "relay", "password": "__CENSORED__", "recipient": "buttonpresser@example.org",
	})
	hunted["the test mail's address"] = "buttonpresser@example.org"
	for _, m := range w.sink.Mails("buttonpresser@example.org") {
		hunted["the test mail's subject"] = m.Subject
	}

	// Once while both run, for the write-ahead log, and once after both have ended.
	w.search(t, hunted, worker)
	worker.Stop(t)
	w.server.Stop(t)
	w.search(t, hunted, worker)
}

// search searches each secret, in plain text and in Base64, in everything that the programs have
// written.
func (w *world) search(t *testing.T, hunted map[string]string, worker *e2e.Worker) {
	t.Helper()
	places := map[string]string{
		"the server's stdout": w.server.Out.String(), "the server's stderr": w.server.Err.String(),
		"the worker's stdout": worker.Out.String(), "the worker's stderr": worker.Err.String(),
	}
	err := filepath.WalkDir(w.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		places[strings.TrimPrefix(path, w.Dir)] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if w.redis != nil {
		places["the log of Redis"] = w.redis.Log()
		for name, text := range w.redis.Files(t) {
			places["redis "+name] = text
		}
		if !strings.Contains(places["redis /dump.rdb"], "otpost:{huey}:") {
			t.Error("the search does not find what stands in Redis' dump")
		}
	}
	if len(places["/worker.log"]) == 0 || len(places["/state/otpost.db"]) == 0 {
		t.Fatal("log or database were not searched")
	}
	// The search must find values that are there: the serial and the masked address.
	if !strings.Contains(places["/worker.log"], "PLAINQUEUED") || !strings.Contains(places["/worker.log"],
		"p***@example.org") {
		t.Error("the search does not find what stands in the log")
	}
	hunt(t, hunted, places)
}

// hunt fails the test if a secret is in any place, in plain text or in Base64.
func hunt(t *testing.T, hunted, places map[string]string) {
	t.Helper()
	for what, secret := range hunted {
		if len(secret) < 6 {
			t.Errorf("%s is too short to be searched for", what)
			continue
		}
		for place, text := range places {
			if strings.Contains(text, secret) || strings.Contains(text,
				base64.StdEncoding.EncodeToString([]byte(secret))) {
				t.Errorf("%s stands in %s", what, place)
			}
		}
	}
}
