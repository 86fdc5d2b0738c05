package broken

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"testing"
	"time"
)

// authority issues certificates.
type authority struct {
	form *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

// certificate is what a server's certificate says.
type certificate struct {
	hosts   []string // names and addresses
	expired bool
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	key := newKey(t)
	form := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "Test authority"},
		NotBefore:             time.Now().Add(-24 * time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, form, form, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{form, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
}

// issue makes a server's certificate.
func (a *authority) issue(t testing.TB, c certificate) *tls.Config {
	t.Helper()
	key := newKey(t)
	form := form(c)
	der, err := x509.CreateCertificate(rand.Reader, form, a.form, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	return config(der, key)
}

// selfSigned makes a certificate for 127.0.0.1 that is self-signed.
func selfSigned(t testing.TB) *tls.Config {
	t.Helper()
	key := newKey(t)
	form := form(certificate{hosts: []string{"127.0.0.1"}})
	der, err := x509.CreateCertificate(rand.Reader, form, form, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return config(der, key)
}

func form(c certificate) *x509.Certificate {
	form := &x509.Certificate{
		SerialNumber: big.NewInt(2),
		Subject:      pkix.Name{CommonName: "broken.example.org"},
		NotBefore:    time.Now().Add(-2 * time.Hour),
		NotAfter:     time.Now().Add(2 * time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if c.expired {
		form.NotAfter = time.Now().Add(-time.Hour)
	}
	for _, host := range c.hosts {
		if ip := net.ParseIP(host); ip != nil {
			form.IPAddresses = append(form.IPAddresses, ip)
		} else {
			form.DNSNames = append(form.DNSNames, host)
		}
	}
	return form
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func config(der []byte, key *ecdsa.PrivateKey) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12,
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}
