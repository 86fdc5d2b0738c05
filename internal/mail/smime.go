package mail

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"sync"

	"github.com/smallstep/pkcs7"
	"github.com/youmark/pkcs8"

	"otpost/internal/secret"
)

// Finding is something about a server's definition that an administrator should know, with the field that it is about, named as
// in REST. As an error it is a reason why nothing can be signed.
type Finding struct {
	Field   string
	Message string // what to do; no secret and no content of a file is in it
}

// Error returns field and message.
func (f *Finding) Error() string { return f.Field + ": " + f.Message }

func found(field, format string, args ...any) *Finding {
	return &Finding{Field: field, Message: fmt.Sprintf(format, args...)}
}

// signer signs mails as one sender. It is safe for concurrent use.
type signer struct {
	key   crypto.Signer
	leaf  *x509.Certificate   // the key's own
	chain []*x509.Certificate // the others of the certificate file, in its order
}

// sign returns the detached signature over entity, which must be as it is sent (CRLF), as DER: CMS SignedData with SHA-256 and the
// certificates of the file (RFC 8551 section 3.5, RFC 5652).
func (s *signer) sign(entity []byte) ([]byte, error) {
	signed, err := pkcs7.NewSignedData(entity)
	if err != nil {
		return nil, fmt.Errorf("begin the signature: %w", err)
	}
	signed.SetDigestAlgorithm(pkcs7.OIDDigestAlgorithmSHA256)
	if err := signed.AddSigner(s.leaf, s.key, pkcs7.SignerInfoConfig{}); err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	for _, c := range s.chain {
		signed.AddCertificate(c)
	}
	signed.Detach()
	der, err := signed.Finish()
	if err != nil {
		return nil, fmt.Errorf("end the signature: %w", err)
	}
	return der, nil
}

// mostSigners bounds what signers remembers; a site has a handful.
const mostSigners = 16

// signers reads keys and certificates, through the one opener of files that REST can name. Files are read for each mail, so that a
// renewed certificate counts at once; what a content means is remembered, for a key's password may cost a second to check. It is
// safe for concurrent use.
type signers struct {
	readFile func(name string) ([]byte, error)

	mu    sync.Mutex
	known map[[sha256.Size]byte]*signer
}

func newSigners(readFile func(name string) ([]byte, error)) *signers {
	if readFile == nil {
		readFile = func(string) ([]byte, error) { return nil, errors.New("files are not opened here") }
	}
	return &signers{readFile: readFile, known: make(map[[sha256.Size]byte]*signer)}
}

// of returns who signs the mails of a server. The error is a *Finding.
func (s *signers) of(server Server) (*signer, error) {
	certificate, err := s.file("certificate", server.Certificate)
	if err != nil {
		return nil, err
	}
	key, err := s.file("private_key", server.PrivateKey)
	if err != nil {
		return nil, err
	}
	content := sha256.New()
	for _, part := range [][]byte{certificate, key, []byte(server.PrivateKeyPassword.Reveal())} {
		fmt.Fprintf(content, "%d:", len(part))
		content.Write(part)
	}
	name := [sha256.Size]byte(content.Sum(nil))
	s.mu.Lock()
	one := s.known[name]
	s.mu.Unlock()
	if one != nil {
		return one, nil
	}
	if one, err = newSigner(certificate, key, server.PrivateKeyPassword); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.known) >= mostSigners {
		clear(s.known)
	}
	s.known[name] = one
	return one, nil
}

func (s *signers) file(field, name string) ([]byte, error) {
	if name == "" {
		return nil, found(field, "write the path of the file (PEM); without it nothing can be signed")
	}
	content, err := s.readFile(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, found(field, "there is no file of this name: %v", err)
	case errors.Is(err, fs.ErrPermission):
		return nil, found(field, "otpost's user may not read this file: %v", err)
	case err != nil:
		return nil, found(field, "the file cannot be read: %v", err)
	}
	return content, nil
}

// newSigner joins a key with its certificate, which is the first of the file that belongs to the key.
func newSigner(certificate, key []byte, password secret.Text) (*signer, error) {
	all, err := parseCertificates(certificate)
	if err != nil {
		return nil, err
	}
	s := new(signer)
	if s.key, err = parseKey(key, []byte(password.Reveal())); err != nil {
		return nil, err
	}
	public, ok := s.key.Public().(interface {
		Equal(other crypto.PublicKey) bool
	})
	for _, c := range all {
		if s.leaf == nil && ok && public.Equal(c.PublicKey) {
			s.leaf = c
		} else {
			s.chain = append(s.chain, c)
		}
	}
	if s.leaf == nil {
		return nil, found("private_key", "key and certificate do not belong together: no certificate of the file is for this key")
	}
	if _, err := s.sign([]byte("otpost")); err != nil {
		return nil, found("private_key", "this key cannot sign: %v", err)
	}
	return s, nil
}

// parseCertificates returns the certificates of a PEM file, in its order, at least one. The error is a *Finding.
func parseCertificates(content []byte) ([]*x509.Certificate, error) {
	var all []*x509.Certificate
	for block, rest := pem.Decode(content); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		one, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, found("certificate", "certificate %d of the file cannot be read", len(all)+1)
		}
		all = append(all, one)
	}
	if len(all) == 0 {
		return nil, found("certificate", "there is no certificate in the file; it must be PEM (-----BEGIN CERTIFICATE-----)")
	}
	return all, nil
}

// parseKey returns the first private key of a PEM file: RSA or ECDSA, as PKCS #1, SEC 1 or PKCS #8, encrypted or not; the password
// of a key that is not encrypted is not looked at. The error is a *Finding.
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
			return nil, found("private_key", "use an RSA or ECDSA key; mail programs verify no other")
		}
	}
	return nil, found("private_key", "there is no private key in the file; it must be PEM (-----BEGIN PRIVATE KEY-----)")
}

func parseBlock(block *pem.Block, password []byte) (any, error) {
	der := block.Bytes
	encrypted := x509.IsEncryptedPEMBlock(block) //nolint:staticcheck // openssl 1 and ssh-keygen wrote keys like this, and sites have them
	if (encrypted || block.Type == "ENCRYPTED PRIVATE KEY") && len(password) == 0 {
		return nil, found("private_key_password", "the private key is encrypted; type its password")
	}
	wrong := found("private_key_password", "this is not the password of the private key")
	if block.Type == "ENCRYPTED PRIVATE KEY" {
		key, err := decrypt(der, password)
		if errors.Is(err, errCipher) {
			return nil, found("private_key", "its encryption is not known here; convert it: openssl pkcs8 -topk8 -v2 aes-256-cbc")
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
	if encrypted { // a wrong password passes the padding once in 256 times
		return nil, wrong
	}
	return nil, found("private_key", "the key cannot be read; use PKCS #8, PKCS #1 or SEC 1 in PEM")
}

// errCipher says that a key is encrypted in a way that is not known.
var errCipher = errors.New("unknown encryption")

// decrypt reads an encrypted PKCS #8 key (RFC 5958, PBES2). The module panics at lengths that do not fit the cipher.
func decrypt(der, password []byte) (key any, err error) {
	defer func() {
		if recover() != nil {
			err = errCipher
		}
	}()
	key, err = pkcs8.ParsePKCS8PrivateKey(der, password)
	if err != nil && err.Error() != "pkcs8: incorrect password" { // it has no sentinel; TestKeysInEveryForm holds the text
		return nil, errCipher
	}
	return key, err
}
