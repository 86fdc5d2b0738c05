package mail

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"testing"

	"github.com/youmark/pkcs8"
)

// costly is an encrypted key whose derivation has these parameters; nothing derives it.
func costly(t *testing.T, kdf asn1.ObjectIdentifier, params any) []byte {
	t.Helper()
	algorithm := func(oid asn1.ObjectIdentifier, params any) pkix.AlgorithmIdentifier {
		return pkix.AlgorithmIdentifier{Algorithm: oid, Parameters: asn1.RawValue{FullBytes: marshal(t, params)}}
	}
	scheme := []pkix.AlgorithmIdentifier{
		algorithm(kdf, params), algorithm(asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 42}, make([]byte, 16)),
	}
	return marshal(t, struct {
		Algorithm pkix.AlgorithmIdentifier
		Data      []byte
	}{algorithm(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}, scheme), make([]byte, 160)})
}

func marshal(t *testing.T, value any) []byte {
	t.Helper()
	der, err := asn1.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestKeysThatCostTooMuchAreRefused(t *testing.T) {
	t.Parallel()
	pbkdf2, scrypt := asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12}, asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11591,
		4, 11}
	type rounds struct {
		Salt       []byte
		Iterations int
	}
	type memory struct {
		Salt               []byte
		Cost, Block, Lanes int
	}
	salt := []byte("saltsalt")
	for name, c := range map[string]struct {
		kdf    asn1.ObjectIdentifier
		params any
		want   bool
	}{
		"what OWASP asks for":  {pbkdf2, rounds{salt, 600_000}, true},
		"too many rounds":      {pbkdf2, rounds{salt, 2_000_001}, false},
		"openssl's scrypt":     {scrypt, memory{salt, 16384, 8, 1}, true},
		"too much memory":      {scrypt, memory{salt, 131072, 8, 1}, false},
		"a product that wraps": {scrypt, memory{salt, 1 << 40, 1 << 40, 1}, false},
		"too many lanes":       {scrypt, memory{salt, 2, 1, 17}, false},
	} {
		der := costly(t, c.kdf, c.params)
		if got := affordable(der); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
		if c.want {
			continue
		}
		if _, err := decrypt(der, []byte("keypw")); !errors.Is(err, errCipher) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzKeyFile: for every content of the files, the result is a signer that signs or a Finding
// without the password.
func FuzzKeyFile(f *testing.F) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	der, err := pkcs8.MarshalPrivateKey(key, []byte("keypw"), nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: der}))
	f.Add(pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: der[:len(der)-1]}))
	f.Add(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED",
		"DEK-Info": "AES-128-CBC,00"}, Bytes: []byte("x")}))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		var finding *Finding
		if _, err := parseKey(content, []byte("keypw")); err != nil && !errors.As(err, &finding) {
			t.Errorf("%T %v", err, err)
		}
		if _, err := parseCertificates(content); err != nil && !errors.As(err, &finding) {
			t.Errorf("%T %v", err, err)
		}
	})
}
