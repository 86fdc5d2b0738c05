package mail_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"otpost/internal/fault"
	"otpost/internal/fault/faulttest"
	"otpost/internal/mail"
	"otpost/internal/secret"
	"otpost/internal/secret/secrettest"
	"otpost/internal/store"
	"otpost/internal/store/storetest"
)

func newServers(t *testing.T) (*mail.Servers, *store.DB) {
	t.Helper()
	db := storetest.Open(t, nil)
	keys := secrettest.Keys(t)
	return mail.NewServers(db, keys, nil), db
}

func serversWith(t *testing.T, readFile func(string) ([]byte, error)) *mail.Servers {
	t.Helper()
	return mail.NewServers(storetest.Open(t, nil), secrettest.Keys(t), readFile)
}

// full has something in every field.
func full() mail.Server {
	return mail.Server{
		Identifier:         "full",
		Server:             "127.0.0.1",
		Port:               15025,
		Username:           "mailuser",
		Password:           "mailpw",
		Sender:             "Example IT <pi@example.com>",
		TLS:                true,
		Description:        "every field ü\nsecond line",
		Timeout:            7 * time.Second,
		EnqueueJob:         true,
		SMIME:              true,
		DontSendOnError:    true,
		PrivateKey:         "smime.key",
		PrivateKeyPassword: "keypw",
		Certificate:        "smime.pem",
		TLSVerify:          true,
		CAFile:             "/etc/ca.pem",
		EHLOName:           "mail.example.com",
	}
}

func save(t *testing.T, s *mail.Servers, one mail.Server) (cleared bool) {
	t.Helper()
	cleared, err := s.Save(t.Context(), one)
	if err != nil {
		t.Fatal(err)
	}
	return cleared
}

func load(t *testing.T, s *mail.Servers, identifier string) mail.Server {
	t.Helper()
	one, err := s.Server(t.Context(), identifier)
	if err != nil {
		t.Fatal(err)
	}
	return one
}

func TestEveryFieldIsKept(t *testing.T) {
	t.Parallel()
	s, _ := newServers(t)
	if save(t, s, full()) {
		t.Error("a secret was cleared")
	}
	if diff := cmp.Diff(full(), load(t, s, "full")); diff != "" {
		t.Fatal(diff)
	}
	save(t, s, mail.Server{Identifier: "a b", Server: "h"})
	all, err := s.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	listed := full()
	listed.Password, listed.PrivateKeyPassword = "", ""
	want := []mail.Server{{Identifier: "a b", Server: "h", Port: 25, Timeout: 10 * time.Second}, listed}
	if diff := cmp.Diff(want, all); diff != "" {
		t.Fatal(diff)
	}
}

func TestEmptyListIsNotNil(t *testing.T) {
	t.Parallel()
	s, _ := newServers(t)
	if all, err := s.List(t.Context()); err != nil || all == nil || len(all) != 0 {
		t.Fatalf("%v, %v", all, err)
	}
}

func TestCensoredKeepsThePasswordOfTheSameTarget(t *testing.T) {
	t.Parallel()
	s, _ := newServers(t)
	save(t, s, full())
	again := full()
	again.Password, again.PrivateKeyPassword, again.Description = mail.Censored, mail.Censored, "second"
	if save(t, s, again) {
		t.Error("a secret was cleared")
	}
	if got := load(t, s, "full"); got.Password != "mailpw" || got.PrivateKeyPassword != "keypw" ||
		got.Description != "second" {
		t.Fatal("a secret or the description was lost")
	}
}

func TestAnotherTargetClearsThePasswordAndSaysSo(t *testing.T) {
	t.Parallel()
	s, _ := newServers(t)
	for name, change := range map[string]func(*mail.Server){
		"server":     func(m *mail.Server) { m.Server = "evil.example" },
		"port":       func(m *mail.Server) { m.Port = 26 },
		"username":   func(m *mail.Server) { m.Username = "other" },
		"tls":        func(m *mail.Server) { m.TLS = false },
		"tls_verify": func(m *mail.Server) { m.TLSVerify = false },
	} {
		for _, given := range []secret.Text{mail.Censored, ""} {
			save(t, s, full())
			other := full()
			other.Password = given
			change(&other)
			if form, err := s.Complete(t.Context(), other); given == mail.Censored &&
				fault.CodeOf(err) != fault.Parameter {
				t.Errorf("%s: the test mail would use the stored password at %s: %v", name, form.Server, err)
			}
			if !save(t, s, other) {
				t.Errorf("%s changed, password %v: not said that the secret is cleared", name, given)
			}
			if got := load(t, s, "full"); got.Password != "" {
				t.Errorf("%s changed: the password went with it", name)
			}
		}
	}
}

func TestSavingWithoutAPasswordForgetsIt(t *testing.T) {
	t.Parallel()
	s, _ := newServers(t)
	save(t, s, full())
	bare := full()
	bare.Password, bare.PrivateKeyPassword = "", ""
	if save(t, s, bare) {
		t.Error("said to be cleared by another target")
	}
	if got := load(t, s, "full"); got.Password != "" || got.PrivateKeyPassword != "" {
		t.Fatal("a secret stayed")
	}
}

func TestAnotherKeyFileClearsItsPassword(t *testing.T) {
	t.Parallel()
	s, _ := newServers(t)
	save(t, s, full())
	other := full()
	other.Password, other.PrivateKeyPassword, other.PrivateKey = mail.Censored, mail.Censored, "other.key"
	save(t, s, other)
	if got := load(t, s, "full"); got.Password != "mailpw" || got.PrivateKeyPassword != "" {
		t.Fatal("the key's password went with another key, or the server's did not stay")
	}
}

func TestTestMailUsesTheStoredPasswordForTheSavedTarget(t *testing.T) {
	t.Parallel()
	s, _ := newServers(t)
	form := full()
	form.Password, form.Description = mail.Censored, "not saved"
	if _, err := s.Complete(t.Context(), form); fault.CodeOf(err) != fault.Parameter {
		t.Fatalf("nothing is stored: %v", err)
	}
	save(t, s, full())
	got, err := s.Complete(t.Context(), form)
	if err != nil || got.Password != "mailpw" || got.Description != "not saved" {
		t.Fatalf("%v", err)
	}
	form.Password = "typed"
	if got, err = s.Complete(t.Context(), form); err != nil || got.Password != "typed" {
		t.Fatalf("%v", err)
	}
}

func TestDeletedServerIsGone(t *testing.T) {
	t.Parallel()
	s, _ := newServers(t)
	save(t, s, full())
	if err := s.Delete(t.Context(), "full"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Server(t.Context(), "full"); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("%v, want ErrNotFound", err)
	}
	if err := s.Delete(t.Context(), "full"); fault.CodeOf(err) != fault.NotFound {
		t.Fatalf("%v, want 601", err)
	}
}

func TestRowWhoseTargetWasChangedBehindOurBackDoesNotOpen(t *testing.T) {
	t.Parallel()
	s, db := newServers(t)
	save(t, s, full())
	err := db.Write(t.Context(), func(tx *store.Tx) error {
		tx.Put(`UPDATE smtp_server SET server = 'evil.example'`)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Server(t.Context(), "full"); !errors.Is(err, secret.ErrSealed) {
		t.Fatalf("%v, want ErrSealed", err)
	}
}

// A login asks for a server's route, and needs none of its secrets: the route is there with another key file, too.
func TestRoutesOpenNoSecret(t *testing.T) {
	t.Parallel()
	s, db := newServers(t)
	one := full()
	one.EnqueueJob = true
	save(t, s, one)
	other := mail.NewServers(db, nil, nil) // to open a secret without keys would panic
	err := db.Read(t.Context(), func(r store.Reader) error {
		routes, err := other.Routes(r)
		if got := routes["full"]; len(routes) != 1 || !got.EnqueueJob || got.SenderDomain != one.SenderDomain() ||
			got.Damage != nil {
			t.Errorf("%+v", routes)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestSecretsDoNotStandInTheDatabase(t *testing.T) {
	t.Parallel()
	s, db := newServers(t)
	save(t, s, full())
	err := db.Read(t.Context(), func(r store.Reader) error {
		return r.Query(func(scan store.Scan) error {
			var a, b []byte
			if err := scan(&a, &b); err != nil {
				return err
			}
			if len(a) == 0 || strings.Contains(string(a), "mailpw") || strings.Contains(string(b), "keypw") {
				t.Error("a secret is not sealed")
			}
			return nil
		}, `SELECT password_sealed, private_key_password_sealed FROM smtp_server`)
	})
	if err != nil {
		t.Fatal(err)
	}
	if out := fmt.Sprintf("%v %+v", load(t, s, "full"), full()); strings.Contains(out, "mailpw") ||
		strings.Contains(out, "keypw") {
		t.Error("a secret prints")
	}
}

func TestUselessDefinitionIsRefusedWithItsField(t *testing.T) {
	t.Parallel()
	s, _ := newServers(t)
	for name, c := range map[string]struct {
		change func(*mail.Server)
		want   string
	}{
		"no server":       {func(m *mail.Server) { m.Server = "" }, "ERR905: Missing parameter: server"},
		"no identifier":   {func(m *mail.Server) { m.Identifier = "" }, "ERR905: Missing parameter: identifier"},
		"scheme":          {func(m *mail.Server) { m.Server = "http://x" }, "ERR905: Parameter server: "},
		"port in the URL": {func(m *mail.Server) { m.Server = "smtp://x:y" }, "ERR905: Parameter server: "},
		"another alphabet": {func(m *mail.Server) {
			m.Server = "почта.example"
		}, "ERR905: Parameter server: write a host name of other letters than a to z in its ASCII form"},
		"space in the host": {func(m *mail.Server) { m.Server = "a b" }, "ERR905: Parameter server: "},
		"port":              {func(m *mail.Server) { m.Port = 70000 }, "ERR905: Parameter port: "},
		"line break":        {func(m *mail.Server) { m.Identifier = "a\r\nBcc: b" }, "ERR905: Parameter identifier: "},
		"turned around":     {func(m *mail.Server) { m.Identifier = "a\u202eb" }, "ERR905: Parameter identifier: "},
		"the test's route": {func(m *mail.Server) {
			m.Identifier = "send_test_email"
		}, "ERR905: Parameter identifier: "},
		"header in sender": {func(m *mail.Server) {
			m.Sender = "pi@example.com\r\nBcc: b"
		}, "ERR905: Parameter sender: "},
		"two senders": {func(m *mail.Server) {
			m.Sender = "pi@example.com, b@example.com"
		}, "ERR905: Parameter sender: "},
		"NUL":             {func(m *mail.Server) { m.Username = "a\x00b" }, "ERR905: Parameter username: "},
		"NUL in password": {func(m *mail.Server) { m.Password = "a\x00b" }, "ERR905: Parameter password: "},
		"NUL in text":     {func(m *mail.Server) { m.Description = "a\x00b" }, "ERR905: Parameter description: "},
		"timeout":         {func(m *mail.Server) { m.Timeout = -time.Second }, "ERR905: Parameter timeout: "},
		"ehlo_name":       {func(m *mail.Server) { m.EHLOName = "localhost" }, "ERR905: Parameter ehlo_name: "},
		"long description": {func(m *mail.Server) {
			m.Description = strings.Repeat("x", 3000)
		}, "ERR905: Parameter description: write at most 2000 bytes"},
		"long certificate": {func(m *mail.Server) {
			m.Certificate = strings.Repeat("x", 1001)
		}, "ERR905: Parameter certificate: write at most 1000 bytes"},
	} {
		bad := full()
		c.change(&bad)
		_, err := s.Save(t.Context(), bad)
		faulttest.Check(t, err)
		if fault.CodeOf(err) != fault.Parameter || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
		if _, err := s.Complete(t.Context(), bad); fault.CodeOf(err) != fault.Parameter {
			t.Errorf("%s: %v, want a 905 for the test mail too", name, err)
		}
	}
	for _, name := range []string{"[192.0.2.1]", "[IPv6:2001:db8::1]", ""} {
		good := full()
		good.EHLOName = name
		save(t, s, good)
	}
}

func TestSecondOfTwoAdministratorsIsTold(t *testing.T) {
	t.Parallel()
	s, _ := newServers(t)
	one := mail.Server{Identifier: "s", Server: "h"}
	change := func(revision int64) (int64, error) {
		saved, err := s.Change(t.Context(), mail.Change{Server: one, Revision: &revision})
		return saved.Revision, err
	}
	first, err := change(0)
	if err != nil || first < 1 {
		t.Fatalf("revision %d, %v", first, err)
	}
	if d, err := s.Definition(t.Context(), "s"); err != nil || d.Revision != first {
		t.Fatalf("%+v, %v", d, err)
	}
	refused := func(revision int64, want string) {
		t.Helper()
		if _, err := change(revision); fault.CodeOf(err) != fault.Conflict || !strings.Contains(err.Error(), want) {
			t.Errorf("revision %d: %v, want %q", revision, err, want)
		}
	}
	refused(0, "exists already")
	second, err := change(first)
	if err != nil || second <= first {
		t.Fatalf("revision %d, %v", second, err)
	}
	refused(first, "changed by another administrator")
	save(t, s, one) // without a revision the last one wins
	refused(second, "changed by another administrator")
	if err := s.Delete(t.Context(), "s"); err != nil {
		t.Fatal(err)
	}
	refused(second, "deleted by another administrator")
	again, err := change(0)
	if err != nil {
		t.Fatal(err)
	}
	for old := range again {
		if old > 0 {
			refused(old, "changed by another administrator")
		}
	}
	if _, err := s.Definition(t.Context(), "nosuch"); fault.CodeOf(err) != fault.NotFound {
		t.Errorf("%v, want 601", err)
	}
}

func TestOnlyOneOfManySavesOfARevisionSucceeds(t *testing.T) {
	t.Parallel()
	s, _ := newServers(t)
	var zero int64
	results := make(chan error)
	for n := range 8 {
		go func() {
			_, err := s.Change(t.Context(), mail.Change{Server: mail.Server{Identifier: "s", Server: "h",
				Description: fmt.Sprint(n)}, Revision: &zero})
			results <- err
		}()
	}
	won := 0
	for range 8 {
		if err := <-results; err == nil {
			won++
		} else if fault.CodeOf(err) != fault.Conflict {
			t.Error(err)
		}
	}
	if won != 1 {
		t.Errorf("%d saves made the server", won)
	}
}

func TestStrictChangeKeepsNewIdentifiersPlain(t *testing.T) {
	t.Parallel()
	s, _ := newServers(t)
	for identifier, want := range map[string]string{
		"Mail_1.example-2": "", "a b": "identifier", "ä": "identifier", "a/b": "identifier", "..": "identifier",
		"a'b": "identifier",
	} {
		_, err := s.Change(t.Context(), mail.Change{Server: mail.Server{Identifier: identifier, Server: "h",
			Sender: "pi@example.com"}, Strict: true})
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(),
			"ERR905: Parameter "+want+": ") {
			t.Errorf("%q: %v", identifier, err)
		}
	}
	old := mail.Server{Identifier: "a b", Server: "h", Sender: "pi@example.com"}
	save(t, s, old)
	if _, err := s.Change(t.Context(), mail.Change{Server: old, Strict: true}); err != nil {
		t.Errorf("a server that is there already: %v", err)
	}
	old.Sender = ""
	if _, err := s.Change(t.Context(), mail.Change{Server: old, Strict: true}); fault.CodeOf(err) != fault.Parameter ||
		!strings.Contains(err.Error(), "Missing parameter: sender") {
		t.Errorf("no sender: %v", err)
	}
}

func TestPortThatIsNotUsedIsToldWhenAServerIsSaved(t *testing.T) {
	t.Parallel()
	s, _ := newServers(t)
	for name, want := range map[string]int{"smtps://h": 0, "smtps://h:4465": 1} {
		saved, err := s.Change(t.Context(), mail.Change{Server: mail.Server{Identifier: "a", Server: name,
			Port: 34115}})
		if err != nil || len(saved.Warnings) != want || want > 0 && saved.Warnings[0].Field != "port" {
			t.Errorf("%s: %v, %v", name, saved.Warnings, err)
		}
	}
}
