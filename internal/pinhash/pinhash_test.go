package pinhash

import (
	"crypto/rand"
	"errors"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// passlibPlain hashed by passlib 1.7.4 (with argon2_cffi and bcrypt), scheme by scheme.
const passlibPlain = "Grüße 1234"

func passlib() map[string]string {
	return map[string]string{
		"argon2id as privacyIDEA": "$argon2id$v=19$m=65536,t=9,p=4$zHmvlVLq3RtjbK0VQohRyg$8dJBOJkgDK35H98CEC/9GrbCgasbnGyzS+o9BEaZmug",
		"argon2id":                "$argon2id$v=19$m=64,t=1,p=1$MwYAIIRwDkGIUUqJkdJaqw$lAWOTwSNeIPMH+CNFfzM4hIpX1hjfLXQZKx2FAXJufU",
		"argon2i":                 "$argon2i$v=19$m=64,t=2,p=2$mPM+Z8yZE8K4V+qd0/q/Nw$3iFxxaChHBM4cIy+Pw0PFqAcXzNpuv85yysdqCRuO0k",
		"pbkdf2_sha512, 25000":    "$pbkdf2-sha512$25000$XUsp5dzb21urtXYu5dwb4w$cbT9KBjaf5CRKHhrZdQAD3b1ngyfizot/5nKr0jv7Bd/OJ04CBbrkgDl1Zw3RPSEw7dfUk1s58PF7Qc5OeTJHg",
		"pbkdf2_sha512":           "$pbkdf2-sha512$1000$q3XunRMCwBjDeO9dKwUgRA$/.JGPBqf6lPcBK0JVjMXWqBlJzHgAtnl.u0mDrvUkdAPKPQvEzeyQs50cVhCT0GXQooXo3kZT8fZCFqRMrpiPg",
		"pbkdf2_sha256":           "$pbkdf2-sha256$1000$RAjhvDeGcK713ttbq5XS.g$hIxigQjUtApWzyhc5gzaDRluxnLxja6R1mXvzGIJHRI",
		"pbkdf2_sha1":             "$pbkdf2$1000$aA3h/P8fYyyl1DoHIOQ8Rw$lnhe2wnvvrRjEIcTBYPofTyolzc",
		"sha512_crypt":            "$6$w/cHJj0aVqSyFpb2$eZZxG7smDWfagDFDCgLvUy1g7jIFwHb78ETbA/z1ZlY1R2Qlj8ecnxKwu18GPk.o7T0s0NZwocktxaAax/ZLj1",
		"sha512_crypt, rounds":    "$6$rounds=1234$HHKzqBADEvPiOfLf$4L4KOhNZTSvhOTENsdEoZSlvdXd4BOSRd16XErPEbariRXosDW6xDZs1RPhwyEsRfZ2dLqRhGu5GatoYAidMS/",
		"sha256_crypt":            "$5$rounds=1000$9lvp1VBSA5CxmF5E$1I3ziyoc4reJ6ASXbUoMMSwNpcNqUP5xKvWNDpPZkn/",
		"md5_crypt":               "$1$WRLEBcxV$QoJ.AnWTea0LdK8zKpbKt0",
		"bcrypt 2b":               "$2b$05$HCl9SXiLJPtT6o8sC.SQMOL9xOk/N/mRSBOiFiEvipsj3Uisv/pyi",
		"bcrypt 2a":               "$2a$04$sduzBosNJqyiM8i0BbfWu.z0J5fDTL7jjGOGx7wfWROToYCZQP3je",
		"bcrypt_sha256":           "$bcrypt-sha256$v=2,t=2b,r=4$gjKSnPjvbMMKY/iozdrL9O$UFlUYKF2K.GfwnR09ePkH3nkGzYolbq",
		"scrypt":                  "$scrypt$ln=6,r=8,p=1$0jonREgpBWAMQegdg1BK6Q$ywg98mxnUViKUK6De1+dr/n+PF0e4+bRHFH9NEcPtJc",
	}
}

func TestVerifyReadsStringsOfPasslib(t *testing.T) {
	t.Parallel()
	for name, stored := range passlib() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if right, err := Verify(stored, passlibPlain); err != nil || !right {
				t.Errorf("the right plain text: %v, %v", right, err)
			}
			if right, err := Verify(stored, passlibPlain+" "); err != nil || right {
				t.Errorf("a wrong plain text: %v, %v", right, err)
			}
		})
	}
}

// cheap makes hashes that take no time.
func cheap() Params { return Params{Passes: 1, MemoryKiB: 8, Threads: 1, Rounds: 1} }

func TestHashVerifiesItsOwnPlainTextAlone(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		params := cheap()
		params.Scheme = rapid.SampledFrom([]Scheme{Argon2id, PBKDF2SHA512}).Draw(t, "scheme")
		params.Threads = rapid.IntRange(1, 3).Draw(t, "threads")
		// HMAC fills a short key with NUL bytes (RFC 2104, section 2), so for PBKDF2 a text and the same with NULs
		// behind it are one. PINs and passwords with control characters are refused.
		text := rapid.StringMatching(`[^\x00]*`)
		plain, other := text.Draw(t, "plain"), text.Draw(t, "other")
		stored, err := params.Hash(rand.Reader, plain)
		if err != nil {
			t.Fatal(err)
		}
		if right, err := Verify(stored, plain); err != nil || !right {
			t.Fatalf("own plain text: %v, %v", right, err)
		}
		if right, err := Verify(stored, other); err != nil || right != (plain == other) {
			t.Fatalf("other plain text: %v, %v", right, err)
		}
	})
}

func TestHashTakesTheDocumentedDefaults(t *testing.T) {
	t.Parallel()
	for want, params := range map[string]Params{
		"$argon2id$v=19$m=19456,t=2,p=1$": {},
		"$argon2id$v=19$m=64,t=1,p=2$": FromPasslib(nil,
			map[string]int{"argon2__rounds": 1, "argon2__memory_cost": 64, "argon2__parallelism": 2}),
		"$pbkdf2-sha512$1000$": FromPasslib([]string{"pbkdf2_sha512", "argon2"},
			map[string]int{"pbkdf2_sha512__rounds": 1000}),
		"$argon2id$v=19$m=19456,t=1,p=1$": FromPasslib([]string{"bcrypt", "argon2"},
			map[string]int{"argon2__rounds": 1}),
	} {
		stored, err := params.Hash(rand.Reader, "x")
		if err != nil || !strings.HasPrefix(stored, want) {
			t.Errorf("want %s..., got %s, %v", want, stored, err)
		}
	}
}

func TestHashesOfOnePlainTextDiffer(t *testing.T) {
	t.Parallel()
	first, err := cheap().Hash(rand.Reader, "x")
	if err != nil {
		t.Fatal(err)
	}
	second, err := cheap().Hash(rand.Reader, "x")
	if err != nil || first == second {
		t.Errorf("equal: %v, %v", first == second, err)
	}
}

func TestHashRefusesWhatVerifyWouldRefuse(t *testing.T) {
	t.Parallel()
	for _, params := range []Params{{Passes: 17}, {MemoryKiB: maxMemoryKiB + 1}, {Threads: 17}, {Rounds: maxRounds + 1},
		{Passes: -1}, {Scheme: 7}} {
		if _, err := params.Hash(rand.Reader, "x"); err == nil {
			t.Errorf("%+v was taken", params)
		}
	}
	long := strings.Repeat("x", MaxPlain+1)
	if _, err := cheap().Hash(rand.Reader, long); !errors.Is(err, ErrTooLong) {
		t.Errorf("a long plain text: %v", err)
	}
	if right, err := Verify(passlib()["argon2id"], long); right || err != nil {
		t.Errorf("a long plain text: %v, %v", right, err)
	}
}

func TestVerifyRefusesCostlyParameters(t *testing.T) {
	t.Parallel()
	bcryptTail := strings.Repeat("a", 53)
	for _, stored := range []string{
		"$argon2id$v=19$m=262145,t=1,p=1$c2FsdHNhbHQ$a2V5a2V5",
		"$argon2id$v=19$m=9999999999,t=1,p=1$c2FsdHNhbHQ$a2V5a2V5",
		"$argon2id$v=19$m=64,t=17,p=1$c2FsdHNhbHQ$a2V5a2V5",
		"$argon2d$v=19$m=64,t=1,p=17$c2FsdHNhbHQ$a2V5a2V5",
		"$pbkdf2-sha512$1000001$c2FsdA$a2V5",
		"$6$rounds=1000001$salt$" + strings.Repeat("a", 86),
		"$5$rounds=999999999$salt$" + strings.Repeat("a", 43),
		"$2b$16$" + bcryptTail,
		"$2y$31$" + bcryptTail,
		"$bcrypt-sha256$v=2,t=2b,r=16$" + strings.Repeat("a", 22) + "$" + strings.Repeat("a", 31),
		"$scrypt$ln=19,r=8,p=1$c2FsdA$a2V5",
		"$scrypt$ln=60,r=8,p=1$c2FsdA$a2V5",
		"$scrypt$ln=14,r=8,p=64$c2FsdA$a2V5",
		"$scrypt$ln=1,r=9999999999,p=9999999999$c2FsdA$a2V5",
	} {
		if _, err := Verify(stored, "x"); !errors.Is(err, ErrTooCostly) || strings.Contains(err.Error(), stored) {
			t.Errorf("%s: %v", stored, err)
		}
		if _, err := Cost(stored); !errors.Is(err, ErrTooCostly) {
			t.Errorf("cost of %s: %v", stored, err)
		}
	}
}

func TestVerifyRefusesUnknownForms(t *testing.T) {
	t.Parallel()
	for _, stored := range []string{
		"", "x", "*", "!", "1aaDfUuAFrXZE", "{SSHA}lxNDFYi59y7KSglWGq0sZybGl2eF8J6z", "$plaintext$secret", "secret",
		"$argon2id$v=19$m=64,m=64,t=1,p=1$c2FsdHNhbHQ$a2V5a2V5",
		"$argon2id$v=16$m=64,t=1,p=1$c2FsdHNhbHQ$a2V5a2V5",
		"$argon2id$v=19$m=64,t=0,p=1$c2FsdHNhbHQ$a2V5a2V5",
		"$argon2id$v=19$m=-1,t=1,p=1$c2FsdHNhbHQ$a2V5a2V5",
		"$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$",
		"$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$a",
		"$pbkdf2-sha512$0$c2FsdA$a2V5",
		"$6$rounds=999$salt$" + strings.Repeat("a", 86),
		"$2b$03$" + strings.Repeat("a", 53),
		"$1$salt$short",
		passlib()["argon2id"] + "\n",
		"$pbkdf2-sha512$1$" + strings.Repeat("a", 2000) + "$a2V5",
	} {
		_, err := Verify(stored, "x")
		if !errors.Is(err, ErrUnknownFormat) || len(stored) > 20 && strings.Contains(err.Error(), stored) {
			t.Errorf("%.60q: %v", stored, err)
		}
	}
}

func TestCostOrdersStoredHashes(t *testing.T) {
	t.Parallel()
	p := passlib()
	order := []string{p["argon2id"], p["pbkdf2_sha512"], p["sha512_crypt"], p["pbkdf2_sha512, 25000"],
		"$2b$12$" + strings.Repeat("a", 53), p["argon2id as privacyIDEA"]}
	before := time.Duration(0)
	for _, stored := range order {
		cost, err := Cost(stored)
		if err != nil || cost <= before {
			t.Errorf("%.40s costs %v after %v, %v", stored, cost, before, err)
		}
		before = cost
	}
}

func FuzzVerify(f *testing.F) {
	for _, stored := range passlib() {
		f.Add(stored, "x")
	}
	f.Add("$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$a", "")
	f.Fuzz(func(t *testing.T, stored, plain string) {
		cost, err := Cost(stored)
		if err == nil && cost > 5*time.Millisecond {
			return // allowed, and too slow to be tried often: Verify's own tests do
		}
		right, verifyErr := Verify(stored, plain)
		if right && verifyErr != nil {
			t.Error("right and an error")
		}
		if err != nil && !errors.Is(err, ErrUnknownFormat) && !errors.Is(err, ErrTooCostly) {
			t.Errorf("an error without a name: %v", err)
		}
		if err != nil && verifyErr == nil {
			t.Error("Verify takes what Cost refuses")
		}
	})
}
