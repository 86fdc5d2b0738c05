package login_test

import (
	"strings"
	"testing"
	"time"

	"otpost/internal/login"
	"otpost/internal/store"
	"otpost/internal/system"
	"otpost/internal/token"
)

// A challenge that fails before there is a message leaves one line that says whose it is and why.
func TestChallengeWithoutAMessageIsLoggedWithItsReason(t *testing.T) {
	t.Parallel()
	pin := token.Text(alicePIN)
	for name, c := range map[string]struct {
		prepare func(r *rig)
		reason  string
	}{
		"no server of that name": {func(r *rig) {
			r.set(system.EmailIdentifier, "nowhere")
		}, `no such SMTP server: \"nowhere\"`},
		"no server is chosen": {func(r *rig) { r.set(system.EmailIdentifier, "") }, "no SMTP server is chosen"},
		"no address": {func(r *rig) {
			r.sql(`UPDATE token SET email_sealed = NULL WHERE serial = $1`, serial)
		}, "the token has no address"},
		"an address sealed with another key": {func(r *rig) {
			r.sql(`UPDATE token SET email_sealed = x'00' WHERE serial = $1`, serial)
		}, "does not open with this key file"},
		"the user has no address": {func(r *rig) {
			r.sql(`UPDATE token SET dynamic_email = 1 WHERE serial = $1`, serial)
			r.address("")
		}, "the user store has none"},
		"the user's address is none": {func(r *rig) {
			r.sql(`UPDATE token SET dynamic_email = 1 WHERE serial = $1`, serial)
			r.address("one@..;two@..")
		}, "the user's address is no e-mail address"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			c.prepare(r)
			for range 3 {
				got := r.check(login.Request{User: "alice", Pass: pin})
				if got.Authentication != login.Reject || got.Message != notSent {
					t.Fatalf("%+v", got)
				}
			}
			log := r.log.String()
			if strings.Count(log, "level=WARN") != 1 || !strings.Contains(log, c.reason) ||
				!strings.Contains(log, "user=alice") ||
				!strings.Contains(log, "serial="+serial) || strings.Contains(log, "@") {
				t.Errorf("log:\n%s", log)
			}
			r.clock.Advance(time.Minute)
			r.check(login.Request{User: "alice", Pass: pin})
			if n := strings.Count(r.log.String(), "level=WARN"); n != 2 {
				t.Errorf("%d lines after a minute, want 2", n)
			}
		})
	}
}

func (r *rig) sql(query string, args ...any) {
	r.t.Helper()
	if err := r.db.Write(r.t.Context(), func(tx *store.Tx) error { tx.Put(query, args...); return nil }); err != nil {
		r.t.Fatal(err)
	}
}

// address gives alice another address in the user store.
func (r *rig) address(to string) {
	u := r.people.by["alice"]
	u.Email = to
	r.people.by["alice"] = u
}
