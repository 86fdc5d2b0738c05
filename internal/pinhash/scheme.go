package pinhash

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"time"

	"github.com/go-crypt/crypt/algorithm"
	"github.com/go-crypt/crypt/algorithm/argon2"
	"github.com/go-crypt/crypt/algorithm/bcrypt"
	"github.com/go-crypt/crypt/algorithm/md5crypt"
	"github.com/go-crypt/crypt/algorithm/pbkdf2"
	"github.com/go-crypt/crypt/algorithm/scrypt"
	"github.com/go-crypt/crypt/algorithm/shacrypt"
)

// Bounds of stored parameters. At each of them a check takes seconds and at most 256 MiB.
const (
	maxStored        = 1024 // bytes of a stored string
	maxMemoryKiB     = 256 << 10
	maxArgon2Passes  = 16
	maxArgon2Threads = 16
	maxRounds        = 1_000_000 // PBKDF2 and SHA-crypt
	maxBcryptCost    = 15        // 2^15 expansions: 2 s
	maxScryptWork    = 1 << 22   // N*r*p: 1.4 s
)

// scheme reads one form of stored strings. The pattern matches the whole form, so that the decoder
// never sees two values of one parameter; its groups named n are the parameters, in order.
type scheme struct {
	pattern *regexp.Regexp
	decode  algorithm.DecodeFunc
	// cost returns about the time of a check on the machine where it was measured, or an error for
	// numbers outside the bounds or the scheme's limits. An absent optional parameter is 0.
	cost func(n []int) (time.Duration, error)
}

const (
	base64Part  = `[A-Za-z0-9+/]+`
	adaptedPart = `[A-Za-z0-9./]`
	number      = `(?P<n>[0-9]{1,10})`
)

// schemes are the known forms: RFC 9106 and the PHC string format; passlib's modular crypt forms;
// crypt(5) of libxcrypt.
var schemes = []scheme{ //nolint:gochecknoglobals // compiled once, immutable
	{form(`\$argon2(?:id|i|d)\$v=19\$m=` + number + `,t=` + number + `,p=` + number + `\$` + base64Part + `\$` +
		base64Part),
		argon2.Decode, argon2Cost},
	{form(`\$pbkdf2(?:-sha1|-sha256|-sha512)?\$` + number + `\$` + adaptedPart + `*\$` + adaptedPart + `+`),
		pbkdf2.Decode, pbkdf2Cost},
	{form(`\$6\$(?:rounds=` + number + `\$)?[^$:\n]{0,16}\$` + adaptedPart + `{86}`), shacrypt.Decode, shaCryptCost},
	{form(`\$5\$(?:rounds=` + number + `\$)?[^$:\n]{0,16}\$` + adaptedPart + `{43}`), shacrypt.Decode, shaCryptCost},
	{form(`\$2[aby]\$` + number + `\$` + adaptedPart + `{53}`), bcrypt.Decode, bcryptCost},
	{form(`\$bcrypt-sha256\$v=2,t=2b,r=` + number + `\$` + adaptedPart + `{22}\$` + adaptedPart + `{31}`),
		bcrypt.Decode, bcryptCost},
	{form(`\$scrypt\$ln=` + number + `,r=` + number + `,p=` + number + `\$` + base64Part + `\$` + base64Part),
		scrypt.Decode, scryptCost},
	{form(`\$1\$[^$:\n]{0,8}\$` + adaptedPart + `{22}`), md5crypt.Decode,
		func([]int) (time.Duration, error) { return 300 * time.Microsecond, nil }},
}

func form(pattern string) *regexp.Regexp { return regexp.MustCompile(`\A` + pattern + `\z`) }

// parse finds the scheme of a stored string and checks its parameters.
func parse(stored string) (*scheme, time.Duration, error) {
	if len(stored) > maxStored {
		return nil, 0, ErrUnknownFormat
	}
	for i := range schemes {
		s := &schemes[i]
		match := s.pattern.FindStringSubmatch(stored)
		if match == nil {
			continue
		}
		var n []int
		for _, text := range match[1:] {
			value := 0
			if text != "" {
				value, _ = strconv.Atoi(text) // ten digits fit
				if value == 0 {               // in no scheme a parameter may be 0
					return nil, 0, ErrUnknownFormat
				}
			}
			n = append(n, value)
		}
		cost, err := s.cost(n)
		return s, cost, err
	}
	return nil, 0, ErrUnknownFormat
}

func argon2Cost(n []int) (time.Duration, error) {
	memory, passes, threads := n[0], n[1], n[2]
	if memory > maxMemoryKiB || passes > maxArgon2Passes || threads > maxArgon2Threads {
		return 0, ErrTooCostly
	}
	return time.Duration(memory*passes) * 600, nil // 0.6 us a KiB and pass
}

func pbkdf2Cost(n []int) (time.Duration, error) {
	if n[0] > maxRounds {
		return 0, ErrTooCostly
	}
	return time.Duration(n[0]) * 600, nil
}

func shaCryptCost(n []int) (time.Duration, error) {
	rounds := n[0]
	switch {
	case rounds == 0:
		rounds = 5000
	case rounds < 1000:
		return 0, ErrUnknownFormat // crypt(5): never written
	case rounds > maxRounds:
		return 0, ErrTooCostly
	}
	return time.Duration(rounds) * 800, nil
}

func bcryptCost(n []int) (time.Duration, error) {
	switch {
	case n[0] < 4:
		return 0, ErrUnknownFormat
	case n[0] > maxBcryptCost:
		return 0, ErrTooCostly
	}
	return time.Duration(1<<n[0]) * 58 * time.Microsecond, nil
}

func scryptCost(n []int) (time.Duration, error) {
	ln, r, p := n[0], n[1], n[2]
	if ln > 30 || r > math.MaxInt16 || p > math.MaxInt16 || (1<<ln)*r > maxMemoryKiB<<3 || (1<<ln)*r*p > maxScryptWork {
		return 0, ErrTooCostly
	}
	return time.Duration((1<<ln)*r*p) * 336, nil
}

// Verify reports whether plain was hashed into stored. It blocks for the time of the stored
// parameters. A string of an unknown form is ErrUnknownFormat, a string beyond the bounds
// ErrTooCostly; neither error has the string. A plain text longer than MaxPlain is never right.
func Verify(stored, plain string) (bool, error) {
	s, _, err := parse(stored)
	if err != nil {
		return false, err
	}
	if len(plain) > MaxPlain {
		return false, nil
	}
	digest, err := s.decode(stored)
	if err != nil {
		return false, ErrUnknownFormat // the cause may contain a part of the string
	}
	right, err := digest.MatchAdvanced(plain)
	if err != nil {
		return false, fmt.Errorf("%w: its parameters contradict each other", ErrUnknownFormat)
	}
	return right, nil
}

// Cost returns about how long a check of a stored string takes, with the errors of Verify. It is
// for comparison: a caller that hides whether a hash exists spends the time of the costliest hash.
func Cost(stored string) (time.Duration, error) {
	_, cost, err := parse(stored)
	return cost, err
}
