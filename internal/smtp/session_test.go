package smtp_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/md5"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"otpost/internal/smtp"
)

// certificate returns a server's configuration for mail.example, and a client's that trusts it.
func certificate(t *testing.T) (server, client *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(time.Hour),
		DNSNames:              []string{"mail.example"},
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}},
		&tls.Config{RootCAs: pool}
}

// failure opens a session that must fail, and returns its error.
func failure(t *testing.T, o smtp.Options) *smtp.Error {
	t.Helper()
	s, err := smtp.Open(t.Context(), o)
	var e *smtp.Error
	if !errors.As(err, &e) {
		s.Close()
		t.Fatalf("%v, want an *smtp.Error", err)
	}
	return e
}

func TestEachPhaseOfASessionFailsUnderItsName(t *testing.T) {
	t.Parallel()
	offer := step{"EHLO", "250-x\r\n250-STARTTLS\r\n250 AUTH PLAIN\r\n"}
	for name, c := range map[string]struct {
		steps []step
		phase smtp.Phase
		code  int
	}{
		"greeting 4xx":     {[]step{{"", "421 4.3.2 busy\r\n"}}, smtp.PhaseGreeting, 421},
		"greeting 5xx":     {[]step{{"", "554 no\r\n"}}, smtp.PhaseGreeting, 554},
		"greeting closed":  {[]step{{"", hangUp}}, smtp.PhaseGreeting, 0},
		"greeting is HTTP": {[]step{{"", "HTTP/1.1 400 Bad Request\r\n"}}, smtp.PhaseGreeting, 0},
		"greeting twice":   {[]step{{"", "220 a\r\n220 b\r\n"}}, smtp.PhaseGreeting, 0},
		"EHLO 4xx":         {[]step{greeting, {"EHLO", "421 go away\r\n"}}, smtp.PhaseEHLO, 421},
		"EHLO and HELO":    {[]step{greeting, {"EHLO", "502 what\r\n"}, {"HELO", "550 no\r\n"}}, smtp.PhaseEHLO, 550},
		"STARTTLS refused": {[]step{greeting, offer, {"STARTTLS", "454 4.7.0 not now\r\n"}}, smtp.PhaseTLS, 454},
		"STARTTLS closed":  {[]step{greeting, offer, {"STARTTLS", hangUp}}, smtp.PhaseTLS, 0},
		"AUTH refused": {[]step{greeting, offer, {"STARTTLS", toTLS}, offer, {"AUTH PLAIN", "535 5.7.8 no\r\n"}},
			smtp.PhaseAuth, 535},
		"AUTH later": {[]step{greeting, offer, {"STARTTLS", toTLS}, offer, {"AUTH PLAIN", "454 4.7.0 later\r\n"}},
			smtp.PhaseAuth, 454},
		"AUTH closed": {[]step{greeting, offer, {"STARTTLS", toTLS}, offer, {"AUTH PLAIN", hangUp}}, smtp.PhaseAuth, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, client := certificate(t)
			o := play(t, server, c.steps...).options()
			o.STARTTLS, o.TLS, o.Username, o.Password = true, client, "mailuser", "hunter22"
			e := failure(t, o)
			if e.Phase != c.phase || e.Reply.Code != c.code || (c.code == 0) == (e.Err == nil) {
				t.Fatalf("%s %d %v, want %s %d", e.Phase, e.Reply.Code, e.Err, c.phase, c.code)
			}
			if strings.Contains(e.Error(), "hunter22") {
				t.Fatal("the error holds the password")
			}
		})
	}
}

func TestNameWithoutAddressAndDeadPortFail(t *testing.T) {
	t.Parallel()
	o := play(t, nil).options()
	o.Lookup = func(context.Context, string) ([]netip.Addr, error) { return nil, errors.New("no such host") }
	if e := failure(t, o); e.Phase != smtp.PhaseDNS {
		t.Fatalf("%v, want dns", e)
	}
	o.Host = "127.0.0.1"
	o.Dial = func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("refused") }
	if e := failure(t, o); e.Phase != smtp.PhaseConnect {
		t.Fatalf("%v, want connect", e)
	}
}

// The first address never answers: the second gets its share of the time.
func TestEveryAddressIsTried(t *testing.T) {
	t.Parallel()
	s := play(t, nil, greeting, ehlo)
	o := s.options()
	dial := o.Dial
	o.Timeout = 2 * time.Second
	o.Lookup = func(context.Context, string) ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("::ffff:127.0.0.1")}, nil
	}
	o.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		if strings.HasPrefix(address, "192.0.2.1") {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		if address != "127.0.0.1:25" {
			t.Errorf("dialled %s", address)
		}
		return dial(ctx, network, address)
	}
	open(t, o)
}

func TestHELOIsSaidToAnOldServer(t *testing.T) {
	t.Parallel()
	s := play(t, nil, greeting, step{"EHLO", "500 what\r\n"}, step{"HELO client.example", "250 hello\r\n"})
	open(t, s.options())
}

func TestWithoutANameTheAddressLiteralIsSaid(t *testing.T) {
	t.Parallel()
	s := play(t, nil, greeting, step{"EHLO [127.0.0.1]", "250 hello\r\n"})
	o := s.options()
	o.EHLOName = ""
	open(t, o)
}

func TestSilentServerEndsTheOpening(t *testing.T) {
	t.Parallel()
	for phase, steps := range map[smtp.Phase][]step{
		smtp.PhaseGreeting: {{"", silent}},
		smtp.PhaseEHLO:     {greeting, {"EHLO", silent}},
		smtp.PhaseTLS:      {greeting, {"EHLO", "250-x\r\n250 STARTTLS\r\n"}, {"STARTTLS", silent}},
	} {
		t.Run(string(phase), func(t *testing.T) {
			t.Parallel()
			o := play(t, nil, steps...).options()
			o.Timeout, o.STARTTLS = 200*time.Millisecond, true
			e := failure(t, o)
			var timeout net.Error
			if e.Phase != phase || !errors.As(e.Err, &timeout) || !timeout.Timeout() {
				t.Fatalf("%v, want a time-out in %s", e, phase)
			}
		})
	}
}

// An HTTP server waits for a request and sends no greeting. It gets no byte of one, so a test mail cannot speak HTTP.
func TestNothingIsWrittenBeforeTheGreeting(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	got := make(chan string, 1)
	go func() {
		defer close(got)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		all, err := io.ReadAll(c) // until the client closes
		got <- fmt.Sprintf("%q, %v", all, err)
	}()
	o := (&script{t: t, listener: l}).options()
	o.Timeout, o.STARTTLS = 200*time.Millisecond, true
	if e := failure(t, o); e.Phase != smtp.PhaseGreeting {
		t.Errorf("%v, want a failure in the greeting", e)
	}
	if all := <-got; all != `"", <nil>` {
		t.Errorf("the server read %s, want nothing", all)
	}
}

// Plain text after the 220 could be taken for the answer to a command inside TLS.
func TestBytesBehindTheAnswerToSTARTTLSCloseTheSession(t *testing.T) {
	t.Parallel()
	s := play(t, nil, greeting, step{"EHLO", "250-x\r\n250 STARTTLS\r\n"},
		step{"STARTTLS", "220 go\r\n250-x\r\n250 AUTH PLAIN\r\n"})
	o := s.options()
	o.STARTTLS = true
	if e := failure(t, o); e.Phase != smtp.PhaseTLS || e.Err == nil {
		t.Fatalf("%v", e)
	}
	if got := s.got(); !strings.HasSuffix(got, "STARTTLS\r\n") {
		t.Fatalf("the client went on: %q", got)
	}
}

func TestWhatWasAnnouncedBeforeTLSIsForgotten(t *testing.T) {
	t.Parallel()
	server, client := certificate(t)
	s := play(t, server, greeting, step{"EHLO", "250-x\r\n250-STARTTLS\r\n250 AUTH PLAIN\r\n"}, step{"STARTTLS", toTLS},
		step{"EHLO", "250 x\r\n"})
	o := s.options()
	o.STARTTLS, o.TLS, o.Username, o.Password = true, client, "u", "hunter22"
	if e := failure(t, o); !errors.Is(e, smtp.ErrNoAuth) {
		t.Fatalf("%v, want ErrNoAuth", e)
	}
}

func TestServerWithoutSTARTTLSGetsNothing(t *testing.T) {
	t.Parallel()
	s := play(t, nil, greeting, step{"EHLO", "250-x\r\n250 AUTH PLAIN\r\n"})
	o := s.options()
	o.STARTTLS, o.Username, o.Password = true, "u", "hunter22"
	if e := failure(t, o); e.Phase != smtp.PhaseTLS || !errors.Is(e, smtp.ErrNoSTARTTLS) {
		t.Fatalf("%v, want ErrNoSTARTTLS", e)
	}
	if got := s.got(); got != "EHLO client.example\r\n" {
		t.Fatalf("server got %q", got)
	}
}

func TestCertificateIsVerified(t *testing.T) {
	t.Parallel()
	server, trusting := certificate(t)
	_, other := certificate(t)
	wrongName := func(o *smtp.Options) { o.Host = "other.example" }
	for name, c := range map[string]struct {
		client *tls.Config
		change func(*smtp.Options)
		ok     bool
	}{
		"trusted":                  {trusting, nil, true},
		"system roots":             {nil, nil, false},
		"another root":             {other, nil, false},
		"another name":             {trusting, wrongName, false},
		"another name, not looked": {&tls.Config{InsecureSkipVerify: true}, wrongName, true},
	} {
		for _, implicit := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				steps := []step{greeting, {"EHLO", "250-x\r\n250 STARTTLS\r\n"}, {"STARTTLS", toTLS},
					{"EHLO", "250 x\r\n"}}
				if implicit {
					steps = []step{{"", toTLS}, greeting, {"EHLO", "250 x\r\n"}}
				}
				o := play(t, server, steps...).options()
				o.STARTTLS, o.Implicit, o.TLS = !implicit, implicit, c.client
				if c.change != nil {
					c.change(&o)
				}
				if c.ok {
					open(t, o)
				} else if e := failure(t, o); e.Phase != smtp.PhaseTLS {
					t.Fatalf("%v, want tls", e)
				}
			})
		}
	}
}

func TestOldTLSIsRefused(t *testing.T) {
	t.Parallel()
	server, client := certificate(t)
	server.MaxVersion = tls.VersionTLS11
	client.MinVersion = tls.VersionTLS10 // what a caller asks for does not lower it
	o := play(t, server, step{"", toTLS}, greeting).options()
	o.Implicit, o.TLS = true, client
	if e := failure(t, o); e.Phase != smtp.PhaseTLS {
		t.Fatalf("%v, want tls", e)
	}
}

func TestPasswordLeavesUnencryptedOnlyToLoopback(t *testing.T) {
	t.Parallel()
	offer := step{"EHLO", "250-x\r\n250 AUTH PLAIN\r\n"}
	far := func(context.Context, string) ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("192.0.2.1")}, nil
	}
	s := play(t, nil, greeting, offer)
	o := s.options()
	o.Lookup, o.Username, o.Password = far, "mailuser", "hunter22"
	if e := failure(t, o); e.Phase != smtp.PhaseAuth || !errors.Is(e, smtp.ErrPlaintext) {
		t.Fatalf("%v, want ErrPlaintext", e)
	}
	if got := s.got(); strings.Contains(got, "AUTH") {
		t.Fatal("the password left")
	}
	near := play(t, nil, greeting, offer, step{"AUTH PLAIN " + b64("\x00mailuser\x00hunter22"), "235 ok\r\n"}).options()
	near.Username, near.Password = "mailuser", "hunter22"
	open(t, near)
}

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func TestAuthenticatesByWhatTheServerOffers(t *testing.T) {
	t.Parallel()
	mac := hmac.New(md5.New, []byte("hunter22"))
	mac.Write([]byte("<1.2@mail.example>"))
	for offered, steps := range map[string][]step{
		"PLAIN LOGIN": {{"AUTH PLAIN " + b64("\x00mailuser\x00hunter22"), "235 2.7.0 ok\r\n"}},
		"LOGIN": {{"AUTH LOGIN\r\n", "334 VXNlcm5hbWU6\r\n"}, {b64("mailuser"), "334 UGFzc3dvcmQ6\r\n"},
			{b64("hunter22"), "235 ok\r\n"}},
		"CRAM-MD5": {
			{"AUTH CRAM-MD5\r\n", "334 " + b64("<1.2@mail.example>") + "\r\n"},
			{b64("mailuser " + hex.EncodeToString(mac.Sum(nil))), "235 ok\r\n"},
		},
	} {
		t.Run(offered, func(t *testing.T) {
			t.Parallel()
			s := play(t, nil, join(greeting, step{"EHLO", "250-x\r\n250 AUTH " + offered + "\r\n"}, steps)...)
			o := s.options()
			o.Username, o.Password = "mailuser", "hunter22"
			open(t, o)
		})
	}
}

func TestEndlessChallengesEnd(t *testing.T) {
	t.Parallel()
	s := play(t, nil, greeting, step{"EHLO", "250-x\r\n250 AUTH LOGIN\r\n"}, step{"AUTH LOGIN", "334 \r\n"},
		step{"", "334 \r\n334 \r\n"})
	o := s.options()
	o.Username, o.Password = "mailuser", "hunter22"
	if e := failure(t, o); e.Phase != smtp.PhaseAuth {
		t.Fatalf("%v", e)
	}
}
