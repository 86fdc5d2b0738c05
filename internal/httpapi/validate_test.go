package httpapi

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"otpost/internal/challenge"
	"otpost/internal/delivery"
	"otpost/internal/login"
	"otpost/internal/mail"
	"otpost/internal/store"
)

// results are decisions of each kind, as login gives them.
func results() map[string]login.Result {
	one := login.Prompted{Serial: "PIEM00007CCB", Type: "email", Message: "Enter the OTP from the Email", TransactionID: "17228345298848196792"}
	other := one
	other.Serial = "EMDYN"
	return map[string]login.Result{
		"challenge": {Authentication: login.Challenge, Lists: true, Message: one.Message, Messages: []string{one.Message},
			Challenges: []login.Prompted{one}, TransactionID: one.TransactionID},
		"two challenges": {Authentication: login.Challenge, Lists: true, Message: one.Message, Messages: []string{one.Message, one.Message},
			Challenges: []login.Prompted{one, other}, TransactionID: one.TransactionID},
		"accept":        {Authentication: login.Accept, Message: "matching 1 tokens", Serial: "S", Type: "email", OTPLen: 6},
		"accept answer": {Authentication: login.Accept, Message: "Found matching challenge", Serial: "S"},
		"otponly":       {Authentication: login.Accept, HideDetail: true},
		"reject":        {Authentication: login.Reject, Message: "wrong otp pin"},
		"wrong answer":  {Authentication: login.Reject, Message: "Response did not match the challenge.", Serial: "S", Type: "email"},
		"not sent": {Authentication: login.Reject, Lists: true, Message: "The PIN was correct, but the EMail could not be sent!",
			Messages: []string{"The PIN was correct, but the EMail could not be sent!"}},
		"no token":    {Authentication: login.Reject, Lists: true},
		"only a wish": {Authentication: login.Reject},
	}
}

// What docs/compatibility.md says of clients, on every kind of decision.
func TestAnswersAreWhatClientsCanRead(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	form := url.Values{"user": {"alice"}, "pass": {"x"}}
	for name, result := range results() {
		r.login.result = result
		for _, path := range []string{"/validate/check", "/validate/triggerchallenge"} {
			g := r.do("POST", path, r.admin, form)
			if g.status != http.StatusOK {
				t.Fatalf("%s: %d %s", name, g.status, g.raw)
			}
			checkForClients(t, g)
			_, isBool := g.value().(bool)
			if (path == "/validate/check") != isBool {
				t.Errorf("%s %s: value = %v", name, path, g.value())
			}
		}
	}
}

// checkForClients fails when an answer would break one of the clients of docs/compatibility.md.
func checkForClients(t *testing.T, g got) {
	t.Helper()
	if g.json == nil {
		t.Fatalf("no JSON object: %s", g.raw)
	}
	for _, b := range []byte(g.raw) {
		if b >= 0x7f {
			t.Fatalf("not ASCII: %s", g.raw)
		}
	}
	if noNullBut(g.json["result"], "") != "" {
		t.Errorf("null at result%s: %s", noNullBut(g.json["result"], ""), g.raw)
	}
	if detail, ok := g.json["detail"]; ok && detail != nil {
		if _, isObject := detail.(map[string]any); !isObject {
			t.Errorf("detail is neither object nor null: %s", g.raw)
		}
		if at := noNullBut(detail, ""); at != "" {
			t.Errorf("null at detail%s: %s", at, g.raw)
		}
	}
	authentication, _ := g.result()["authentication"].(string)
	_, hasError := g.result()["error"]
	if status, ok := g.result()["status"].(bool); !ok || status == hasError {
		t.Errorf("status and error: %s", g.raw)
	}
	challenges, _ := g.detail()["multi_challenge"].([]any)
	transaction, hasTransaction := g.detail()["transaction_id"].(string)
	if authentication != "CHALLENGE" {
		if hasTransaction || len(challenges) > 0 {
			t.Errorf("%s with a transaction or challenges: %s", authentication, g.raw)
		}
		return
	}
	if g.value() == true || !challenge.WellFormed(transaction) || len(challenges) == 0 || g.detail()["preferred_client_mode"] != "interactive" {
		t.Errorf("challenge: %s", g.raw)
	}
	if message, ok := g.detail()["message"].(string); !ok || message == "" {
		t.Errorf("message: %s", g.raw)
	}
	for _, c := range challenges {
		one, _ := c.(map[string]any)
		for _, key := range []string{"serial", "message", "client_mode", "transaction_id", "type"} {
			if text, ok := one[key].(string); !ok || text == "" {
				t.Errorf("multi_challenge without %s: %s", key, g.raw)
			}
		}
		if one["transaction_id"] != transaction || one["attributes"] != nil {
			t.Errorf("another transaction, or attributes: %s", g.raw)
		}
	}
}

// noNullBut returns where a value holds a null, empty when nowhere.
func noNullBut(v any, at string) string {
	switch v := v.(type) {
	case nil:
		return at + " "
	case map[string]any:
		for key, member := range v {
			if found := noNullBut(member, at+"."+key); found != "" {
				return found
			}
		}
	case []any:
		for _, element := range v {
			if found := noNullBut(element, at+"[]"); found != "" {
				return found
			}
		}
	}
	return ""
}

// The details of testdata/rest/validate.json, without what changes from run to run and without attributes.
func TestDetailIsTheRecordedOne(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for name, want := range map[string]string{
		"challenge": `{"client_mode":"interactive","message":"Enter the OTP from the Email","messages":["Enter the OTP from the Email"],
			"multi_challenge":[{"client_mode":"interactive","message":"Enter the OTP from the Email","serial":"PIEM00007CCB",
			"transaction_id":"17228345298848196792","type":"email"}],"preferred_client_mode":"interactive","serial":"PIEM00007CCB",
			"transaction_id":"17228345298848196792","transaction_ids":["17228345298848196792"],"type":"email"}`,
		"accept":        `{"message":"matching 1 tokens","otplen":6,"serial":"S","type":"email"}`,
		"accept answer": `{"message":"Found matching challenge","serial":"S"}`,
		"reject":        `{"message":"wrong otp pin"}`,
		"wrong answer":  `{"message":"Response did not match the challenge.","serial":"S","type":"email"}`,
		"not sent": `{"message":"The PIN was correct, but the EMail could not be sent!",
			"messages":["The PIN was correct, but the EMail could not be sent!"],"multi_challenge":[],"transaction_ids":[]}`,
		"no token": `{"messages":[],"multi_challenge":[],"transaction_ids":[]}`,
	} {
		r.login.result = results()[name]
		g := r.do("POST", "/validate/check", "", url.Values{"user": {"alice"}, "pass": {"x"}})
		detail := g.detail()
		if _, ok := detail["threadid"].(float64); !ok {
			t.Errorf("%s: no threadid", name)
		}
		delete(detail, "threadid")
		var recorded map[string]any
		if err := json.Unmarshal([]byte(want), &recorded); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(recorded, detail); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	r.login.result = results()["otponly"]
	if g := r.do("POST", "/validate/check", "", url.Values{"serial": {"S"}, "pass": {"x"}, "otponly": {"1"}}); strings.Contains(g.raw, "detail") {
		t.Errorf("otponly: %s", g.raw)
	}
}

func TestCheckHandsOverWhatClientsSend(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.do("POST", "/validate/check", "", url.Values{"user": {"alice"}, "realm": {"realm1"}, "pass": {"x"}, "state": {"17228345298848196792"}, "resConf": {"pw"}})
	want := login.Request{User: "alice", Realm: "realm1", Resolver: "pw", Pass: "x", TransactionID: "17228345298848196792", Client: "127.0.0.1",
		Action: "POST /validate/check"}
	if diff := cmp.Diff(want, r.login.asked); diff != "" {
		t.Error(diff)
	}
	r.do("GET", "/validate/check?serial=S&pass=&otponly=1", "", nil)
	if got := r.login.asked; got.Serial != "S" || !got.OTPOnly || got.Pass != "" {
		t.Errorf("asked: %+v", got)
	}
}

func TestCheckRefusesWhatIsMissing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	const who = "ERR905: You need to specify a serial, user or credential_id."
	r.want(r.do("POST", "/validate/check", "", nil), http.StatusBadRequest, 905, who)
	r.want(r.do("POST", "/validate/check", "", url.Values{"pass": {"x"}}), http.StatusBadRequest, 905, who)
	r.want(r.do("POST", "/validate/check", "", url.Values{"user": {"alice"}}), http.StatusBadRequest, 905, "Missing parameter: pass")
	r.want(r.do("POST", "/validate/triggerchallenge", r.admin, nil), http.StatusBadRequest, 905, who)
	r.want(r.do("POST", "/validate/check", "", url.Values{"user": {"alice", "bob"}, "pass": {"x"}}), http.StatusBadRequest, 905, "twice")
}

func TestRadiuscheckAnswersByStatusAlone(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for name, status := range map[string]int{"accept": 204, "challenge": 400, "reject": 400} {
		r.login.result = results()[name]
		g := r.do("POST", "/validate/radiuscheck", "", url.Values{"user": {"alice"}, "pass": {"x"}})
		if g.status != status || g.raw != "" {
			t.Errorf("%s: %d %q, want %d and no body", name, g.status, g.raw, status)
		}
	}
}

func TestPollTellsOfTheDeliveryWhileTheChallengeWaits(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	if _, err := r.servers.Save(ctx, mail.Server{Identifier: "fast", Server: "127.0.0.1"}); err != nil {
		t.Fatal(err)
	}
	const transaction = "17228345298848196792"
	id, until := uuid.Must(uuid.NewV7()), r.db.Now().Add(2*time.Minute)
	prepared, err := r.prepare(r.delivery, id, delivery.Message{Route: "fast", Recipient: "alice@example.com", Serial: "PIEM1", NotAfter: until})
	if err != nil {
		t.Fatal(err)
	}
	c := challenge.New(r.keys, challenge.Code{TransactionID: transaction, Serial: "PIEM1", DeliveryID: id, Text: "123456", Created: r.db.Now(), ValidUntil: until})
	err = r.db.Write(ctx, func(tx *store.Tx) error {
		challenge.Put(tx, c)
		r.delivery.Put(tx, prepared, delivery.Waiter{TransactionID: transaction, Serial: "PIEM1", ChallengeID: c.ID})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/validate/polltransaction?transaction_id=" + transaction, "/validate/polltransaction/" + transaction} {
		g := r.do("GET", path, "", nil)
		told, _ := g.detail()["delivery"].(map[string]any)
		if g.value() != false || g.detail()["challenge_status"] != "pending" || g.result()["authentication"] != "REJECT" || told["state"] != "on_its_way" {
			t.Errorf("%s: %s", path, g.raw)
		}
		if told["valid_until"] != stamp(until) || told["resend_after"] == nil || strings.Contains(g.raw, "example.com") || strings.Contains(g.raw, "fast") {
			t.Errorf("%s: %s", path, g.raw)
		}
		messages, _ := told["messages"].([]any)
		if diff := cmp.Diff([]any{map[string]any{"serial": "PIEM1", "state": "on_its_way", "next_try": nil}}, messages); diff != "" {
			t.Error(diff)
		}
	}
	if err := r.db.Write(ctx, func(tx *store.Tx) error { _, err := challenge.Answer(tx, r.db.Now(), c.ID); return err }); err != nil {
		t.Fatal(err)
	}
	answered := r.do("GET", "/validate/polltransaction/"+transaction, "", nil)
	unknown := r.do("GET", "/validate/polltransaction/12345678901234567890", "", nil)
	for _, g := range []got{answered, unknown, r.do("GET", "/validate/polltransaction/malformed", "", nil)} {
		if diff := cmp.Diff(map[string]any{"challenge_status": "pending", "threadid": 1.0}, g.detail()); diff != "" {
			t.Errorf("answered, unknown and malformed transactions answer alike: %s", diff)
		}
	}
	r.want(r.do("GET", "/validate/polltransaction", "", nil), http.StatusBadRequest, 905, "ERR905: Missing parameter: transaction_id")
}
