package login_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"otpost/internal/login"
	"otpost/internal/store"
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
	light := work{Snapshots: 1, Light: 2}
	r.wantWork("wrong PIN", light, func() { r.pass("wrong") })
	r.wantWork("PIN and wrong code", light, func() { r.check(login.Request{User: "bob", Pass: pin + wrong(r.code())}) })
	r.wantWork("PIN and code", durable, func() { r.check(login.Request{User: "bob", Pass: pin + r.code()}) })
}

// The audit row stands in the transaction of the decision where that settles the answer. What is sent inside the
// request, and a refusal that no fail counter counts, is left to the caller.
func TestDecisionIsRecordedWithItsTransaction(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, route string
		pass        token.Text
		want        bool
	}{
		{"a queued message", "queued", alicePIN, true},
		{"a wrong PIN", "queued", "wrong", true},
		{"a message in the request", "inline", alicePIN, false},
		{"a message in the request that is not sent", "dead", alicePIN, false},
		{"no way to send it", "nowhere", alicePIN, false},
	} {
		r := newRig(t)
		r.set(system.EmailIdentifier, c.route)
		got := r.check(login.Request{User: "alice", Pass: c.pass, Client: "192.0.2.7", Action: "POST /validate/check"})
		var rows int
		err := r.db.Read(t.Context(), func(reader store.Reader) error {
			return reader.Get([]any{&rows}, `SELECT count(*) FROM audit WHERE authentication = $1 AND success = $2
				AND login = 'alice' AND realm = 'realm1' AND resolver = 'pw' AND serial = $3 AND transaction_id = $4
				AND client = '192.0.2.7' AND action = 'POST /validate/check' AND info = $5`,
				string(got.Authentication), store.Flag(got.Authentication != login.Reject), serial, got.TransactionID, got.Message)
		})
		if err != nil || got.Recorded != c.want || rows == 1 != c.want {
			t.Errorf("%s: recorded %t, %d rows, %v", c.name, got.Recorded, rows, err)
		}
	}
}
