package httpapi

import (
	"context"
	"net/url"
	"testing"

	"otpost/internal/login"
	"otpost/internal/queue"
)

// outside stands for a queue outside the database.
type outside struct{ queue.Driver }

func (outside) Enqueue(context.Context, ...queue.Job) error { return nil }

// A login until its answer, the audit row included: one snapshot and two commits, of which that of a challenge or an
// acceptance is durable.
func TestLoginUntilItsAnswerReadsOneSnapshotAndCommitsTwice(t *testing.T) {
	t.Parallel()
	r := newRigWith(t, func(d *Deps, _ *Options) {
		d.Delivery.Driver = outside{}
		d.Login = login.New(login.Options{DB: d.Delivery.DB, Users: d.Users, Tokens: d.Tokens, Deliveries: d.Delivery})
	})
	for _, call := range []struct {
		path string
		body object
	}{
		{"/resolver/pw", object{"type": "passwdresolver"}},
		{"/realm/realm1", object{"resolvers": "pw"}},
		{"/smtpserver/fast", object{"server": "127.0.0.1", "sender": "pi@example.com", "enqueue_job": true}},
		{"/system/setConfig", object{"email.identifier": "fast"}},
		{"/token/init", object{"type": "email", "user": "alice", "realm": "realm1", "dynamic_email": true, "pin": "1234"}},
		{"/validate/check", object{"user": "alice", "pass": "1234"}}, // reads what the others have changed
	} {
		if g := r.do("POST", call.path, r.admin, call.body); g.status != 200 {
			t.Fatal(call.path, g.raw)
		}
	}
	type cost struct{ snapshots, light, durable int64 }
	for _, c := range []struct {
		name, pass, authentication string
		want                       cost
	}{
		{"PIN", "1234", "CHALLENGE", cost{1, 1, 1}},
		{"wrong PIN", "4321", "REJECT", cost{1, 2, 0}},
		{"PIN and a wrong code", "1234000000", "REJECT", cost{1, 2, 0}},
	} {
		const row = `action = 'POST /validate/check' AND authentication = $1 AND login = 'alice' AND serial <> ''`
		rows := r.count(row, c.authentication)
		r.work.Take()
		g := r.do("POST", "/validate/check", "", url.Values{"user": {"alice"}, "pass": {c.pass}})
		var got cost
		got.snapshots, got.light, got.durable = r.work.Take()
		if g.result()["authentication"] != c.authentication || got != c.want {
			t.Errorf("%s: %s, snapshots and commits %+v, want %+v", c.name, g.raw, got, c.want)
		}
		if n := r.count(row, c.authentication); n != rows+1 {
			t.Errorf("%s: %d audit rows, want 1", c.name, n-rows)
		}
	}
}
