package login_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"otpost/internal/login"
	"otpost/internal/system"
	"otpost/internal/token"
)

// BenchmarkChallenge measures logins that answer a known PIN with a challenge, each of 256 callers
// with a token of his own.
func BenchmarkChallenge(b *testing.B) {
	r := newRig(b)
	r.set(system.EmailIdentifier, "queued")
	const callers = 256
	for i := range callers {
		r.enrol(fmt.Sprintf("EM%d", i), "", alicePIN)
		r.check(login.Request{Serial: fmt.Sprintf("EM%d", i), Pass: alicePIN}) // its PIN is known from now on
	}
	var next atomic.Int64
	b.SetParallelism(callers / 2)
	b.ResetTimer()
	b.RunParallel(func(p *testing.PB) {
		q := login.Request{Serial: fmt.Sprintf("EM%d", next.Add(1)%callers), Pass: token.Text(alicePIN)}
		for p.Next() {
			if _, err := r.Check(context.Background(), q); err != nil {
				b.Error(err)
			}
		}
	})
}
