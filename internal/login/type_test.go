package login_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"otpost/internal/login"
	"otpost/internal/store"
	"otpost/internal/token"
)

// computed is a token type whose codes follow from a counter, in the manner of HOTP (RFC 4226). A property of the token
// holds the counter.
type computed struct{ fail func() error } // after it has written; nil: it does not fail

func (*computed) Enrol(token.Enrolment) error { return nil }

// code returns the code of a counter.
func (*computed) code(serial string, counter int64) token.Text {
	mac := hmac.New(sha256.New, []byte(serial))
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(counter)))
	return token.Text(fmt.Sprintf("%06d", binary.BigEndian.Uint32(mac.Sum(nil))%1_000_000))
}

func (c *computed) Compare(a token.Attempt) token.Match {
	for step := range int64(a.Guess.Token().CountWindow) {
		if a.Code == c.code(a.Guess.Serial(), step) {
			return token.Match{Validity: token.Valid, Step: step}
		}
	}
	return token.Match{}
}

func (c *computed) Accept(tx *store.Tx, _ time.Time, m token.Match) error {
	fresh, err := tx.Changed(`INSERT INTO token_info (serial, key, value) VALUES ($1, 'next', $2) ON CONFLICT (serial, key)
		DO UPDATE SET value = excluded.value WHERE CAST(value AS INTEGER) < CAST(excluded.value AS INTEGER) RETURNING serial`,
		m.Guess.Serial(), fmt.Sprint(m.Step+1))
	switch {
	case err != nil:
		return err
	case !fresh:
		return token.ErrUsed
	case c.fail != nil:
		return c.fail()
	}
	return nil
}

// constant is a token type with one code, which ends the token when it is used: that of a registration.
type constant struct{}

const registration = "483920"

func (constant) Enrol(token.Enrolment) error { return nil }

func (constant) Compare(a token.Attempt) token.Match {
	if a.Code == registration {
		return token.Match{Validity: token.Valid}
	}
	return token.Match{}
}

func (constant) Accept(tx *store.Tx, _ time.Time, m token.Match) error {
	ended, err := tx.Changed(`UPDATE token SET active = 0 WHERE serial = $1 AND active = 1 RETURNING serial`,
		m.Guess.Serial())
	if err == nil && !ended {
		return token.ErrUsed
	}
	return err
}

// enrolType makes a token of a type for bob.
func (r *rig) enrolType(kind, serial string, pin token.Text) {
	r.t.Helper()
	bob := r.people.by["bob"]
	e := token.Enrolment{Type: kind, Serial: serial, PIN: &pin, Owner: &bob}
	if _, err := r.tokens.Init(r.t.Context(), e); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) bob(pass token.Text) login.Result {
	r.t.Helper()
	return r.check(login.Request{User: "bob", Pass: pass})
}

func acceptedOf(serial, kind string) login.Result {
	got := acceptedWithPIN(serial)
	got.Type = kind
	return got
}

func TestComputedCodesLogIn(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.enrolType("computed", "OATH1", "pinb")
	first, third := r.computed.code("OATH1", 0), r.computed.code("OATH1", 2)
	r.want(r.bob("pinb"), rejected("wrong otp pin")) // nothing is sent
	r.want(r.bob("pinb"+third), acceptedOf("OATH1", "computed"))
	for _, used := range []token.Text{first, third} {
		want := refusedCode("wrong otp value. previous otp used again")
		want.Serial, want.Type = "OATH1", "computed"
		r.want(r.bob("pinb"+used), want)
	}
	r.wantCounters("OATH1", counters{Fail: 2, Auth: 4, Success: 1})
	alone := login.Request{Serial: "OATH1", OTPOnly: true, Pass: r.computed.code("OATH1", 3)}
	if got := r.check(alone); got.Authentication != login.Accept {
		t.Errorf("a code alone: %+v", got)
	}
	got, err := r.Trigger(t.Context(), login.Request{User: "bob"})
	if err != nil || got.Authentication != login.Reject || r.mails() != 0 {
		t.Errorf("there is nothing to trigger: %+v, %v, %d mails", got, err, r.mails())
	}
}

func TestComputedCodeIsAcceptedOnceOfEight(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.enrolType("computed", "OATH1", "pinb")
	got := r.tally(8, login.Request{User: "bob", Pass: "pinb" + r.computed.code("OATH1", 0)})
	if got["ACCEPT matching 1 tokens"] != 1 || got["REJECT wrong otp value. previous otp used again"] != 7 {
		t.Errorf("answers: %v", got)
	}
	r.wantCounters("OATH1", counters{Fail: 7, Auth: 8, Success: 1})
}

func TestRegistrationCodeLogsInOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.enrolType("constant", "REG1", "")
	wrong := refusedCode("wrong otp value")
	wrong.Serial, wrong.Type = "REG1", "constant"
	r.want(r.bob("111111"), wrong)
	r.want(r.bob(registration), acceptedOf("REG1", "constant"))
	r.want(r.bob(registration), rejected("Token is disabled"))
	r.wantCounters("REG1", counters{Auth: 2, Success: 1})
}

// A type that writes and then fails, however it does so: nothing of the login is written, and the code is still good.
func TestTypeThatWritesAndThenFailsLeavesTheRowTrue(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.enrolType("computed", "OATH1", "pinb")
	code := r.computed.code("OATH1", 0)
	for name, c := range map[string]struct {
		fail    func() error
		refused bool // an answer, and no fault of the server
	}{
		"an error": {func() error { return errors.New("disk I/O error") }, false},
		"a panic":  {func() error { panic("a type with a bug") }, false},
		"used":     {func() error { return token.ErrUsed }, true},
	} {
		r.computed.fail = c.fail
		before := r.counters("OATH1")
		got, err := r.Check(t.Context(), login.Request{User: "bob", Pass: "pinb" + code})
		want := before
		if c.refused {
			want.Fail, want.Auth = want.Fail+1, want.Auth+1
		}
		if (err == nil) != c.refused || got.Authentication == login.Accept {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		r.wantCounters("OATH1", want)
		page, err := r.tokens.List(t.Context(), token.Filter{Serial: "OATH1"})
		if err != nil || len(page.Tokens) != 1 {
			t.Fatal(page, err)
		}
		for _, p := range page.Tokens[0].Properties {
			if p.Key == "next" {
				t.Errorf("%s: what the type wrote is there: %s", name, p.Value)
			}
		}
	}
	r.computed.fail = nil
	r.want(r.bob("pinb"+code), acceptedOf("OATH1", "computed"))
}

// A new type of token changes no file of login: none names a type.
func TestLoginNamesNoTokenType(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, word := range []string{"TypeEmail", "Email", "email", "computed", "constant", "hotp"} {
			if strings.Contains(string(text), word) {
				t.Errorf("%s has the word %q", file, word)
			}
		}
	}
}
