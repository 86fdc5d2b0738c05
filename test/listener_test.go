package test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"otpost/test/e2e"
)

// pair is a self-signed certificate for 127.0.0.1 and its key, as PEM.
type pair struct{ cert, key string }

func newPair(t *testing.T, serial int64, from, until time.Duration) pair {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	form := &x509.Certificate{
		SerialNumber:          big.NewInt(serial),
		Subject:               pkix.Name{CommonName: "otp.example.org"},
		DNSNames:              []string{"otp.example.org"},
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore:             time.Now().Add(from),
		NotAfter:              time.Now().Add(until),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, form, form, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pair{
		string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})),
	}
}

// write writes the pair into the site's folder and returns the flags for it.
func (p pair) write(t *testing.T, s *e2e.Site) []string {
	t.Helper()
	return []string{"--tls-cert", s.Write(t, "cert.pem", p.cert), "--tls-key", s.Write(t, "key.pem", p.key)}
}

// client returns a client that trusts only the pair.
func (p pair) client(t *testing.T) *http.Client {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(p.cert))
	c := &http.Client{Timeout: time.Minute, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots},
		ForceAttemptHTTP2: true}}
	t.Cleanup(c.CloseIdleConnections)
	return c
}

// listening starts a server and returns it with the address that it prints.
func listening(t *testing.T, s *e2e.Site, args ...string) (p *e2e.Process, address string) {
	t.Helper()
	p = e2e.Start(t, s.Otpost(append([]string{"serve", "--config", s.Config, "--workers", "0"}, args...)...))
	_, address, _ = strings.Cut(p.Line(t, "listening on "), "listening on ")
	return p, address
}

// get asks for a page and returns the answer without its body.
func get(t *testing.T, c *http.Client, address string) *http.Response {
	t.Helper()
	response, err := c.Get(address) //nolint:noctx // the client has a time limit
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close() //nolint:errcheck // nothing was read
	return response
}

// TestServesHTTPS logs in over TLS, with HTTP/2 and without, and checks that plain HTTP and old TLS
// are refused.
func TestServesHTTPS(t *testing.T) {
	t.Parallel()
	site, p := e2e.NewSite(t, programs, true), newPair(t, 1, -time.Hour, 90*24*time.Hour)
	server, address := listening(t, site, append(p.write(t, site), "--listen", "0.0.0.0:0")...)
	server.Line(t, "certificate: otp.example.org, until ")
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(address, "https://"))
	address = "https://127.0.0.1:" + port
	c := &e2e.Client{URL: address, HTTP: p.client(t)}
	c.LogIn(t, "admin", e2e.AdminPassword)
	response := get(t, c.HTTP, address+"/healthz/livez")
	if response.ProtoMajor != 2 || response.TLS.Version != tls.VersionTLS13 {
		t.Errorf("%s over %s", response.Proto, tls.VersionName(response.TLS.Version))
	}
	if got := response.Header.Get("Strict-Transport-Security"); got != "max-age=31536000" {
		t.Errorf("Strict-Transport-Security: %q", got)
	}
	_, err := tls.Dial("tcp", "127.0.0.1:"+port, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10,
		MaxVersion: tls.VersionTLS11}) //nolint:gosec // an old client
	if err == nil || !strings.Contains(err.Error(), "protocol version") {
		t.Errorf("a client with TLS 1.1: %v", err)
	}
	if response := get(t, c.HTTP, "http://127.0.0.1:"+port+
		"/healthz/livez"); response.StatusCode != http.StatusBadRequest {
		t.Errorf("plain HTTP is answered with %s", response.Status)
	}
	if text := server.Err.String(); strings.Contains(text, "certificate expires") ||
		strings.Contains(text, "handshake") {
		t.Errorf("the log: %s", text)
	}
	server.Stop(t)
}

// TestCertificateIsReloaded takes a new pair at SIGHUP, keeps the old one when the new one is bad,
// and drops no connection.
func TestCertificateIsReloaded(t *testing.T) {
	t.Parallel()
	site := e2e.NewSite(t, programs, true)
	old, next := newPair(t, 1, -time.Hour, 90*24*time.Hour), newPair(t, 2, -time.Hour, 90*24*time.Hour)
	server, address := listening(t, site, append(old.write(t, site), "--listen", "127.0.0.1:0")...)
	kept := old.client(t)
	get(t, kept, address+"/healthz/livez")
	serial := func() int64 {
		line, err := tls.Dial("tcp", strings.TrimPrefix(address, "https://"),
			&tls.Config{InsecureSkipVerify: true}) //nolint:gosec // it only looks
		if err != nil {
			t.Fatal(err)
		}
		defer line.Close() //nolint:errcheck // it only looked
		return line.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
	}
	failures := func() int { return len(server.Err.Lines("certificate not reloaded, the old one stays in use")) }
	expired := newPair(t, 3, -48*time.Hour, -time.Hour)
	for i, bad := range []pair{{next.cert, old.key}, expired, {"nothing", "at all"}} {
		bad.write(t, site)
		server.Signal(t, syscall.SIGHUP)
		e2e.Eventually(t, "an ERROR line", func() bool { return failures() == i+1 })
		if got := serial(); got != 1 {
			t.Fatalf("after a bad file certificate %d is in use", got)
		}
	}
	next.write(t, site)
	server.Signal(t, syscall.SIGHUP)
	server.Line(t, "certificate reloaded")
	if got := serial(); got != 2 {
		t.Errorf("certificate %d is in use, want the new one", got)
	}
	if response := get(t, kept, address+"/healthz/livez"); response.TLS.PeerCertificates[0].SerialNumber.Int64() != 1 {
		t.Error("the connection was not kept")
	}
	if n := failures(); n != 3 {
		t.Errorf("%d ERROR lines for 3 bad files", n)
	}
	server.Stop(t)
}

// TestServerBehindAProxyWarnsUntilTheProxyIsNamed starts a server whose clients would all have the
// proxy's address, and names the proxy as docs/install.md does.
func TestServerBehindAProxyWarnsUntilTheProxyIsNamed(t *testing.T) {
	t.Parallel()
	site := e2e.NewSite(t, programs, true)
	warns := func(s *e2e.Server) bool { return len(s.Out.Lines("warning: behind a proxy")) == 1 }
	unnamed := site.Serve(t, "--behind-proxy")
	if !warns(unnamed) {
		t.Errorf("no warning while nobody is named: %s", unnamed.Out)
	}
	unnamed.Must(t, "POST", "/system/setConfig", url.Values{"OverrideAuthorizationClient": {"127.0.0.1"}})
	unnamed.Stop(t)
	named := site.Serve(t, "--behind-proxy")
	if warns(named) {
		t.Errorf("a warning after the proxy was named: %s", named.Out)
	}
	named.Stop(t)
	open := site.Serve(t)
	if warns(open) {
		t.Errorf("a warning without a proxy: %s", open.Out)
	}
	open.Stop(t)
}

// TestWrongListenersAreRefused starts the server with contradictory flags: one sentence, and no
// listener.
func TestWrongListenersAreRefused(t *testing.T) {
	t.Parallel()
	site := e2e.NewSite(t, programs, true)
	good, other := newPair(t, 1, -time.Hour, time.Hour), newPair(t, 2, -time.Hour, time.Hour)
	past, future := newPair(t, 3, -48*time.Hour, -time.Hour), newPair(t, 4, time.Hour, 48*time.Hour)
	n := 0
	with := func(cert, key string) []string {
		n++
		return []string{
			"--tls-cert", site.Write(t, fmt.Sprintf("cert%d.pem", n), cert),
			"--tls-key", site.Write(t, fmt.Sprintf("key%d.pem", n), key),
		}
	}
	open := with(good.cert, good.key)
	if err := os.Chmod(open[3], 0o644); err != nil { //nolint:gosec // that is the mistake
		t.Fatal(err)
	}
	missing := filepath.Join(site.Dir, "missing.pem")
	for _, c := range []struct {
		name string
		args []string
		code int
		says string
	}{
		{"certificate alone", []string{"--tls-cert", missing}, 2, "--tls-cert needs --tls-key"},
		{"key alone", []string{"--tls-key", missing}, 2, "--tls-key needs --tls-cert"},
		{"proxy and certificate", []string{"--behind-proxy", "--tls-cert", missing, "--tls-key", missing}, 2,
			"leave it out beside --tls-cert"},
		{"plain for everybody", []string{"--listen", "0.0.0.0:0"}, 2,
			"give --tls-cert and --tls-key, or --behind-proxy"},
		{"plain for everybody, short", []string{"--listen", ":0"}, 2,
			"give --tls-cert and --tls-key, or --behind-proxy"},
		{"no port", []string{"--listen", "127.0.0.1"}, 2, "want HOST:PORT"},
		{"another's address", []string{"--listen", "192.0.2.1:8080", "--behind-proxy"}, 1,
			"this host does not have that address"},
		{"no such file", []string{"--tls-cert", missing, "--tls-key", missing}, 1, "missing.pem: no such file"},
		{"open key", open, 1, "chmod o= "},
		{"another key", with(good.cert, other.key), 1, "private key does not match public key"},
		{"no certificate", with("nothing", good.key), 1, "cannot be used"},
		{"expired", with(past.cert, past.key), 1, "has expired on"},
		{"not yet valid", with(future.cert, future.key), 1, "is the clock of this host right?"},
	} {
		args := append([]string{"serve", "--config", site.Config, "--listen", "127.0.0.1:0"}, c.args...)
		code, p := e2e.Run(t, site.Otpost(args...))
		if text := p.Err.String(); code != c.code || strings.Count(text, "\n") != 1 || !strings.Contains(text, c.says) {
			t.Errorf("%s: exit code %d, want %d and one sentence with %q: %s", c.name, code, c.code, c.says, text)
		}
		if strings.Contains(p.Out.String(), "listening") {
			t.Errorf("%s: it listened", c.name)
		}
	}
}

// TestCertificateThatEndsSoonWarnsAtTheStart leaves the daily warning to the unit test.
func TestCertificateThatEndsSoonWarnsAtTheStart(t *testing.T) {
	t.Parallel()
	site, p := e2e.NewSite(t, programs, true), newPair(t, 1, -time.Hour, 13*24*time.Hour)
	server, _ := listening(t, site, append(p.write(t, site), "--listen", "127.0.0.1:0")...)
	if line := server.Line(t, "certificate expires soon"); !strings.Contains(line, "WARN") ||
		!strings.Contains(line, "days=12") {
		t.Errorf("%q", line)
	}
	server.Stop(t)
}

// TestBehindProxyTrustsNoHeader listens off loopback in plain HTTP and does not trust a forwarded
// address, which every client can send. Wrong passwords from one peer delay that peer, with any
// claimed address, until OverrideAuthorizationClient names the peer as a proxy.
func TestBehindProxyTrustsNoHeader(t *testing.T) {
	t.Parallel()
	site := e2e.NewSite(t, programs, true)
	server, address := listening(t, site, "--listen", "0.0.0.0:0", "--behind-proxy")
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(address, "http://"))
	c := &e2e.Client{URL: "http://127.0.0.1:" + port, HTTP: &http.Client{Timeout: time.Minute}}
	t.Cleanup(c.HTTP.CloseIdleConnections)
	c.LogIn(t, "admin", e2e.AdminPassword)
	if got := get(t, c.HTTP, c.URL+"/healthz/livez").Header.Get("Strict-Transport-Security"); got == "" {
		t.Error("the clients have TLS, and are not told to keep it")
	}
	for i := range 6 {
		if status := logInFrom(t, c, fmt.Sprintf("198.51.100.%d", i), "wrong"); status != http.StatusUnauthorized {
			t.Errorf("a wrong password: %d", status)
		}
	}
	if status := logInFrom(t, c, "203.0.113.9", e2e.AdminPassword); status != http.StatusUnauthorized {
		t.Errorf("after six wrong passwords of this peer the right one under another address: %d", status)
	}
	c.Set(t, "OverrideAuthorizationClient", "127.0.0.1")
	if status := logInFrom(t, c, "203.0.113.10", e2e.AdminPassword); status != http.StatusOK {
		t.Errorf("a client of a proxy that may name it: %d", status)
	}
	server.Stop(t)
	plain, address := listening(t, site, "--listen", "127.0.0.1:0")
	if got := get(t, c.HTTP, address+"/healthz/livez").Header.Get("Strict-Transport-Security"); got != "" {
		t.Errorf("plain HTTP promises TLS: %q", got)
	}
	plain.Stop(t)
}

// logInFrom tries a password as a client that claims an address and TLS, and returns the answer's status.
func logInFrom(t *testing.T, c *e2e.Client, from, password string) int {
	t.Helper()
	form := url.Values{"username": {"admin"}, "password": {password}}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.URL+"/auth",
		strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set("X-Forwarded-For", from)
	request.Header.Set("X-Forwarded-Proto", "https")
	response, err := c.HTTP.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close() //nolint:errcheck // nothing was read
	return response.StatusCode
}
