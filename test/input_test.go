package test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"otpost/test/e2e"
)

// TestBadInputIsRefused sends bad input: each request is answered with a 4xx in the original's
// form, and changes nothing.
func TestBadInputIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.enrol(t, "GOOD")
	before := w.everything(t)

	const form = "application/x-www-form-urlencoded"
	const jsonType = "application/json"
	post := http.MethodPost
	cases := []struct {
		name, method, path, kind, body string
		status, code                   int // code 0: any, or an answer in HTML
	}{
		{"malformed JSON", post, "/smtpserver/x", jsonType, `{bad`, 400, 0},
		{"JSON that ends early", post, "/token/init", jsonType, `{"type": "email", "email": "a@example.org"`, 400, 0},
		{"two JSON values", post, "/smtpserver/x", jsonType, `{"server": "h"} {"server": "h"}`, 400, 0},
		{"JSON list", post, "/smtpserver/x", jsonType, `[1, 2]`, 400, 0},
		{"JSON nested a million deep", post, "/smtpserver/x", jsonType, strings.Repeat("[", 100_000), 400, 0},
		{"object for a text", post, "/smtpserver/x", jsonType, `{"server": {"a": 1}}`, 400, 905},
		{"port in letters", post, "/smtpserver/x", jsonType, `{"server": "h", "port": "abc"}`, 400, 905},
		{"port out of range", post, "/smtpserver/x", jsonType, `{"server": "h", "port": 65536}`, 400, 905},
		{"port with a fraction", post, "/smtpserver/x", jsonType, `{"server": "h", "port": 25.5}`, 400, 905},
		{"negative time-out", post, "/smtpserver/x", jsonType, `{"server": "h", "timeout": -1}`, 400, 905},
		{"endless time-out", post, "/smtpserver/x", jsonType, `{"server": "h", "timeout": 1e30}`, 400, 905},
		{"scheme of another protocol", post, "/smtpserver/x", jsonType, `{"server": "http://h:25"}`, 400, 905},
		{"no server", post, "/smtpserver/x", jsonType, `{"port": 25}`, 400, 905},
		{"doubled key in JSON", post, "/smtpserver/x", jsonType, `{"server": "a", "server": "b"}`, 400, 905},
		{"doubled field in a form", post, "/smtpserver/x", form, "server=a&server=b", 400, 905},
		{"query against form", post, "/smtpserver/x?server=a", form, "server=b", 400, 905},
		{"header in the sender", post, "/smtpserver/x", jsonType,
			`{"server": "h", "sender": "a@example.org\r\nBcc: b@example.org"}`, 400, 905},
		{"header in the identifier", post, "/smtpserver/x%0D%0ABcc:%20b@example.org", jsonType, `{"server": "h"}`, 400,
			905},
		{"NUL in the identifier", post, "/smtpserver/x%00y", jsonType, `{"server": "h"}`, 400, 905},
		{"command in the EHLO name", post, "/smtpserver/x", jsonType,
			`{"server": "h", "ehlo_name": "a\r\nMAIL FROM:<b@example.org>"}`, 400, 905},
		{"command in the user name", post, "/smtpserver/x", jsonType,
			`{"server": "h", "username": "a\u0000b", "password": "c"}`, 400, 905},
		{"broken UTF-8 in a form", post, "/smtpserver/x", form, "server=%ff%fe", 400, 905},
		{"NUL in a form", post, "/smtpserver/x", form, "server=a%00b", 400, 905},
		{"too much", post, "/smtpserver/x", form, "server=" + strings.Repeat("a", 8<<20), 413, 0},
		{"too much JSON", post, "/validate/check", jsonType, `{"user": "` + strings.Repeat("a", 8<<20) + `"}`, 413, 0},
		{"broken multipart", post, "/validate/check", "multipart/form-data; boundary=x",
			"--x\r\nContent-Disposition: form-data; name=\"user\"\r\n\r\nalice", 400, 0},

		{"no recipient of a test mail", post, "/smtpserver/send_test_email", jsonType,
			`{"identifier": "t", "server": "127.0.0.1", "sender": "a@example.org"}`, 400, 905},
		{"header in a test mail's recipient", post, "/smtpserver/send_test_email", jsonType,
			`{"identifier": "t", "server": "127.0.0.1", "port": ` + w.port() +
				`, "sender": "a@example.org", "recipient": "b@example.org\r\nBcc: c@example.org"}`, 400, 905},
		{"two recipients of a test mail", post, "/smtpserver/send_test_email", jsonType,
			`{"identifier": "t", "server": "127.0.0.1", "port": ` + w.port() +
				`, "sender": "a@example.org", "recipient": "b@example.org, c@example.org"}`, 400, 905},

		{"unknown token type", post, "/token/init", jsonType, `{"type": "nosuch", "genkey": 1}`, 400, 0},
		{"no address", post, "/token/init", jsonType, `{"type": "email"}`, 400, 905},
		{"address that is none", post, "/token/init", jsonType, `{"type": "email", "email": "nobody"}`, 400, 905},
		{"header in the address", post, "/token/init", jsonType,
			`{"type": "email", "email": "a@example.org\r\nBcc: b@example.org"}`, 400, 905},
		{"two addresses", post, "/token/init", jsonType, `{"type": "email", "email": "a@example.org, b@example.org"}`,
			400, 905},
		{"address in brackets", post, "/token/init", jsonType, `{"type": "email", "email": "<a@example.org> SIZE=1"}`,
			400, 905},
		{"otplen in letters", post, "/token/init", jsonType,
			`{"type": "email", "email": "a@example.org", "otplen": "six"}`, 400, 905},
		{"otplen of a thousand", post, "/token/init", jsonType,
			`{"type": "email", "email": "a@example.org", "otplen": 1000}`, 400, 905},
		{"user that is not there", post, "/token/init", jsonType,
			`{"type": "email", "email": "a@example.org", "user": "nosuch", "realm": "nosuch"}`, 400, 904},
		{"max_failcount in letters", post, "/token/set", jsonType, `{"serial": "GOOD", "max_failcount": "many"}`, 400,
			905},
		{"max_failcount above the limit", post, "/token/set", jsonType, `{"serial": "GOOD", "max_failcount": 101}`, 400,
			905},
		{"serial that is not there", post, "/token/set", jsonType, `{"serial": "NOSUCH", "pin": "1"}`, 404, 601},

		{"nothing to validate", post, "/validate/check", form, "", 400, 905},
		{"no pass", post, "/validate/check", form, "serial=GOOD", 400, 905},
		{"two users", post, "/validate/check", form, "user=alice&user=bob&pass=x", 400, 905},
		{"two passes", post, "/validate/check?pass=y", form, "serial=GOOD&pass=x", 400, 905},
		{"serial that is not there", post, "/validate/check", form, "serial=NOSUCH&pass=x", 404, 601},
		{"no transaction to poll", http.MethodGet, "/validate/polltransaction", "", "", 400, 905},

		{"validtime in letters", post, "/system/setConfig", jsonType, `{"email.validtime": "long"}`, 400, 905},
		{"validtime of an hour", post, "/system/setConfig", jsonType, `{"email.validtime": "3600"}`, 400, 905},
		{"validtime below zero", post, "/system/setConfig", jsonType, `{"email.validtime": "-1"}`, 400, 905},
		{"one good and one bad setting", post, "/system/setConfig", jsonType,
			`{"email.identifier": "inline", "email.validtime": "0"}`, 400, 905},

		{"unknown resolver type", post, "/resolver/x", jsonType, `{"type": "nosuch"}`, 400, 0},
		{"realm of nothing", post, "/realm/x", form, "", 400, 905},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			a := send(t, w.server, c.method, c.path, c.kind, c.body)
			if a.HTTPStatus != c.status || c.code != 0 && a.Result.Error.Code != c.code {
				t.Errorf("want %d with code %d, got %.300s", c.status, c.code, a)
			}
			if strings.Contains(a.Raw, "goroutine ") || strings.Contains(a.Raw, ".go:") {
				t.Errorf("the answer tells of the program's inside: %.300s", a)
			}
		})
	}
	if after := w.everything(t); after != before {
		t.Errorf("something was written:\nbefore %s\nafter  %s", before, after)
	}
	if n := w.sink.Count(); n != 0 {
		t.Errorf("%d mails were sent", n)
	}
	if text := w.server.Err.String(); strings.Contains(text, "panic") || strings.Contains(text, "goroutine") {
		t.Errorf("the server's log tells of a panic: %s", text)
	}
}

func (w *world) port() string {
	b, _ := json.Marshal(w.sink.Port) //nolint:errcheck // a number
	return string(b)
}

// send sends a raw body with the administrator's session.
func send(t *testing.T, s *e2e.Server, method, path, kind, body string) e2e.Answer {
	t.Helper()
	a, err := s.Send(t.Context(), method, path, kind, strings.NewReader(body))
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return a
}

// everything returns REST's view of the installation, for comparison.
func (w *world) everything(t *testing.T) string {
	t.Helper()
	var all bytes.Buffer
	for _, path := range []string{"/smtpserver/", "/resolver/", "/realm/", "/system/", "/token/"} {
		var value any
		if err := json.Unmarshal(w.server.Must(t, http.MethodGet, path, nil).Result.Value, &value); err != nil {
			t.Fatal(err)
		}
		if m, ok := value.(map[string]any); ok {
			delete(m, "__timestamp__")
		}
		text, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(append(text, '\n'))
	}
	return all.String()
}

// TestInjectionThroughALogin sends what a stranger can send: it changes neither log lines nor
// mails.
func TestInjectionThroughALogin(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	line := "\r\n[2026-01-01 00:00:00,000][1][main][ERROR][otpost.forged:1] forged"
	for _, name := range []string{"user", "realm", "serial", "pass", "transaction_id", "type", "client"} {
		form := url.Values{"user": {"alice"}, "pass": {"x"}}
		form.Set(name, "x"+line)
		a, err := w.server.Anonymous().Do(t.Context(), http.MethodPost, "/validate/check", form)
		if err != nil {
			t.Fatal(err)
		}
		if a.HTTPStatus >= 500 {
			t.Errorf("%s: %s", name, a)
		}
	}
	for line := range strings.Lines(w.server.Err.String() + w.server.Out.String()) {
		if strings.HasPrefix(line, "[2026-01-01") {
			t.Errorf("a forged line stands in the log: %s", line)
		}
	}
}

// TestResolverCannotReadWhatIsSecret names otpost's own files as a file of users.
func TestResolverCannotReadWhatIsSecret(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, file := range []string{"enckey", "pi.cfg", "state/otpost.db", "../site/enckey", "."} {
		for _, path := range []string{"/resolver/thief", "/resolver/test"} {
			a := w.server.Call(t, http.MethodPost, path, map[string]any{"type": "passwdresolver",
				"fileName": w.Dir + "/" + file})
			if a.HTTPStatus != http.StatusBadRequest || a.Result.Error.Code != 905 ||
				!strings.Contains(a.Result.Error.Message, "fileName") {
				t.Errorf("%s %s: %.300s", path, file, a)
			}
			if strings.Contains(a.Raw, "SECRET_KEY") || strings.Contains(a.Raw, "SQLite") {
				t.Errorf("%s %s: the answer has its content: %.300s", path, file, a)
			}
		}
	}
	if a := w.server.Must(t, http.MethodGet, "/resolver/thief", nil); string(a.Result.Value) != "{}" {
		t.Errorf("a refused resolver was kept: %s", a)
	}
}

// TestFileOfUsersThatBecomesSecretIsAFaultOfTheServer replaces a good file by a link to a key: a
// login gets a fault of the server.
func TestFileOfUsersThatBecomesSecretIsAFaultOfTheServer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	users := w.Write(t, "later.passwd", "zoe:x:1:1:Zoe\n")
	w.server.Must(t, http.MethodPost, "/resolver/later", map[string]any{"type": "passwdresolver", "fileName": users})
	w.server.Must(t, http.MethodPost, "/realm/later", map[string]any{"resolvers": "later"})
	if err := os.Remove(users); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(w.Dir, "enckey"), users); err != nil {
		t.Fatal(err)
	}
	a := w.server.Call(t, http.MethodPost, "/validate/check", url.Values{"user": {"zoe"}, "realm": {"later"},
		"pass": {"x"}})
	if a.HTTPStatus != http.StatusInternalServerError || strings.Contains(a.Raw, "later") ||
		strings.Contains(a.Raw, "enckey") {
		t.Errorf("%.300s", a)
	}
	w.server.Stop(t)
	if log := w.server.Err.String() + w.server.Out.String(); strings.Count(log, "resolver later") != 1 {
		t.Errorf("the log names the resolver %d times, want 1", strings.Count(log, "resolver later"))
	}
}
