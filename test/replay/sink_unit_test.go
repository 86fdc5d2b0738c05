package replay

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

const letter = "Subject: x\r\n\r\n123456\r\n"

func TestSinkKeepsWhatItTakes(t *testing.T) {
	t.Parallel()
	certificate, roots := newCertificate(t)
	s := newSink(t, certificate)
	pem, err := os.ReadFile(roots)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	c, err := smtp.DialStartTLS(s.address, &tls.Config{RootCAs: pool, ServerName: "127.0.0.1",
		MinVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Auth(sasl.NewLoginClient("mailuser", "mailpw")); err != nil {
		t.Fatal(err)
	}
	if err := c.SendMail("a@example.com", []string{"b@example.com"}, strings.NewReader(letter)); err != nil {
		t.Fatal(err)
	}
	got := s.take(1, time.Minute)
	if len(got) != 1 || !got[0].tls || strings.Join(got[0].auth, ":") != "mailuser:mailpw" ||
		got[0].from != "a@example.com" ||
		strings.Join(got[0].to, " ") != "b@example.com" || codeIn(got[0].raw) != "123456" {
		t.Errorf("got %+v", got)
	}
	if again := s.take(0, 0); len(again) != 0 {
		t.Errorf("a mail was given twice: %+v", again)
	}
}

func TestSinkRefusesAsRecorded(t *testing.T) {
	t.Parallel()
	certificate, _ := newCertificate(t)
	s := newSink(t, certificate)
	for to, code := range map[string]int{"rej550@example.com": 550, "tmp451@example.com": 451,
		"dat554@example.com": 554} {
		c, err := smtp.Dial(s.address)
		if err != nil {
			t.Fatal(err)
		}
		var refused *smtp.SMTPError
		if err := c.SendMail("a@example.com", []string{to}, strings.NewReader(letter)); !errors.As(err, &refused) ||
			refused.Code != code {
			t.Errorf("mail to %s: %v, want %d", to, err, code)
		}
		if err := c.Auth(sasl.NewPlainClient("", "mailuser", "wrong")); !errors.As(err, &refused) ||
			refused.Code != 535 {
			t.Errorf("wrong password: %v, want 535", err)
		}
		c.Close()
	}
	if kept := s.take(0, 0); len(kept) != 0 {
		t.Errorf("refused mails were kept: %+v", kept)
	}
}

func TestDeadPortRefusesConnections(t *testing.T) {
	t.Parallel()
	c, err := net.Dial("tcp", deadPort(t))
	if !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dial: %v", err)
	}
	if err == nil {
		c.Close()
	}
}
