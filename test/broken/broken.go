// Package broken has mail servers as they are in the field: the twelve broken ones that a test mail must be able to
// tell apart, and those of testdata/servers, a file each, that get their mail or are told what is wrong.
//
// Each of the twelve is a real listener on loopback (but for the name that has no address and the port without a
// listener). The end-to-end tests press the test button before them, by REST and in the browser.
package broken

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
)

// Account is what the servers that ask for a log-in are given; Sender is the sender of every set-up.
const (
	Username = "relayuser"
	Password = "Silberdistel-Passwort-93"
	Sender   = "otpost@example.org"
)

// Server is a broken set-up: what is typed into the form, and what the test mail must say.
type Server struct {
	Name string         // of the set-up, such as "expired certificate"
	Form map[string]any // the fields of /smtpserver/<identifier> that are not as an empty form has them

	Diagnosis string // the code
	Phase     string // where it ends
	Reply     int    // the code of the reply that ended it; 0: none came
	Enhanced  string // of that reply
	Text      string // part of the report's text for that phase
	Says      string // part of the sentence
	Chain     bool   // the report has the certificate
}

// Servers starts the twelve, in the order of a session. They live until the end of the test.
func Servers(t testing.TB) []Server {
	t.Helper()
	ca := newAuthority(t)
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, ca.pem, 0o600); err != nil {
		t.Fatal(err)
	}
	secured := func(c certificate) map[string]any {
		return map[string]any{"server": "127.0.0.1", "port": listen(t, &script{tls: ca.issue(t, c)}), "tls": true,
			"ca_file": file}
	}
	refuses := func(verb, reply string) map[string]any {
		return map[string]any{"server": "127.0.0.1", "port": listen(t, &script{rules: []rule{{verb, []string{reply}}}})}
	}
	all := []Server{
		{
			Name:      "no DNS name",
			Form:      map[string]any{"server": "no-such-host.invalid"},
			Diagnosis: "no_dns",
			Phase:     "dns",
			Text:      "no-such-host.invalid",
			Says:      "No address was found",
		},
		{
			Name:      "wrong port",
			Form:      map[string]any{"server": "127.0.0.1", "port": deadPort(t)},
			Diagnosis: "refused",
			Phase:     "connect",
			Text:      "refused",
			Says:      "Is the port right?",
		},
		{
			Name:      "silent server",
			Form:      refuses(greet, "<silence>"),
			Diagnosis: "no_greeting",
			Phase:     "greeting",
			Text:      "no greeting within 2",
			Says:      "sent no greeting",
		},
		{
			Name:      "no STARTTLS",
			Form:      map[string]any{"server": "127.0.0.1", "port": listen(t, &script{}), "tls": true},
			Diagnosis: "no_starttls",
			Phase:     "tls",
			Text:      "STARTTLS",
			Says:      "does not offer STARTTLS",
		},
		{
			Name:      "expired certificate",
			Form:      secured(certificate{hosts: []string{"127.0.0.1"}, expired: true}),
			Diagnosis: "certificate_expired",
			Phase:     "tls",
			Text:      "expired",
			Says:      "has expired",
			Chain:     true,
		},
		{
			Name:      "name mismatch",
			Form:      secured(certificate{hosts: []string{"mail.example.org"}}),
			Diagnosis: "certificate_name",
			Phase:     "tls",
			Text:      "127.0.0.1",
			Says:      "is for another name",
			Chain:     true,
		},
		{
			Name: "self-signed certificate",
			Form: map[string]any{"server": "127.0.0.1", "port": listen(t, &script{tls: selfSigned(t)}),
				"tls": true},
			Diagnosis: "certificate_untrusted",
			Phase:     "tls",
			Text:      "unknown authority",
			Says:      "ca_file",
			Chain:     true,
		},
		{
			Name:      "wrong password (535)",
			Form:      refuses("AUTH", "535 5.7.8 not {argument} of "+Username+" "+Password),
			Diagnosis: "auth_failed",
			Phase:     "auth",
			Reply:     535,
			Enhanced:  "5.7.8",
			Text:      "not",
			Says:      "user name and password",
		},
		{
			Name:      "log-in required (530)",
			Form:      refuses("MAIL", "530 5.7.0 Authentication required"),
			Diagnosis: "auth_required",
			Phase:     "mail",
			Reply:     530,
			Enhanced:  "5.7.0",
			Text:      "Authentication required",
			Says:      "only after a log-in",
		},
		{
			Name:      "relay denied",
			Form:      refuses("RCPT", "554 5.7.1 {argument}: Relay access denied"),
			Diagnosis: "relay_denied",
			Phase:     "rcpt",
			Reply:     554,
			Enhanced:  "5.7.1",
			Text:      "Relay access denied",
			Says:      "does not pass on mail",
		},
		{
			Name:      "greylisted",
			Form:      refuses("RCPT", "451 4.7.1 {argument}: please try again later"),
			Diagnosis: "greylisted",
			Phase:     "rcpt",
			Reply:     451,
			Enhanced:  "4.7.1",
			Text:      "please try again later",
			Says:      "greylisting",
		},
		{
			Name:      "too large",
			Form:      refuses(".", "552 5.3.4 Message size exceeds fixed limit"),
			Diagnosis: "too_large",
			Phase:     "reply",
			Reply:     552,
			Enhanced:  "5.3.4",
			Text:      "exceeds fixed limit",
			Says:      "too large",
		},
	}
	for _, s := range all {
		s.Form["sender"], s.Form["timeout"] = Sender, 2
		if s.Diagnosis == "auth_failed" {
			s.Form["username"], s.Form["password"] = Username, Password
		}
	}
	return all
}

// deadPort returns a port that belongs to this test until its end, without a listener.
func deadPort(t testing.TB) int {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) }) //nolint:errcheck // nothing was written
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	a, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return a.(*syscall.SockaddrInet4).Port
}

// listen starts a server that follows its script until the end of the test, and returns its port.
func listen(t testing.TB, s *script) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.serve(t, l)
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
