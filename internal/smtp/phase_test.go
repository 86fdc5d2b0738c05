package smtp_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"otpost/internal/smtp"
)

// reports returns the reports of the phases of a session, without times.
func reports(t *testing.T, s *smtp.Session, remove ...string) []smtp.PhaseReport {
	t.Helper()
	all := smtp.Reports(s.Phases(), remove...)
	for i, r := range all {
		if r.MS < 0 {
			t.Errorf("%s took %v ms", r.Phase, r.MS)
		}
		all[i].MS = 0
	}
	return all
}

func TestEachPhaseTellsItsReply(t *testing.T) {
	t.Parallel()
	server, client := certificate(t)
	offer := step{"EHLO", "250-mail.example for client.example\r\n250-STARTTLS\r\n250 AUTH PLAIN\r\n"}
	s := play(t, server, step{"", "220 mail.example ready\r\n"}, offer, step{"STARTTLS", toTLS}, offer,
		step{"AUTH PLAIN", "235 2.7.0 welcome mailuser\r\n"}, step{"MAIL", "250 2.1.0 sender fine\r\n"},
		step{"RCPT", "250 2.1.5 ok\r\n"},
		step{"DATA", "354 go on\r\n"}, step{".", "554 5.7.1 no 482913 for alice@example.com\r\n"})
	o := s.options()
	o.STARTTLS, o.TLS, o.Username, o.Password = true, client, "mailuser", "hunter22"
	session := open(t, o)
	session.Send(t.Context(), smtp.Message{
		ID:      "m",
		From:    "pi@example.com",
		To:      "alice@example.com",
		Content: []byte("Subject: x\r\n\r\n482913\r\n"),
		Journal: journal{},
	})
	want := []smtp.PhaseReport{
		{Phase: smtp.PhaseConnect},
		{Phase: smtp.PhaseGreeting, Code: 220, Text: "mail.example ready"},
		{Phase: smtp.PhaseEHLO, Code: 250, Text: "mail.example for client.example STARTTLS AUTH PLAIN"},
		{Phase: smtp.PhaseTLS, Code: 220, Text: "go ahead", TLS: &smtp.TLSReport{Version: "TLS 1.3"}},
		{Phase: smtp.PhaseEHLO, Code: 250, Text: "mail.example for client.example STARTTLS AUTH PLAIN"},
		{Phase: smtp.PhaseAuth, Code: 235, Enhanced: "2.7.0", Text: "welcome ***"},
		{Phase: smtp.PhaseMail, Code: 250, Enhanced: "2.1.0", Text: "sender fine"},
		{Phase: smtp.PhaseRcpt, Code: 250, Enhanced: "2.1.5", Text: "ok"},
		{Phase: smtp.PhaseData, Code: 354, Text: "go on"},
		{Phase: smtp.PhaseData},
		{Phase: smtp.PhaseReply, Code: 554, Enhanced: "5.7.1", Text: "no *** for ***"},
	}
	got := reports(t, session, "alice@example.com", "482913", "mailuser", "hunter22")
	if diff := cmp.Diff(want, got[1:], cmpopts.IgnoreFields(smtp.TLSReport{}, "Cipher",
		"Chain")); got[0].Phase != smtp.PhaseDNS || diff != "" {
		t.Fatalf("%v\n%s", got[0], diff)
	}
	if c := got[4].TLS.Chain; len(c) != 1 || c[0].Names[0] != "mail.example" || got[4].TLS.Cipher == "" {
		t.Errorf("TLS: %+v", got[4].TLS)
	}
}

func TestPhaseThatFailsTellsWhy(t *testing.T) {
	t.Parallel()
	greet := step{"", "220 hello\r\n"}
	for name, c := range map[string]struct {
		steps  []step
		change func(*smtp.Options)
		want   smtp.PhaseReport
	}{
		"dead port": {nil, func(o *smtp.Options) { o.Host, o.Dial = "127.0.0.1", nil },
			smtp.PhaseReport{Phase: smtp.PhaseConnect, Text: "refused for ***"}},
		"greeting": {[]step{{"", "554 5.3.2 go away, client.example\r\n"}}, nil,
			smtp.PhaseReport{Phase: smtp.PhaseGreeting, Code: 554, Enhanced: "5.3.2", Text: "go away, ***"}},
		"not SMTP": {[]step{{"", "HTTP/1.1 400 Bad Request\r\n"}}, nil,
			smtp.PhaseReport{Phase: smtp.PhaseGreeting, Text: "the server's greeting is not an SMTP reply"}},
		"no STARTTLS": {[]step{greet, {"EHLO", "250 x\r\n"}}, func(o *smtp.Options) { o.STARTTLS = true },
			smtp.PhaseReport{Phase: smtp.PhaseTLS, Text: "the server does not offer STARTTLS"}},
		"STARTTLS refused": {[]step{greet, {"EHLO", "250-x\r\n250 STARTTLS\r\n"},
			{"STARTTLS", "454 4.7.0 not now\r\n"}}, func(o *smtp.Options) {
			o.STARTTLS = true
		},
			smtp.PhaseReport{Phase: smtp.PhaseTLS, Code: 454, Enhanced: "4.7.0", Text: "not now"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := play(t, nil, c.steps...).options()
			if c.change != nil {
				c.change(&o)
			}
			if o.Dial == nil {
				o.Dial = refuses
			}
			s, err := smtp.Open(t.Context(), o)
			if err == nil {
				s.Close()
				t.Fatal("it opened")
			}
			all := reports(t, s, "client.example")
			if diff := cmp.Diff(c.want, all[len(all)-1]); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Refused certificates are reported, too: the administrator needs their content.
func TestRefusedCertificateIsTold(t *testing.T) {
	t.Parallel()
	server, _ := certificate(t)
	_, other := certificate(t)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		config := server.Clone()
		config.MaxVersion = version
		o := play(t, config, step{"", toTLS}, greeting).options()
		o.Implicit, o.TLS = true, other
		s, err := smtp.Open(t.Context(), o)
		if err == nil {
			s.Close()
			t.Fatal("it opened")
		}
		all := reports(t, s)
		last := all[len(all)-1]
		if last.Phase != smtp.PhaseTLS || last.TLS == nil || len(last.TLS.Chain) != 1 ||
			last.TLS.Version != tls.VersionName(version) || last.TLS.Cipher == "" {
			t.Fatalf("%+v %+v", last, last.TLS)
		}
		c := last.TLS.Chain[0]
		from, err := time.Parse(time.RFC3339, c.NotBefore)
		to, err2 := time.Parse(time.RFC3339, c.NotAfter)
		if err != nil || err2 != nil || to.Sub(from) != 2*time.Hour || !strings.HasSuffix(c.NotAfter, "Z") ||
			c.Names[0] != "mail.example" {
			t.Errorf("%+v %v %v", c, err, err2)
		}
	}
}

// A certificate is text of a stranger's: it is scrubbed and bounded as replies are, however much of it there is.
func TestCertificateIsScrubbedAndBounded(t *testing.T) {
	t.Parallel()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	form := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    time.Now(),
		NotAfter:     time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
		Subject:      pkix.Name{CommonName: "482913 \x1b[31m" + strings.Repeat("ü", 4000)},
		DNSNames:     []string{"482913.example"},
		IPAddresses:  []net.IP{net.IPv4(192, 0, 2, 1)},
	}
	for range 60 {
		form.DNSNames = append(form.DNSNames, strings.Repeat("a", 300)+".example")
	}
	der, err := x509.CreateCertificate(rand.Reader, form, form, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	server := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der, der, der, der, der, der},
		PrivateKey: key}}}
	o := play(t, server, step{"", toTLS}, greeting, step{"EHLO", "250 x\r\n"}).options()
	o.Implicit, o.TLS = true, &tls.Config{InsecureSkipVerify: true}
	s := open(t, o)
	for _, r := range reports(t, s, "482913") {
		text, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "482913") || strings.Contains(string(text), "\\u001b") || !utf8.Valid(text) {
			t.Errorf("%s tells a secret or a control character", r.Phase)
		}
		if r.TLS == nil {
			continue
		}
		if len(r.TLS.Chain) != 4 {
			t.Fatalf("%d certificates, want 4", len(r.TLS.Chain))
		}
		for _, c := range r.TLS.Chain {
			if len(c.Subject) > 256 || len(c.Issuer) > 256 || len(c.Names) != 8 || len(c.Names[7]) > 256 {
				t.Errorf("%d %d %d names", len(c.Subject), len(c.Issuer), len(c.Names))
			}
		}
	}
}

func refuses(context.Context, string, string) (net.Conn, error) {
	return nil, errors.New("refused for client.example")
}
