// Package secret holds keys, sealed records and values that never print.
//
// A sealed record opens only in the place for which it was sealed: the place (Context) is its
// additional authenticated data. The package promises: a record that was moved to another row,
// column or target does not open, and two records never share a key with a nonce. The length of a
// record is not hidden.
package secret

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
)

// Purpose separates the keys: a record of one purpose does not open, and a signature does not hold,
// under another.
type Purpose string

// The purposes. A new one is a new line here, never a free string.
const (
	Seed      Purpose = "seed"      // token secrets and addresses
	SMTP      Purpose = "smtp"      // passwords of mail servers
	Setting   Purpose = "setting"   // values of /system/ with type password
	Delivery  Purpose = "delivery"  // the content of messages
	Challenge Purpose = "challenge" // codes of open challenges
	MessageID Purpose = "messageid" // the Message-ID of a delivery
	KeyCheck  Purpose = "keycheck"  // the fingerprint of the key file
)

// ErrSealed says that a sealed record did not open: another key, another place or damaged bytes.
var ErrSealed = errors.New("sealed record does not open")

// KeyFileSize is the length of PI_ENCFILE in bytes: three 256-bit keys, as privacyIDEA writes it.
const KeyFileSize = 96

// Keys derives the keys of all purposes from one root key. It is immutable and safe for concurrent use.
type Keys struct{ root []byte }

// NewKeys returns the keys that belong to the KeyFileSize bytes of a PI_ENCFILE. The root key is
// HKDF-Extract over all of them (RFC 5869, SHA-256).
func NewKeys(file []byte) (*Keys, error) {
	if len(file) != KeyFileSize {
		return nil, fmt.Errorf("key file has %d bytes, want %d (a key file that is itself encrypted with a password "+
			"is not supported)", len(file), KeyFileSize)
	}
	root, err := hkdf.Extract(sha256.New, file, []byte("otpost root 1"))
	if err != nil {
		return nil, fmt.Errorf("derive root key: %w", err)
	}
	return &Keys{root: root}, nil
}

// NewKeyFile returns KeyFileSize fresh random bytes.
func NewKeyFile() []byte {
	b := make([]byte, KeyFileSize)
	rand.Read(b) // never fails (crypto/rand)
	return b
}

// Context is the place of a sealed record: table, column and the row's key, each part prefixed with
// its length.
type Context []byte

// Place returns the Context of a record.
func Place(table, column string, parts ...string) Context {
	c := appendPart(nil, []byte("otpost 1"))
	c = appendPart(c, []byte(table))
	c = appendPart(c, []byte(column))
	for _, p := range parts {
		c = appendPart(c, []byte(p))
	}
	return c
}

func appendPart(c, part []byte) []byte {
	c = binary.BigEndian.AppendUint32(c, uint32(len(part)))
	return append(c, part...)
}

const (
	format    = 1 // first byte of a sealed record
	keyID     = 1 // second byte: which root key; rotation adds others
	saltSize  = 16
	nonceSize = 12
	headSize  = 2 + saltSize + nonceSize
)

// Seal encrypts plain for its place. The record is format, key id, 16 bytes of salt, 12 bytes of
// nonce and the AES-256-GCM text; its key is HKDF-Expand(purpose key, salt), which needs no
// counter.
func (k *Keys) Seal(p Purpose, place Context, plain []byte) []byte {
	record := make([]byte, headSize, headSize+len(plain)+16)
	record[0], record[1] = format, keyID
	rand.Read(record[2:])
	return k.aead(p, record).Seal(record, record[2+saltSize:headSize], plain, place)
}

// Open decrypts a record of Seal. It returns ErrSealed when purpose, place, key or bytes differ
// from those of Seal.
func (k *Keys) Open(p Purpose, place Context, record []byte) ([]byte, error) {
	if len(record) < headSize || record[0] != format || record[1] != keyID {
		return nil, ErrSealed
	}
	plain, err := k.aead(p, record).Open(nil, record[2+saltSize:headSize], record[headSize:], place)
	if err != nil {
		return nil, ErrSealed
	}
	return plain, nil
}

// MAC returns HMAC-SHA-256 over the length-prefixed parts under the key of the purpose: 32 bytes.
func (k *Keys) MAC(p Purpose, parts ...[]byte) []byte {
	m := hmac.New(sha256.New, k.derive("mac", p, nil))
	var data []byte
	for _, part := range parts {
		data = appendPart(data, part)
	}
	m.Write(data)
	return m.Sum(nil)
}

// Fingerprint tells key files apart: 32 bytes that reveal nothing of the keys.
func (k *Keys) Fingerprint() []byte { return k.MAC(KeyCheck, []byte("otpost key file 1")) }

func (k *Keys) aead(p Purpose, record []byte) cipher.AEAD {
	block, err := aes.NewCipher(k.derive("seal", p, record[2:2+saltSize]))
	if err != nil {
		panic(err) // the key has 32 bytes by construction
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err) // AES has a block size of 16
	}
	return aead
}

// derive returns a 32-byte key for one use, purpose and salt.
func (k *Keys) derive(use string, p Purpose, salt []byte) []byte {
	info := Place(use, string(p), string(salt))
	key, err := hkdf.Expand(sha256.New, k.root, string(info), 32)
	if err != nil {
		panic(err) // 32 bytes are below HKDF's limit
	}
	return key
}

// Text is a string that prints as ******; only Reveal returns it.
type Text string

// Reveal returns the text itself.
func (t Text) Reveal() string { return string(t) }

// String returns ******, or nothing for an empty Text.
func (t Text) String() string {
	if t == "" {
		return ""
	}
	return "******"
}

// GoString returns what String returns, for %#v.
func (t Text) GoString() string { return t.String() }

// LogValue returns what String returns, for slog.
func (t Text) LogValue() slog.Value { return slog.StringValue(t.String()) }

// MarshalText returns what String returns, for JSON and other encoders.
func (t Text) MarshalText() ([]byte, error) { return []byte(t.String()), nil }
