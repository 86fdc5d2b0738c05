// Package pinhash hashes PINs and passwords and checks them.
//
// Hash makes Argon2id strings (RFC 9106) or PBKDF2 ones; Verify reads those, passlib's, and what
// crypt(3) writes into passwd files. Strings with parameters that would overload the machine are
// refused. Servers use Verifier: it bounds how many computations run at once, shares them fairly
// between peers, and caches right plain texts for a while. The package stores nothing on disk and
// logs nothing; its errors contain no plain text and no hash.
package pinhash

import (
	"cmp"
	"crypto/pbkdf2"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/go-crypt/crypt/algorithm/argon2"
)

// Errors that callers tell apart.
var (
	ErrUnknownFormat = errors.New("the stored hash has a form that is not known")
	ErrTooCostly     = errors.New("the stored hash asks for more memory or time than is allowed")
	ErrTooLong       = errors.New("the plain text is longer than 1024 bytes")
	ErrBusy          = errors.New("no time to compute a hash: too many at once")
)

// MaxPlain is the length in bytes above which a plain text is refused: some schemes take time in proportion to it.
const MaxPlain = 1024

// Scheme is a way to hash.
type Scheme int

// The schemes that Hash writes.
const (
	Argon2id     Scheme = iota
	PBKDF2SHA512        // in passlib's form
)

// Params are the parameters of new hashes. The zero value means Argon2id with 2 passes over 19 MiB
// in 1 thread (OWASP's advice: 26 ms on the machine where it was measured). A number of 0 means its
// default.
type Params struct {
	Scheme    Scheme
	Passes    int // Argon2id: 1 to 16, default 2
	MemoryKiB int // Argon2id: 8 to 256 Ki, default 19 Ki; at least 8 for each thread are taken
	Threads   int // Argon2id: 1 to 16, default 1
	Rounds    int // PBKDF2: 1 to 1 000 000, default 210 000 (OWASP's advice)
}

// FromPasslib reads passlib's names: the first known scheme ("argon2", "pbkdf2_sha512"; none:
// argon2), with its numbers from options (argon2__rounds, argon2__memory_cost in KiB,
// argon2__parallelism, pbkdf2_sha512__rounds). Other names are ignored.
func FromPasslib(schemes []string, options map[string]int) Params {
	p := Params{
		Passes:    options["argon2__rounds"],
		MemoryKiB: options["argon2__memory_cost"],
		Threads:   options["argon2__parallelism"],
		Rounds:    options["pbkdf2_sha512__rounds"],
	}
	for _, scheme := range schemes {
		switch scheme {
		case "argon2":
			return p
		case "pbkdf2_sha512":
			p.Scheme = PBKDF2SHA512
			return p
		}
	}
	return p
}

// Hash returns the hash of plain with a fresh salt of 16 bytes from random, as a string that Verify
// reads: "$argon2id$v=19$m=..,t=..,p=..$salt$hash" or "$pbkdf2-sha512$rounds$salt$hash". It takes
// the time of the parameters.
func (p Params) Hash(random io.Reader, plain string) (string, error) {
	p = p.withDefaults()
	if err := p.check(); err != nil {
		return "", err
	}
	if len(plain) > MaxPlain {
		return "", ErrTooLong
	}
	salt := make([]byte, 16)
	if _, err := io.ReadFull(random, salt); err != nil {
		return "", fmt.Errorf("draw a salt: %w", err)
	}
	if p.Scheme == PBKDF2SHA512 {
		key, err := pbkdf2.Key(sha512.New, plain, salt, p.Rounds, sha512.Size)
		if err != nil {
			return "", fmt.Errorf("derive a key: %w", err)
		}
		return fmt.Sprintf("$pbkdf2-sha512$%d$%s$%s", p.Rounds, adapted(salt), adapted(key)), nil
	}
	memory := uint32(max(p.MemoryKiB, 8*p.Threads)) //nolint:gosec // check bounds it
	hasher, err := argon2.New(argon2.WithVariantID(), argon2.WithT(p.Passes), argon2.WithM(memory),
		argon2.WithP(p.Threads))
	if err != nil {
		return "", fmt.Errorf("prepare argon2: %w", err)
	}
	digest, err := hasher.HashWithSalt(plain, salt)
	if err != nil {
		return "", fmt.Errorf("derive a key: %w", err)
	}
	return digest.Encode(), nil
}

func (p Params) withDefaults() Params {
	p.Passes = cmp.Or(p.Passes, 2)
	p.MemoryKiB = cmp.Or(p.MemoryKiB, 19<<10)
	p.Threads = cmp.Or(p.Threads, 1)
	p.Rounds = cmp.Or(p.Rounds, 210_000)
	return p
}

// check refuses parameters that Verify would refuse later.
func (p Params) check() error {
	switch {
	case p.Passes < 1, p.Passes > maxArgon2Passes, p.Threads < 1, p.Threads > maxArgon2Threads,
		p.MemoryKiB < 8, p.MemoryKiB > maxMemoryKiB, p.Rounds < 1, p.Rounds > maxRounds:
		return errors.New("the parameters of new hashes are out of bounds")
	case p.Scheme != Argon2id && p.Scheme != PBKDF2SHA512:
		return errors.New("the scheme of new hashes is not known")
	}
	return nil
}

// adapted is passlib's Base64 of PBKDF2 strings: no padding, "." for "+".
func adapted(b []byte) string {
	return strings.ReplaceAll(base64.RawStdEncoding.EncodeToString(b), "+", ".")
}
