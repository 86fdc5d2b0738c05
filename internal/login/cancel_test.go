package login_test

import (
	"testing"

	"otpost/internal/delivery"
	"otpost/internal/login"
	"otpost/internal/system"
)

// cancelOnly cancels the one delivery that is there, as an administrator of alice's realm.
func (r *rig) cancelOnly() {
	r.t.Helper()
	page, err := r.deliveries.List(r.t.Context(), delivery.Filter{Realms: []string{"realm1"}})
	if err != nil || len(page.Deliveries) != 1 {
		r.t.Fatalf("%d deliveries of realm1, %v", len(page.Deliveries), err)
	}
	if err := r.deliveries.Cancel(r.t.Context(), page.Deliveries[0].ID, []string{"realm1"}); err != nil {
		r.t.Fatal(err)
	}
}

// No message is dropped whose code is still accepted (docs/states.md).
func TestCancelledMailEndsItsChallenge(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.set(system.EmailIdentifier, "queued")
	r.pass(alicePIN)
	r.cancelOnly()
	if got := r.states(); got[delivery.Dropped] != 1 || r.open(serial) != 0 {
		t.Errorf("%v, %d challenges are open", got, r.open(serial))
	}
}

// A copy may have arrived: then its code is taken.
func TestCancelledMailThatMayHaveArrivedKeepsItsCodeUsable(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.set(system.EmailIdentifier, "queued")
	r.post.lose = true
	asked := r.pass(alicePIN)
	r.handle()
	r.cancelOnly()
	if got := r.states(); got[delivery.Unknown] != 1 {
		t.Fatalf("%v", got)
	}
	if got := r.answer(asked.TransactionID, r.code()); got.Authentication != login.Accept {
		t.Errorf("%+v", got)
	}
}
