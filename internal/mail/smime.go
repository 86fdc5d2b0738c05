package mail

import (
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"sync"

	"github.com/smallstep/pkcs7"

	"otpost/internal/fault"
	"otpost/internal/secret"
)

// Finding is a problem or warning about a field of a server's definition; the field has its name in
// REST. As an error it is the reason why mails cannot be signed.
type Finding struct {
	Field   string
	Key     string // of the sentence, like fault.Error.Key
	Args    []any  // of the sentence, like fault.Error.Args
	Message string // what to do, without secrets and content of files
}

// Error returns field and message.
func (f *Finding) Error() string { return f.Field + ": " + f.Message }

// fault returns the finding as a refusal.
func (f *Finding) fault() *fault.Error {
	refusal := fault.Wrong(f.Field, f.Key, "%s", f.Message)
	refusal.Args = f.Args
	return refusal
}

// found returns a Finding with a formatted message. An error among args becomes its text.
func found(field, key, format string, args ...any) *Finding {
	for i, arg := range args {
		if err, ok := arg.(error); ok {
			args[i] = err.Error()
		}
	}
	return &Finding{Field: field, Key: key, Args: args, Message: fmt.Sprintf(format, args...)}
}

// signer signs mails as one sender. It is safe for concurrent use.
type signer struct {
	key   crypto.Signer
	leaf  *x509.Certificate   // the key's own
	chain []*x509.Certificate // the other certificates of the file, in order
}

// sign returns the detached signature over entity, in the form that is sent (CRLF), as DER: CMS
// SignedData with SHA-256 and the certificates of the file (RFC 8551 section 3.5, RFC 5652).
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

// mostSigners bounds the cache of signers; a site has a handful.
const mostSigners = 16

// signers reads keys and certificates through the opener of files that REST can name. It reads the
// files for each mail, so that a renewed certificate counts at once. It caches the parsed content,
// because checking a key's password may take a second. It is safe for concurrent use.
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

// of returns the signer for the mails of a server. The error is a *Finding.
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
		return nil, found(field, "file_none", "write the path of the file (PEM); without it nothing can be signed")
	}
	content, err := s.readFile(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, found(field, "file_missing", "there is no file of this name: %v", err)
	case errors.Is(err, fs.ErrPermission):
		return nil, found(field, "file_forbidden", "otpost's user may not read this file: %v", err)
	case err != nil:
		return nil, found(field, "file_unread", "the file cannot be read: %v", err)
	}
	return content, nil
}

// newSigner joins a key with its certificate, the first one of the file for this key.
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
		return nil, found("private_key", "key_of_other",
			"key and certificate do not belong together: no certificate of the file is for this key")
	}
	if _, err := s.sign([]byte("otpost")); err != nil {
		return nil, found("private_key", "key_signs_nothing", "this key cannot sign: %v", err)
	}
	return s, nil
}
