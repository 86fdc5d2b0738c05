package login_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"otpost/internal/login"
	"otpost/internal/system"
	"otpost/internal/token"
)

// work is what a request costs in the database.
type work struct{ Snapshots, Light, Durable int64 }

// wantWork compares what a request costs.
func (r *rig) wantWork(name string, want work, request func()) {
	r.t.Helper()
	r.work.Take()
	request()
	var got work
	got.Snapshots, got.Light, got.Durable = r.work.Take()
	if diff := cmp.Diff(want, got); diff != "" {
		r.t.Errorf("%s: snapshots and commits (-want +got):\n%s", name, diff)
	}
}

// A login reads one snapshot, pays in a light commit and writes its decision in a second one, which is durable where a
// client may rely on it.
func TestLoginReadsOneSnapshotAndCommitsTwice(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.set(system.EmailIdentifier, "queued")
	pin, bob := token.Text("pinb"), r.people.by["bob"]
	e := token.Enrolment{Type: token.TypeEmail, Serial: "EMDYN", DynamicEmail: true, PIN: &pin, Owner: &bob}
	if _, err := r.tokens.Init(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	changed := work{Snapshots: 2, Light: 1, Durable: 1}
	r.wantWork("the first after a change of a setting", changed, func() { r.pass(alicePIN) })
	durable := work{Snapshots: 1, Light: 1, Durable: 1}
	var asked login.Result
	r.wantWork("PIN", durable, func() { asked = r.pass(alicePIN) })
	r.handle()
	r.wantWork("answer", durable, func() { r.answer(asked.TransactionID, r.code()) })
	r.wantWork("PIN, address of the user", durable, func() { r.check(login.Request{User: "bob", Pass: pin}) })
	r.wantWork("PIN, by serial", durable, func() { r.check(login.Request{Serial: "EMDYN", Pass: pin}) })
	r.handle()
	r.wantWork("PIN and code", durable, func() { r.check(login.Request{User: "bob", Pass: pin + r.code()}) })
}
