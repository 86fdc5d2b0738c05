package httpapi

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"otpost/internal/challenge"
	"otpost/internal/delivery"
	"otpost/internal/login"
	"otpost/internal/queue/queuetest"
	"otpost/internal/store"
)

// What must not be in an answer.
const (
	secretCode    = "482913"
	secretAddress = "alice.secret@example.com"
)

// prepare is service.Prepare with the routes of now.
func (r *rig) prepare(service *delivery.Service, id uuid.UUID, m delivery.Message) (delivery.Prepared, error) {
	r.t.Helper()
	var routes delivery.Routes
	err := r.db.Read(r.t.Context(), func(reader store.Reader) (err error) {
		routes, err = service.Routes(reader)
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return service.Prepare(id, m, routes)
}

// putDelivery makes a delivery to secretAddress with a challenge that waits for it.
func (r *rig) putDelivery(service *delivery.Service, transaction string) uuid.UUID {
	r.t.Helper()
	ctx := r.t.Context()
	if g := r.do("POST", "/smtpserver/fast", r.admin, object{"server": "127.0.0.1", "sender": "pi@example.com", "enqueue_job": true}); g.status != http.StatusOK {
		r.t.Fatal(g.raw)
	}
	id, until := uuid.Must(uuid.NewV7()), r.db.Now().Add(2*time.Minute)
	p, err := r.prepare(service, id, delivery.Message{Route: "fast", Recipient: secretAddress, Subject: "Your OTP", Body: secretCode, Code: secretCode,
		Serial: "PIEM1", Realm: "realm1", NotAfter: until})
	if err != nil {
		r.t.Fatal(err)
	}
	c := challenge.New(r.keys, challenge.Code{TransactionID: transaction, Serial: "PIEM1", DeliveryID: id, Text: secretCode, Created: r.db.Now(), ValidUntil: until})
	err = r.db.Write(ctx, func(tx *store.Tx) error {
		challenge.Put(tx, c)
		service.Put(tx, p, delivery.Waiter{TransactionID: transaction, Serial: "PIEM1", ChallengeID: c.ID})
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return id
}

// noSecrets fails when an answer holds the code, its address or a part of it.
func (r *rig) noSecrets(g got) {
	r.t.Helper()
	for _, one := range []string{secretCode, secretAddress, "alice.secret"} {
		if strings.Contains(g.raw, one) {
			r.t.Errorf("the answer holds %d bytes that it must not", len(one))
		}
	}
}

const (
	firstTransaction  = "17228345298848196792"
	secondTransaction = "17228345298848196793"
)

func TestDeliveriesAreListedByPages(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	if diff := cmp.Diff(map[string]any{"deliveries": []any{}, "next": nil}, r.do("GET", "/delivery/", r.admin, nil).value()); diff != "" {
		t.Error(diff)
	}
	older, newer := r.putDelivery(r.delivery, firstTransaction), r.putDelivery(r.delivery, secondTransaction)
	page := func(query string) (list []any, next any) {
		t.Helper()
		g := r.do("GET", "/delivery/"+query, r.admin, nil)
		r.noSecrets(g)
		value, ok := g.value().(map[string]any)
		if !ok {
			t.Fatal(g.raw)
		}
		list, _ = value["deliveries"].([]any)
		return list, value["next"]
	}
	first, next := page("?pagesize=1")
	if len(first) != 1 || next != newer.String() {
		t.Fatalf("first page: %v, %v", first, next)
	}
	second, end := page("?pagesize=1&before=" + newer.String())
	if len(second) != 1 || end != nil {
		t.Fatalf("second page: %v, %v", second, end)
	}
	got, _ := second[0].(map[string]any)
	for _, name := range []string{"created", "updated", "not_after", "message_id", "recipient"} {
		if text, _ := got[name].(string); text == "" {
			t.Errorf("%s = %v", name, got[name])
		}
		delete(got, name)
	}
	want := map[string]any{"id": older.String(), "channel": "mail", "state": "queued", "reason": "", "via": "inline", "server": "fast", "serial": "PIEM1",
		"realm": "realm1", "next_try": nil, "attempts": 0.0, "transactions": []any{firstTransaction}, "last": nil}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for query, n := range map[string]int{"?state=queued,deferred": 2, "?state=failed": 0, "?server=fast": 2, "?server=x": 0, "?serial=PIEM1": 2, "?serial=x": 0,
		"?transaction_id=" + firstTransaction: 1, "?since=2000-01-01T00:00:00Z": 2, "?until=2000-01-01T00:00:00Z": 0, "?state=&since=&before=&pagesize=": 2} {
		if list, _ := page(query); len(list) != n {
			t.Errorf("%s: %d, want %d", query, len(list), n)
		}
	}
}

func TestDeliveryFiltersAreRefusedByName(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for query, name := range map[string]string{
		"?state=sent": "state", "?state=queued,%20Failed": "state", "?transaction_id=12": "transaction_id", "?transaction_id=1722834529884819679x": "transaction_id",
		"?since=yesterday": "since", "?until=2026-11-24": "until", "?since=2026-11-24T12:00:00Z&until=2026-11-24T12:00:00Z": "until",
		"?before=1": "before", "?before=%7B0192f6e0-0000-7000-8000-000000000000%7D": "before", "?before=00000000-0000-0000-0000-000000000000": "before",
		"?pagesize=0": "pagesize", "?pagesize=201": "pagesize", "?pagesize=x": "pagesize", "1": "id", "x%00": "id", "0192f6e0000070008000000000000000": "id",
		"0192f6e0-0000-7000-8000-000000000000?recipient=all": "recipient",
	} {
		r.want(r.do("GET", "/delivery/"+query, r.admin, nil), http.StatusBadRequest, 905, "ERR905: Parameter "+name+": ")
	}
	r.want(r.do("GET", "/delivery/0192f6e0-0000-7000-8000-000000000000", r.admin, nil), http.StatusNotFound, 601, "The requested delivery could not be found.")
}

func TestOneDeliveryIsShownAndItsRecipientByRightAlone(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	id := r.putDelivery(r.delivery, firstTransaction)
	r.delivery.Dispatch(t.Context(), delivery.Ticket{ID: r.putDelivery(r.delivery, secondTransaction), Via: delivery.ViaInline})
	g := r.do("GET", "/delivery/"+id.String(), r.admin, nil)
	r.noSecrets(g)
	value, _ := g.value().(map[string]any)
	if diff := cmp.Diff([]any{map[string]any{"transaction_id": firstTransaction, "serial": "PIEM1", "ended": ""}}, value["waiters"]); diff != "" {
		t.Error(diff)
	}
	before := r.count(`1 = 1`)
	if n := r.count(`action LIKE 'GET /delivery/%'`); n != 0 {
		t.Errorf("%d looks are in the journal", n)
	}
	full := r.do("GET", "/delivery/"+id.String()+"?recipient=full", r.admin, nil)
	if value, _ := full.value().(map[string]any); value["recipient"] != secretAddress || strings.Contains(full.raw, secretCode) {
		t.Error("the recipient is not shown, or too much is")
	}
	if n := r.count(`info = 'recipient shown' AND administrator = 'admin' AND serial = 'PIEM1' AND delivery_id = $1`, id[:]); n != 1 || r.count(`1 = 1`) != before+1 {
		t.Errorf("%d rows in the journal", n)
	}
	if n := r.count(`info LIKE '%alice%'`); n != 0 {
		t.Error("the journal holds the address")
	}
	failed := r.do("GET", "/delivery/?state=failed", r.admin, nil)
	page, _ := failed.value().(map[string]any)
	list, _ := page["deliveries"].([]any)
	if len(list) != 1 {
		t.Fatalf("failed: %s", failed.raw)
	}
	one, _ := list[0].(map[string]any)
	last, _ := one["last"].(map[string]any)
	if one["attempts"] != 1.0 || last["number"] != 1.0 || last["result"] != "unreachable" || last["phases"] != nil {
		t.Errorf("last: %v", last)
	}
	erased := r.do("GET", "/delivery/"+one["id"].(string)+"?recipient=full", r.admin, nil) //nolint:forcetypeassert // a test
	if erased.status != http.StatusOK {
		t.Error(erased.raw)
	}
	r.noSecrets(erased)
}

func TestUsersSeeNoDeliveriesAndNoQueue(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.makeRealm("pw", "realm1")
	alice := r.signIn("alice", "realm1")
	id := r.putDelivery(r.delivery, firstTransaction)
	for _, path := range []string{"/delivery/", "/delivery/statistics", "/delivery/" + id.String(), "/delivery/" + id.String() + "?recipient=full", "/queue/"} {
		g := r.do("GET", path, alice, nil)
		r.want(g, http.StatusUnauthorized, 4306, "")
		r.noSecrets(g)
		r.want(r.do("GET", path, "", nil), http.StatusUnauthorized, 4033, "")
	}
	if n := r.count(`login = 'alice' AND success = 0 AND (action LIKE 'GET /delivery/%' OR action LIKE 'GET /queue/%')`); n != 5 {
		t.Errorf("%d of 5 refusals are in the journal", n)
	}
}

// Who watches a list takes an answer that is a second old: one look serves all of them. Any
// other caller sees what is there now.
func TestWatchersOfAListShareALook(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	service := delivery.New(delivery.Options{DB: r.db, Keys: r.keys, Channels: delivery.Channels{delivery.Mail: delivery.NewMail(r.servers, unreachable())}})
	r.putDelivery(service, "00000000000000000001")
	ask := func(control string) int {
		q := httptest.NewRequestWithContext(t.Context(), "GET", "/delivery/", nil)
		q.Header.Set("Authorization", r.admin)
		q.Header.Set("Cache-Control", control)
		out := httptest.NewRecorder()
		r.server.Config.Handler.ServeHTTP(out, q)
		return strings.Count(out.Body.String(), `"message_id"`)
	}
	if n := ask("max-age=1"); n != 1 {
		t.Fatalf("%d deliveries, want 1", n)
	}
	r.putDelivery(service, "00000000000000000002")
	if watched, asked := ask("max-age=1"), ask(""); watched != 1 || asked != 2 {
		t.Errorf("%d deliveries for who watches, %d for who asks; want 1 and 2", watched, asked)
	}
}

func TestStatisticsHaveTheirShape(t *testing.T) {
	t.Parallel()
	var later time.Duration
	r := newRigWith(t, func(_ *Deps, o *Options) { o.Now = func() time.Time { return time.Now().Add(later) } })
	empty, _ := r.do("GET", "/delivery/statistics", r.admin, nil).value().(map[string]any)
	minutes, _ := empty["minutes"].([]any)
	delete(empty, "minutes")
	want := map[string]any{"seconds": nil, "servers": map[string]any{}, "failures": []any{}, "open": map[string]any{"waiting": 0.0, "oldest": nil}}
	if diff := cmp.Diff(want, empty); diff != "" || len(minutes) != 60 {
		t.Errorf("%d minutes, %s", len(minutes), diff)
	}
	r.putDelivery(r.delivery, firstTransaction)
	r.delivery.Dispatch(t.Context(), delivery.Ticket{ID: r.putDelivery(r.delivery, secondTransaction), Via: delivery.ViaInline})
	later = sharedFor
	g := r.do("GET", "/delivery/statistics", r.admin, nil)
	r.noSecrets(g)
	value, _ := g.value().(map[string]any)
	servers, _ := value["servers"].(map[string]any)
	fast, _ := servers["fast"].(map[string]any)
	last, _ := fast["last"].(map[string]any)
	if fast["failed"] != 1.0 || fast["accepted"] != 0.0 || last["state"] != "failed" || last["result"] != "unreachable" || last["at"] == "" {
		t.Errorf("servers: %v", servers)
	}
	failures, _ := value["failures"].([]any)
	failure, _ := failures[0].(map[string]any)
	if len(failures) != 1 || failure["reason"] != "inline" || failure["server"] != "fast" || failure["count"] != 1.0 ||
		failure["phase"] != last["phase"] ||
		failure["text"] != last["text"] || failure["diagnosis"] != last["diagnosis"] {
		t.Errorf("failures: %v, want those of %v", failures, last)
	}
	if open, _ := value["open"].(map[string]any); open["waiting"] != 1.0 || open["oldest"] == nil {
		t.Errorf("open: %v", open)
	}
	if n := r.count(`action LIKE 'GET /delivery/%'`); n != 0 {
		t.Errorf("%d looks are in the journal", n)
	}
}

func TestWaitingDeliveryIsRetriedAndCancelled(t *testing.T) {
	t.Parallel()
	var service *delivery.Service // with a queue, and outcomes that reach the challenges
	r := newRigWith(t, func(d *Deps, _ *Options) {
		o := d.Delivery.Options
		o.Driver = queuetest.NewMemory(o.DB.Now)
		o.OnOutcome = func(tx *store.Tx, outcome delivery.Outcome) error {
			return login.FollowOutcome(tx, o.DB.Now(), outcome)
		}
		service = delivery.New(o)
		d.Delivery = service
	})
	id := r.putDelivery(service, firstTransaction)
	path := "/delivery/" + id.String()
	retried := r.do("POST", path+"/retry", r.admin, nil)
	if value, _ := retried.value().(map[string]any); retried.status != http.StatusOK || value["id"] != id.String() || value["state"] != "queued" {
		t.Fatal(retried.raw)
	}
	cancelled := r.do("POST", path+"/cancel", r.admin, nil)
	value, _ := cancelled.value().(map[string]any)
	if cancelled.status != http.StatusOK || value["state"] != "dropped" || value["reason"] != "cancelled" {
		t.Fatal(cancelled.raw)
	}
	if diff := cmp.Diff([]any{map[string]any{"transaction_id": firstTransaction, "serial": "PIEM1", "ended": "cancelled"}}, value["waiters"]); diff != "" {
		t.Error(diff)
	}
	open, err := challenge.Unanswered(t.Context(), r.db, firstTransaction)
	if err != nil || len(open) != 0 {
		t.Errorf("its challenge is still open: %d, %v", len(open), err)
	}
	for _, act := range []string{"/retry", "/cancel"} {
		r.want(r.do("POST", path+act, r.admin, nil), http.StatusConflict, 4009, "The delivery has ended")
		r.want(r.do("POST", "/delivery/1"+act, r.admin, nil), http.StatusBadRequest, 905, "ERR905: Parameter id: ")
		r.want(r.do("POST", "/delivery/0192f6e0-0000-7000-8000-000000000000"+act, r.admin, nil), http.StatusNotFound, 601, "")
	}
	for info, n := range map[string]int{"queued -> queued": 1, "queued -> dropped": 1, "The delivery has ended%": 2} {
		if got := r.count(`action LIKE 'POST /delivery/%' AND administrator = 'admin' AND delivery_id = $1 AND info LIKE $2`, id[:], info); got != n {
			t.Errorf("%s: %d rows in the journal, want %d", info, got, n)
		}
	}
	for _, g := range []got{retried, cancelled} {
		r.noSecrets(g)
	}
}

func TestUsersNeitherRetryNorCancel(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.makeRealm("pw", "realm1")
	alice := r.signIn("alice", "realm1")
	id := r.putDelivery(r.delivery, firstTransaction)
	for _, act := range []string{"/retry", "/cancel"} {
		r.want(r.do("POST", "/delivery/"+id.String()+act, alice, nil), http.StatusUnauthorized, 4306, "")
		r.want(r.do("POST", "/delivery/"+id.String()+act, "", nil), http.StatusUnauthorized, 4033, "")
	}
	r.want(r.do("POST", "/delivery/"+id.String()+"/retry", r.admin, nil), http.StatusConflict, 4009, "inside its request")
	if d, err := r.delivery.Record(t.Context(), id, nil); err != nil || d.State != delivery.Queued {
		t.Errorf("%s, %v", d.State, err)
	}
}
