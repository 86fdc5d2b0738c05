package mail

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// A resolver that does not answer at the first mail must not decide the name of all later ones.
func TestHostNameIsLookedForAgainAfterAFailure(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		answer, asked := "", 0
		name := newHostName(func(context.Context) string {
			asked++
			return answer
		})
		want := func(name, want string, asks int) {
			t.Helper()
			if name != want || asked != asks {
				t.Errorf("%q after %d searches, want %q after %d", name, asked, want, asks)
			}
		}
		want(name(t.Context()), "", 1)
		want(name(t.Context()), "", 1) // not for each mail
		answer = "otp.example.com"
		time.Sleep(hostNameMissed)
		want(name(t.Context()), "otp.example.com", 2)
		time.Sleep(hostNameKept - time.Second)
		want(name(t.Context()), "otp.example.com", 2)
		answer = ""
		time.Sleep(time.Second)
		want(name(t.Context()), "otp.example.com", 3) // the former name is better than none
		answer = "otp2.example.com"
		time.Sleep(hostNameMissed)
		want(name(t.Context()), "otp2.example.com", 4)
	})
}
