package smtp_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"otpost/internal/smtp"
)

// offers is an EHLO that announces these mechanisms.
func offers(mechanisms string) step { return step{"EHLO", "250-x\r\n250 AUTH " + mechanisms + "\r\n"} }

// attempts returns the mechanisms of the AUTH commands that came, in their order.
func attempts(wire string) (names []string) {
	for line := range strings.Lines(wire) {
		if rest, ok := strings.CutPrefix(line, "AUTH "); ok {
			names = append(names, strings.Fields(rest)[0])
		}
	}
	return names
}

// logIn opens a session with a memory and returns the mechanisms that were tried.
func logIn(t *testing.T, m *smtp.Memory, password string, steps ...step) ([]string, error) {
	t.Helper()
	s := play(t, nil, append([]step{greeting}, steps...)...)
	o := s.options()
	o.Username, o.Password, o.Memory = "mailuser", password, m
	session, err := smtp.Open(t.Context(), o)
	session.Close()
	return attempts(s.got()), err
}

var (
	plainOK   = step{"AUTH PLAIN", "235 ok\r\n"}
	plainBad  = step{"AUTH PLAIN", "535 5.7.8 wrong\r\n"}
	plainNone = step{"AUTH PLAIN", "504 5.5.4 unknown mechanism\r\n"}
	loginBad  = step{"AUTH LOGIN", "535 5.7.8 wrong\r\n"}
)

func loginOK(password string) []step {
	return []step{{"AUTH LOGIN", "334 VXNlcm5hbWU6\r\n"}, {b64("mailuser"), "334 UGFzc3dvcmQ6\r\n"},
		{b64(password), "235 ok\r\n"}}
}

// A mechanism that is announced and refused costs nothing but its own command.
func TestNextMechanismIsTriedOnTheSameConnection(t *testing.T) {
	t.Parallel()
	for _, code := range []int{500, 501, 502, 503, 504, 534, 535, 538, 550, 553, 454} {
		m := &smtp.Memory{}
		refused := step{"AUTH PLAIN", fmt.Sprintf("%d no\r\n", code)}
		for range 2 { // the second session knows
			steps := join(offers("PLAIN LOGIN"), refused, loginOK("hunter22"))
			if code == 0 {
				steps = join(offers("PLAIN LOGIN"), loginOK("hunter22"))
			}
			if names, err := logIn(t, m, "hunter22", steps...); err != nil {
				t.Errorf("%d: %v %v", code, names, err)
			}
			code = 0
		}
	}
}

// A server that counts wrong passwords gets one a session, but for the first session with this password.
func TestWrongPasswordIsNotTriedByEveryMechanismEachTime(t *testing.T) {
	t.Parallel()
	m := &smtp.Memory{}
	offer := offers("PLAIN LOGIN")
	for n, c := range []struct {
		password string
		steps    []step
		want     []string
		ok       bool
	}{
		{"wrong", join(offer, plainBad, loginBad), []string{"PLAIN", "LOGIN"}, false}, // neither is known
		// one a session from here on, in turn
		{"wrong", join(offer, plainBad), []string{"PLAIN"}, false},
		{"wrong", join(offer, loginBad), []string{"LOGIN"}, false},
		{"wrong", join(offer, plainBad), []string{"PLAIN"}, false},
		// another password: both again
		{"right", join(offer, plainBad, loginOK("right")), []string{"PLAIN", "LOGIN"}, true},
		{"right", join(offer, loginOK("right")), []string{"LOGIN"}, true},
		// the mechanism is known to be good: the password is wrong
		{"changed", join(offer, loginBad), []string{"LOGIN"}, false},
		{"right", join(offer, step{"AUTH LOGIN", "504 gone\r\n"}, plainOK), []string{"LOGIN", "PLAIN"}, true},
	} {
		names, err := logIn(t, m, c.password, c.steps...)
		if diff := cmp.Diff(c.want, names); diff != "" || (err == nil) != c.ok {
			t.Errorf("session %d: %v%s", n+1, err, diff)
		}
		var e *smtp.Error
		if !c.ok && (!errors.As(err, &e) || e.Reply.Code != 535 || errors.Is(err, smtp.ErrNoAuth)) {
			t.Errorf("session %d: %v, want the reply 535", n+1, err)
		}
	}
}

// A server that closes the connection after the refusal gets the other mechanism on a new one: at once, or with the
// next session where no further connection is made.
func TestConnectionThatEndsWithARefusalDoesNotHideTheOtherMechanism(t *testing.T) {
	t.Parallel()
	m := &smtp.Memory{}
	names, err := logIn(t, m, "hunter22", join(offers("PLAIN LOGIN"), plainNone, step{"AUTH LOGIN", hangUp})...)
	var e *smtp.Error
	if !errors.As(err, &e) || e.Reply.Code != 504 { // the script takes one connection
		t.Errorf("%v %v, want the reply 504", names, err)
	}
	if names, err := logIn(t, m, "hunter22", join(offers("PLAIN LOGIN"), loginOK("hunter22"))...); err != nil {
		t.Errorf("%v %v", names, err)
	}
}

func TestMechanismsAreFoundHoweverTheyAreAnnounced(t *testing.T) {
	t.Parallel()
	for wire, want := range map[string]string{
		"250-x\r\n250 AUTH=PLAIN LOGIN\r\n":                               "PLAIN",
		"250-x\r\n250-AUTH LOGIN\r\n250 AUTH=LOGIN PLAIN\r\n":             "PLAIN",
		"250-x\r\n250-AUTH=LOGIN PLAIN\r\n250 AUTH CRAM-MD5\r\n":          "PLAIN",
		"250-x\r\n250-AUTH\r\n250 AUTH=PLAIN\r\n":                         "PLAIN",
		"250-x\r\n250-AUTH PLAIN\r\n250-AUTH PLAIN\r\n250 AUTH=PLAIN\r\n": "PLAIN",
		"250-x\r\n250 auth plain login\r\n":                               "PLAIN",
		"250-x\r\n250-  AUTH\tGSSAPI\tPLAIN  \r\n250 HELP\r\n":            "PLAIN",
		"250-x\r\n250 AUTH   NTLM  ,PLAIN\r\n":                            "PLAIN",
		"250-x\n250 AUTH PLAIN\n":                                         "PLAIN",
		"250-x\r\n250 XAUTH PLAIN\r\n":                                    "",
		"250-x\r\n250 XAUTH=PLAIN\r\n":                                    "",
		"250-x\r\n250 AUTH\r\n":                                           "",
		"250-x\r\n250 AUTH GSSAPI XPLAIN PLAIN-CLIENTTOKEN\r\n":           "",
		"250 AUTH PLAIN\r\n":                                              "", // the first line is the server's name
	} {
		steps := []step{{"EHLO", wire}}
		if want != "" {
			steps = append(steps, plainOK)
		}
		names, err := logIn(t, nil, "hunter22", steps...)
		if strings.Join(names, " ") != want || errors.Is(err, smtp.ErrNoAuth) != (want == "") {
			t.Errorf("%q: %v, %v", wire, names, err)
		}
	}
}

// What servers send as challenges.
func TestChallengesNeedNotBeRight(t *testing.T) {
	t.Parallel()
	for name, steps := range map[string][]step{
		"PLAIN asks for what it has": {offers("PLAIN"), {"AUTH PLAIN", "334 \r\n"},
			{b64("\x00mailuser\x00hunter22"), "235 ok\r\n"}},
		"LOGIN in clear": {offers("LOGIN"), {"AUTH LOGIN\r\n", "334 Username:\r\n"},
			{b64("mailuser"), "334 Password:\r\n"}, {b64("hunter22"), "235 ok\r\n"}},
		"LOGIN without text": {offers("LOGIN"), {"AUTH LOGIN", "334\r\n"},
			{b64("mailuser"), "334\r\n"}, {b64("hunter22"), "235 ok\r\n"}},
	} {
		if names, err := logIn(t, nil, "hunter22", steps...); err != nil {
			t.Errorf("%s: %v %v", name, names, err)
		}
	}
}

// The lines of a reply as servers write them.
func TestRepliesAreReadAsLiberallyAsByPython(t *testing.T) {
	t.Parallel()
	for _, wire := range []string{
		"220 x\n", "220\r\n", "220\n", "220\tx\r\n", "220x\r\n", "220-a\n220 b\r\n", "220-\r\n220 \r\n",
		"220-a\r\n220\r\n",
		"220 " + strings.Repeat("x", 8000) + "\r\n",
		"220 \x00\xff\r\n", "220-a\r\n220-b\n220 c\r\r\n",
	} {
		s := play(t, nil, step{"", wire}, ehlo)
		open(t, s.options())
	}
	for _, wire := range []string{"220-a\r\n554 no\r\n", "554-a\r\n220 yes\r\n", "\x00220 x\r\n", "2 0 x\r\n",
		"\r\n220 x\r\n"} {
		e := failure(t, play(t, nil, step{"", wire}, ehlo).options())
		if e.Phase != smtp.PhaseGreeting || e.Reply.Code != 0 {
			t.Errorf("%q: %v", wire, e)
		}
	}
}

// A memory may not grow with the names that test mails carry.
func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	m := &smtp.Memory{}
	for n := range 2000 {
		m.Note(fmt.Sprintf("s%d.example", n))
	}
	if n := m.Len(); n == 0 || n > 256 {
		t.Errorf("%d servers are remembered, want 256 at most", n)
	}
}
