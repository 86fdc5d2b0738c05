package redisq_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"otpost/internal/queue"
	"otpost/internal/queue/redisq"
)

// certificate writes a certificate of its own authority for localhost, and its key.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	return certificateUntil(t, time.Now().Add(time.Hour))
}

func certificateUntil(t *testing.T, end time.Time) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: end,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature, DNSNames: []string{"localhost"},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	text, err := x509.MarshalECPrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "EC PRIVATE KEY", Bytes: text}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

func TestTLSIsVerified(t *testing.T) {
	t.Parallel()
	cert, key := certificate(t)
	port := strconv.Itoa(freePort(t))
	s := serve(t, "--tls-port", port, "--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", cert, "--tls-auth-clients", "optional")
	for url, want := range map[string]string{
		"rediss://localhost:" + port + "?ssl_ca_certs=" + cert:                                                   "",
		"rediss://localhost:" + port + "?ssl_ca_path=" + filepath.Dir(cert):                                      "",
		"rediss://localhost:" + port + "?ssl_ca_certs=" + cert + "&ssl_certfile=" + cert + "&ssl_keyfile=" + key: "",
		"rediss://localhost:" + port + "?ssl_cert_reqs=none":                                                     "",
		"rediss://127.0.0.1:" + port + "?ssl_ca_certs=" + cert + "&ssl_check_hostname=no":                        "",
		"rediss://127.0.0.1:" + port + "?ssl_ca_certs=" + cert:                                                   "not for this name",
		"rediss://localhost:" + port:                                                                             "not trusted",
		"rediss://localhost:" + port + "?ssl_check_hostname=no":                                                  "not trusted",
	} {
		_, err := bind(t, url)
		if want == "" {
			if err != nil {
				t.Errorf("%s: %v", url, err)
			}
			continue
		}
		refuses(t, err, want)
	}
	_, err := bind(t, fmt.Sprintf("rediss://localhost:%d?socket_connect_timeout=0.3", s.port))
	refuses(t, err, "write redis:// for rediss:// in PI_JOB_QUEUE_URL")
	_, err = bind(t, "redis://localhost:"+port)
	refuses(t, err, "write rediss:// for redis:// in PI_JOB_QUEUE_URL")
}

func TestTLSThatCannotBeAgreedOnIsRefused(t *testing.T) {
	t.Parallel()
	cert, key := certificate(t)
	old, oldKey := certificateUntil(t, time.Now().Add(-time.Minute))
	port, oldPort := strconv.Itoa(freePort(t)), strconv.Itoa(freePort(t))
	serve(t, "--tls-port", port, "--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", cert, "--tls-protocols", "TLSv1.2")
	serve(t, "--tls-port", oldPort, "--tls-cert-file", old, "--tls-key-file", oldKey, "--tls-ca-cert-file", old, "--tls-auth-clients", "no")
	for url, want := range map[string]string{
		"rediss://localhost:" + port + "?ssl_ca_certs=" + cert:                                                     "ssl_certfile",
		"rediss://localhost:" + port + "?ssl_ca_certs=" + cert + "&ssl_certfile=" + old + "&ssl_keyfile=" + oldKey: "PI_JOB_QUEUE_URL",
		"rediss://localhost:" + port + "?ssl_min_version=772&ssl_ca_certs=" + cert:                                 "PI_JOB_QUEUE_URL",
		"redis://localhost:" + port:                                "rediss://",
		"rediss://localhost:" + oldPort + "?ssl_ca_certs=" + old:   "has expired",
		"rediss://localhost:" + oldPort + "?ssl_check_hostname=no": "has expired",
	} {
		_, err := bind(t, url)
		refuses(t, err, want)
	}
	three := strconv.Itoa(freePort(t))
	serve(t, "--tls-port", three, "--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", cert) // TLS 1.3 tells it after the handshake
	_, err := bind(t, "rediss://localhost:"+three+"?ssl_ca_certs="+cert)
	refuses(t, err, "ssl_certfile")
}

// speaker is a server that greets, and answers the first that it hears; nil certificates: without
// TLS.
func speaker(t *testing.T, greeting, reply string, certificates ...tls.Certificate) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if len(certificates) > 0 {
		l = tls.NewListener(l, &tls.Config{Certificates: certificates})
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				io.WriteString(c, greeting)
				if n, _ := c.Read(make([]byte, 512)); n > 0 {
					io.WriteString(c, reply)
				}
			}()
		}
	}()
	return l.Addr().String()
}

func TestServerThatIsNoRedisIsRefused(t *testing.T) {
	t.Parallel()
	cert, key := certificate(t)
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	const bad = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"
	for name, url := range map[string]string{
		"SMTP":            "redis://" + speaker(t, "220 mail.example ESMTP\r\n", "500 what\r\n"),
		"SMTP, by TLS":    "rediss://" + speaker(t, "220 mail.example ESMTP\r\n", "500 what\r\n"),
		"HTTP":            "redis://" + speaker(t, "", bad),
		"HTTP, by TLS":    "rediss://" + speaker(t, "", bad),
		"POP3":            "redis://" + speaker(t, "+OK ready\r\n", "-ERR what\r\n"),
		"IMAP":            "redis://" + speaker(t, "* OK ready\r\n", "x BAD what\r\n"),
		"HTTPS":           "rediss://" + speaker(t, "", bad, pair) + "?ssl_cert_reqs=none",
		"SMTP inside TLS": "rediss://" + speaker(t, "220 mail.example ESMTP\r\n", "500 what\r\n", pair) + "?ssl_cert_reqs=none",
	} {
		_, err := bind(t, url)
		if err == nil || !strings.Contains(err.Error(), "what listens there is no Redis") {
			t.Errorf("%s: %v", name, err)
		}
		refuses(t, err, "PI_JOB_QUEUE_URL")
	}
}

// A proxy whose Redis is down takes connections and ends them; one that hangs says nothing.
func TestServerThatSaysNothingIsAway(t *testing.T) {
	t.Parallel()
	cert, key := certificate(t)
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	hung := serve(t)
	pause(t, hung)
	for name, url := range map[string]string{
		"ends":             "redis://" + speaker(t, "", ""),
		"ends before TLS":  "rediss://" + speaker(t, "", ""),
		"ends after TLS":   "rediss://" + speaker(t, "", "", pair) + "?ssl_cert_reqs=none",
		"hangs":            hung.url() + "?socket_timeout=0.3&socket_connect_timeout=0.3",
		"hangs before TLS": fmt.Sprintf("rediss://127.0.0.1:%d?socket_timeout=0.3&socket_connect_timeout=0.3", hung.port),
	} {
		if _, err := bind(t, url); !errors.Is(err, redisq.ErrAway) || errors.Is(err, queue.ErrRefused) {
			t.Errorf("%s: %v, want ErrAway", name, err)
		}
	}
}
