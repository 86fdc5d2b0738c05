package mail

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"

	"github.com/youmark/pkcs8"
)

// parseCertificates returns the certificates of a PEM file, in order, at least one. The error is a
// *Finding.
func parseCertificates(content []byte) ([]*x509.Certificate, error) {
	var all []*x509.Certificate
	for block, rest := pem.Decode(content); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		one, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, found("certificate", "certificate_broken", "certificate %d of the file cannot be read",
				len(all)+1)
		}
		all = append(all, one)
	}
	if len(all) == 0 {
		return nil, found("certificate", "certificate_none",
			"there is no certificate in the file; it must be PEM (-----BEGIN CERTIFICATE-----)")
	}
	return all, nil
}

// parseKey returns the first private key of a PEM file: RSA or ECDSA, as PKCS #1, SEC 1 or PKCS #8,
// encrypted or not; the password of an unencrypted key is ignored. The error is a *Finding.
func parseKey(content, password []byte) (crypto.Signer, error) {
	for block, rest := pem.Decode(content); block != nil; block, rest = pem.Decode(rest) {
		switch block.Type {
		case "PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY":
			key, err := parseBlock(block, password)
			if err != nil {
				return nil, err
			}
			switch key := key.(type) {
			case *rsa.PrivateKey:
				return key, nil
			case *ecdsa.PrivateKey:
				return key, nil
			}
			return nil, found("private_key", "key_kind", "use an RSA or ECDSA key; mail programs verify no other")
		}
	}
	return nil, found("private_key", "key_none",
		"there is no private key in the file; it must be PEM (-----BEGIN PRIVATE KEY-----)")
}

func parseBlock(block *pem.Block, password []byte) (any, error) {
	der := block.Bytes
	//nolint:staticcheck // openssl 1 and ssh-keygen wrote such keys, and sites have them
	encrypted := x509.IsEncryptedPEMBlock(block)
	if (encrypted || block.Type == "ENCRYPTED PRIVATE KEY") && len(password) == 0 {
		return nil, found("private_key_password", "key_encrypted", "the private key is encrypted; type its password")
	}
	wrong := found("private_key_password", "key_password", "this is not the password of the private key")
	if block.Type == "ENCRYPTED PRIVATE KEY" {
		key, err := decrypt(der, password)
		if errors.Is(err, errCipher) {
			return nil, found("private_key", "key_encryption",
				"its encryption is not known here, or costs too much; convert it: openssl pkcs8 -topk8 -v2 aes-256-cbc")
		}
		if err != nil {
			return nil, wrong
		}
		return key, nil
	}
	if encrypted {
		var err error
		if der, err = x509.DecryptPEMBlock(block, password); err != nil { //nolint:staticcheck // as above
			return nil, wrong
		}
	}
	for _, parse := range []func([]byte) (any, error){
		x509.ParsePKCS8PrivateKey,
		func(der []byte) (any, error) { return x509.ParsePKCS1PrivateKey(der) },
		func(der []byte) (any, error) { return x509.ParseECPrivateKey(der) },
	} {
		if key, err := parse(der); err == nil {
			return key, nil
		}
	}
	if encrypted { // once in 256 times a wrong password fits the padding
		return nil, wrong
	}
	return nil, found("private_key", "key_unread", "the key cannot be read; use PKCS #8, PKCS #1 or SEC 1 in PEM")
}

// errCipher says that a key is encrypted in an unknown way, or in one that costs too much time.
var errCipher = errors.New("unknown or costly encryption")

// decrypt reads an encrypted PKCS #8 key (RFC 5958) of PBES2 (RFC 8018). The module panics at
// lengths that do not fit the cipher.
func decrypt(der, password []byte) (key any, err error) {
	if !affordable(der) {
		return nil, errCipher
	}
	defer func() {
		if recover() != nil {
			key, err = nil, errCipher
		}
	}()
	key, err = pkcs8.ParsePKCS8PrivateKey(der, password)
	// it has no sentinel; TestKeysInEveryForm checks the text
	if err != nil && err.Error() != "pkcs8: incorrect password" {
		return nil, errCipher
	}
	return key, err
}

const (
	mostIterations = 2_000_000 // of PBKDF2: about a second; openssl takes 2048, OWASP asks for 600,000
	mostMemory     = 64 << 20  // bytes of scrypt; openssl takes 16 MiB
	mostLanes      = 16        // of scrypt
)

// affordable reports whether the key derivation of an encrypted key is within the bounds: a
// malicious file must not exhaust the memory of this process. Files that it cannot read are left to
// the module, which refuses them.
func affordable(der []byte) bool {
	var info struct {
		Algorithm pkix.AlgorithmIdentifier
		Data      []byte
	}
	var scheme struct{ KDF, Cipher pkix.AlgorithmIdentifier }
	if !unmarshal(der, &info) || !unmarshal(info.Algorithm.Parameters.FullBytes, &scheme) {
		return true
	}
	var pbkdf2 struct {
		Salt       []byte
		Iterations int
	}
	var scrypt struct {
		Salt               []byte
		Cost, Block, Lanes int
	}
	params := scheme.KDF.Parameters.FullBytes
	switch {
	case scheme.KDF.Algorithm.Equal(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12}): // RFC 8018 section A.2
		return !unmarshal(params, &pbkdf2) || pbkdf2.Iterations <= mostIterations
	case scheme.KDF.Algorithm.Equal(asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11591, 4, 11}): // RFC 7914 section 7
		return !unmarshal(params, &scrypt) ||
			scrypt.Block > 0 && scrypt.Cost <= mostMemory/128 && scrypt.Block <= mostMemory/128 &&
				128*scrypt.Cost*scrypt.Block <= mostMemory && scrypt.Lanes <= mostLanes
	}
	return true
}

func unmarshal(der []byte, value any) bool {
	_, err := asn1.Unmarshal(der, value)
	return err == nil
}
