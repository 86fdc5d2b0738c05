package httpapi

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Recorded: system.json.
func TestSystemAnswersAsRecorded(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	set := r.do("POST", "/system/setConfig", r.admin, object{"email.identifier": "fast", "email.validtime": "600", "email.concurrent_challenges": "False"})
	want := map[string]any{"email.identifier": "insert", "email.validtime": "insert", "email.concurrent_challenges": "insert"}
	if diff := cmp.Diff(want, set.value()); diff != "" {
		t.Error(diff)
	}
	typed := r.do("POST", "/system/setConfig", r.admin, object{"mypw": "secret", "mypw.type": "password", "mypw.desc": "a word"})
	if diff := cmp.Diff(map[string]any{"mypw": "insert"}, typed.value()); diff != "" {
		t.Error(diff)
	}
	for path, want := range map[string]any{"email.identifier": "fast", "nosuch": nil, "mypw": "__CENSORED__", "hsm": map[string]any{"is_ready": true}} {
		if got := r.do("GET", "/system/"+path, r.admin, nil); got.status != 200 || !cmp.Equal(want, got.value()) {
			t.Errorf("GET %s = %s", path, got.raw)
		}
	}
	for _, want := range []bool{true, false} {
		if got := r.do("DELETE", "/system/mypw", r.admin, nil); got.value() != want {
			t.Errorf("DELETE = %s, want %v", got.raw, want)
		}
	}
	r.want(r.do("POST", "/system/setDefault", r.admin, url.Values{"foo": {"1"}}), http.StatusBadRequest, 77,
		"ERR77: Usage: parameters are: DefaultMaxFailCount, DefaultSyncWindow, DefaultCountWindow, DefaultOtpLen, DefaultResetFailCount")
	if got := r.do("GET", "/system/random?len=8&encode=hex", r.admin, nil); len(got.value().(string)) != 16 { //nolint:forcetypeassert // a test
		t.Errorf("random: %s", got.raw)
	}
	r.want(r.do("POST", "/system/setConfig", r.admin, object{"email.validtime": "601"}), http.StatusBadRequest, 905, "email.validtime")
	r.want(r.do("POST", "/system/setConfig", r.admin, object{"email.concurrent_challenges": "maybe"}), http.StatusBadRequest, 905, "email.concurrent_challenges")
	for _, one := range []struct{ method, path, name string }{{"GET", "/validate/check", "otponly"}, {"POST", "/token/init", "dynamic_email"},
		{"GET", "/token/", "active"}, {"GET", "/token/", "assigned"}} {
		query := "?user=alice&serial=S&pass=x&type=email&email=a@example.com&" + one.name + "=perhaps"
		if one.name == "dynamic_email" {
			query = "?type=email&email=a@example.com&dynamic_email=perhaps"
		}
		r.want(r.do(one.method, one.path+query, r.admin, nil), http.StatusBadRequest, 905, one.name)
	}
}

// Recorded: smtpserver.json, "create ...", "list", "delete ...".
func TestServerFormAnswersAsRecorded(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for path, form := range map[string]any{
		"full": object{"server": "127.0.0.1", "port": 15025, "username": "mailuser", "password": "mailpw", "sender": "pi@example.com", "tls": true,
			"description": "every field ü", "timeout": 7, "enqueue_job": false, "dont_send_on_error": true},
		"fullform": url.Values{"server": {"127.0.0.1"}, "port": {"15025"}, "tls": {"1"}, "timeout": {"7"}, "enqueue_job": {"1"}, "dont_send_on_error": {"true"}},
		"bad0":     object{"server": "h", "timeout": 0},
		"odd":      object{"server": "h", "enqueue_job": "yes", "tls": "on", "tls_verify": "on"},
		"a%20b":    object{"server": "smtps://mail.example.com:465", "tls_verify": false, "ca_file": "/etc/ca.pem", "ehlo_name": "otp.example.com"},
	} {
		if g := r.do("POST", "/smtpserver/"+path, r.admin, form); g.status != 200 || g.value() != true {
			t.Fatalf("%s: %s", path, g.raw)
		}
	}
	all, _ := r.do("GET", "/smtpserver/", r.admin, nil).value().(map[string]any)
	field := func(identifier, name string) any {
		one, _ := all[identifier].(map[string]any)
		return one[name]
	}
	for _, one := range []struct {
		identifier, name string
		want             any
	}{
		{"full", "port", 15025.0}, {"full", "tls", true}, {"full", "timeout", 7.0}, {"full", "enqueue_job", false}, {"full", "password", "__CENSORED__"},
		{"full", "private_key_password", "__CENSORED__"}, {"full", "description", "every field ü"}, {"full", "tls_verify", true},
		{"fullform", "tls", true}, {"fullform", "enqueue_job", true}, {"fullform", "dont_send_on_error", true},
		{"bad0", "timeout", 10.0}, {"bad0", "port", 25.0}, {"odd", "enqueue_job", true}, {"odd", "tls", true}, {"odd", "tls_verify", true},
		{"a b", "tls_verify", false}, {"a b", "ca_file", "/etc/ca.pem"}, {"a b", "ehlo_name", "otp.example.com"},
	} {
		if got := field(one.identifier, one.name); got != one.want {
			t.Errorf("%s.%s = %v, want %v", one.identifier, one.name, got, one.want)
		}
	}
	if g := r.do("DELETE", "/smtpserver/odd", r.admin, nil); g.value() != true {
		t.Errorf("delete: %s", g.raw)
	}
	r.want(r.do("DELETE", "/smtpserver/nosuch", r.admin, nil), http.StatusNotFound, 601, "The requested SMTPServer could not be found.")
}

func TestServerFormRefusesWhatCannotBeUsed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for name, form := range map[string]object{
		"port no number":      {"server": "h", "port": "abc"},
		"port too high":       {"server": "h", "port": 70000},
		"timeout no number":   {"server": "h", "timeout": "abc"},
		"header in sender":    {"server": "h", "sender": "a@example.com\r\nBcc: b@example.com"},
		"header in server":    {"server": "h\r\nx"},
		"header in ehlo_name": {"server": "h", "ehlo_name": "a\r\nMAIL FROM:<x>"},
		"scheme":              {"server": "http://h:25"},
		"tls":                 {"server": "h", "tls": "starttls"},
		"tls_verify":          {"server": "h", "tls_verify": "always"},
		"enqueue_job":         {"server": "h", "enqueue_job": "2"},
		"smime":               {"server": "h", "smime": "enabled"},
		"dont_send_on_error":  {"server": "h", "dont_send_on_error": "x"},
	} {
		g := r.do("POST", "/smtpserver/x", r.admin, form)
		if code, _ := g.problem(); g.status != http.StatusBadRequest || code != 905 {
			t.Errorf("%s: %s", name, g.raw)
		}
	}
	r.want(r.do("POST", "/smtpserver/x", r.admin, nil), http.StatusBadRequest, 905, "ERR905: Missing parameter: server")
	r.want(r.do("POST", "/smtpserver/a%250d%250ab", r.admin, object{"server": "h"}), http.StatusBadRequest, 905, "identifier")
	if list := r.do("GET", "/smtpserver/", r.admin, nil); !cmp.Equal(map[string]any{}, list.value()) {
		t.Errorf("something was kept: %s", list.raw)
	}
}

func TestTestMailChecksItsForm(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	form := object{"identifier": "t1", "server": "127.0.0.1", "recipient": "rcpt@example.com"}
	for _, name := range []string{"identifier", "server", "recipient"} {
		less := object{}
		for key, value := range form {
			if key != name {
				less[key] = value
			}
		}
		r.want(r.do("POST", "/smtpserver/send_test_email", r.admin, less), http.StatusBadRequest, 905, "ERR905: Missing parameter: "+name)
	}
	for _, recipient := range []string{"nobody", "a@b.c\r\nRCPT TO:<x@y.z>", "a@b.c,d@e.f"} {
		form["recipient"] = recipient
		r.want(r.do("POST", "/smtpserver/send_test_email", r.admin, form), http.StatusBadRequest, 905, "recipient")
	}
	form["recipient"], form["password"] = "rcpt@example.com", "__CENSORED__"
	r.want(r.do("POST", "/smtpserver/send_test_email", r.admin, form), http.StatusBadRequest, 905, "type it again")
}

func TestSaveSaysWhenTheStoredPasswordIsGone(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.do("POST", "/smtpserver/s", r.admin, object{"server": "h", "username": "u", "password": "pw"})
	if g := r.do("POST", "/smtpserver/s", r.admin, object{"server": "h", "username": "u", "password": "__CENSORED__"}); g.detail() != nil {
		t.Errorf("same target: %s", g.raw)
	}
	g := r.do("POST", "/smtpserver/s", r.admin, object{"server": "h2", "username": "u", "password": "__CENSORED__"})
	if g.value() != true || g.detail()["secret_cleared"] != true {
		t.Errorf("another target: %s", g.raw)
	}
}

// Recorded: realm.json, resolver.json, user.json.
func TestRealmsResolversAndUsersAnswerAsRecorded(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, one := range []struct {
		method, path string
		body         any
		want         any
	}{
		{"GET", "/resolver/", nil, map[string]any{}},
		{"GET", "/resolver/passwdresolver/default", nil, map[string]any{}},
		{"POST", "/resolver/pw", object{"type": "passwdresolver", "fileName": "users.passwd"}, 1.0},
		{"GET", "/resolver/pw", nil, map[string]any{"pw": map[string]any{"censor_keys": []any{}, "data": map[string]any{"fileName": "users.passwd"},
			"resolvername": "pw", "type": "passwdresolver"}}},
		{"GET", "/resolver/nosuch", nil, map[string]any{}},
		{"DELETE", "/resolver/nosuch", nil, -1.0},
		{"POST", "/resolver/test", object{"type": "passwdresolver", "fileName": "users.passwd"}, 2.0},
		{"GET", "/realm/", nil, map[string]any{}},
		{"POST", "/realm/realm1", url.Values{"resolvers": {"pw"}}, map[string]any{"added": []any{"pw"}, "failed": []any{}}},
		{"POST", "/realm/realm4", object{"resolvers": []string{"pw", "nosuch"}, "priority.pw": 3}, map[string]any{"added": []any{"pw"}, "failed": []any{"nosuch"}}},
		{"GET", "/defaultrealm", nil, map[string]any{"realm1": map[string]any{"default": true, "id": 1.0,
			"resolver": []any{map[string]any{"name": "pw", "node": "", "priority": nil, "type": "passwdresolver"}}}}},
		{"POST", "/defaultrealm/realm4", nil, 2.0},
		{"DELETE", "/defaultrealm", nil, 2.0},
		{"DELETE", "/defaultrealm", nil, 0.0},
		{"DELETE", "/realm/realm4", nil, 2.0},
		{"GET", "/realm/superuser", nil, []any{"admins"}},
		{"GET", "/user/?realm=nosuch", nil, []any{}},
		{"GET", "/user/?realm=realm1&username=ali*", nil, []any{map[string]any{"username": "alice", "userid": "1000", "realm": "realm1", "resolver": "pw",
			"givenname": "", "surname": "", "email": "alice@example.com", "phone": "", "mobile": "", "description": "", "editable": false}}},
	} {
		g := r.do(one.method, one.path, r.admin, one.body)
		if diff := cmp.Diff(one.want, g.value()); g.status != http.StatusOK || diff != "" {
			t.Errorf("%s %s = %d: %s", one.method, one.path, g.status, diff)
		}
	}
	r.want(r.do("DELETE", "/resolver/pw", r.admin, nil), http.StatusBadRequest, 302, "still contained in realm 'realm1'")
	r.want(r.do("DELETE", "/realm/nosuch", r.admin, nil), http.StatusNotFound, 601, "The requested Realm could not be found.")
	r.want(r.do("POST", "/realm/realm5", r.admin, nil), http.StatusBadRequest, 905, "ERR905: Missing parameter: resolvers")
	r.want(r.do("POST", "/resolver/bad", r.admin, object{"fileName": "x"}), http.StatusBadRequest, 905, "ERR905: Missing parameter: type")
	own := r.do("GET", "/user/?username=*", r.signIn("alice", "realm1"), nil)
	if list, _ := own.value().([]any); len(list) != 1 || !strings.Contains(own.raw, `"username": "alice"`) {
		t.Errorf("a user sees others: %s", own.raw)
	}
}

func TestUserLogsInWithThePasswordOfTheStore(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.makeRealm("pw", "realm1")
	for _, form := range []url.Values{
		{"username": {"alice"}, "password": {"userpw"}}, {"username": {"alice@realm1"}, "password": {"userpw"}},
		{"username": {"alice"}, "realm": {"realm1"}, "password": {"userpw"}},
	} {
		g := r.do("POST", "/auth", "", form)
		value, _ := g.value().(map[string]any)
		if g.status != http.StatusOK || value["role"] != "user" || value["realm"] != "realm1" || value["username"] != "alice" ||
			!cmp.Equal([]any{"userlist"}, value["rights"]) {
			t.Errorf("%v: %d %s", form, g.status, g.raw)
		}
	}
	for _, form := range []url.Values{{"username": {"alice"}, "password": {"x"}}, {"username": {"nosuch"}, "password": {"userpw"}}} {
		r.want(r.do("POST", "/auth", "", form), http.StatusUnauthorized, 4031, "Authentication failed.")
	}
}

// Recorded: token.json.
func TestTokensAnswerAsRecorded(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.makeRealm("pw", "realm1")
	for _, form := range []object{
		{"type": "email", "email": "alice@example.com", "user": "alice", "realm": "realm1", "serial": "PIEM1", "genkey": 1},
		{"type": "email", "dynamic_email": true, "user": "bob", "serial": "PIEM2", "otpkey": "3132"},
	} {
		g := r.do("POST", "/token/init", r.admin, form)
		detail := g.detail()
		delete(detail, "threadid")
		if diff := cmp.Diff(map[string]any{"serial": form["serial"], "rollout_state": "enrolled"}, detail); g.value() != true || diff != "" {
			t.Errorf("init: %s %s", g.raw, diff)
		}
	}
	r.want(r.do("POST", "/token/init", r.admin, object{"type": "email", "user": "alice"}), http.StatusBadRequest, 905, "ERR905: Missing parameter: email")
	r.want(r.do("POST", "/token/init", r.admin, object{"type": "email", "email": "a@b.c", "user": "nosuch", "realm": "realm1"}), http.StatusBadRequest, 904,
		"ERR904: The user can not be found in any resolver in this realm!")
	r.want(r.do("POST", "/token/init", r.admin, object{"type": "nosuch", "genkey": 1}), http.StatusBadRequest, 905, "nosuch")
	r.want(r.do("POST", "/token/init", r.admin, object{"type": "email", "email": "a@b.c\r\nBcc: d@e.f"}), http.StatusBadRequest, 905, "email")

	mine, _ := r.do("GET", "/token/?serial=PIEM2", r.signIn("alice", "realm1"), nil).value().(map[string]any)
	if mine["count"] != 0.0 {
		t.Errorf("alice sees bob's token: %v", mine)
	}
	listed := r.do("GET", "/token/?user=alice", r.admin, nil)
	page, _ := listed.value().(map[string]any)
	tokens, _ := page["tokens"].([]any)
	if page["count"] != 1.0 || len(tokens) != 1 {
		t.Fatalf("list: %s", listed.raw)
	}
	one, _ := tokens[0].(map[string]any)
	for key, want := range map[string]any{"serial": "PIEM1", "tokentype": "email", "active": true, "failcount": 0.0, "maxfail": 10.0, "otplen": 6.0,
		"username": "alice", "user_id": "1000", "user_realm": "realm1", "resolver": "pw", "locked": false, "revoked": false, "rollout_state": "enrolled"} {
		if one[key] != want {
			t.Errorf("%s = %v, want %v", key, one[key], want)
		}
	}
	if at := noNullBut(one, ""); at != "" {
		t.Errorf("null at %s", at)
	}
	for _, act := range []struct {
		method, path string
		body         any
		want         any
	}{
		{"POST", "/token/disable/PIEM1", nil, 1.0}, {"POST", "/token/disable", object{"serial": "PIEM1"}, 0.0}, {"POST", "/token/enable/PIEM1", nil, 1.0},
		{"POST", "/token/reset/PIEM1", nil, 1.0}, {"POST", "/token/setpin", object{"serial": "PIEM1"}, 0.0},
		{"POST", "/token/set", object{"serial": "PIEM1", "description": "d", "max_failcount": 5, "otplen": 6, "count_window": 20, "sync_window": 500}, 3.0},
		{"POST", "/token/description/PIEM1", object{"description": "x"}, true}, {"POST", "/token/info/PIEM1/mykey", object{"value": "v"}, true},
		{"DELETE", "/token/info/PIEM1/mykey", nil, true}, {"POST", "/token/realm/PIEM1", object{"realms": "realm1,realm2"}, true},
		{"POST", "/token/unassign", object{"serial": "PIEM1"}, 1.0}, {"POST", "/token/assign", object{"serial": "PIEM1", "user": "bob", "realm": "realm1"}, true},
		{"DELETE", "/token/PIEM1", nil, 1.0},
	} {
		if g := r.do(act.method, act.path, r.admin, act.body); g.status != http.StatusOK || g.value() != act.want {
			t.Errorf("%s %s = %s, want %v", act.method, act.path, g.raw, act.want)
		}
	}
	r.want(r.do("POST", "/token/enable/NOSUCH", r.admin, nil), http.StatusNotFound, 601, "No token found for serials: NOSUCH")
	r.want(r.do("POST", "/token/assign", r.admin, object{"serial": "PIEM2"}), http.StatusBadRequest, 905, "ERR905: Missing parameter: user")
	r.want(r.do("POST", "/token/assign", r.admin, object{"serial": "PIEM2", "user": "alice", "realm": "realm1"}), http.StatusBadRequest, 1103,
		"User(login='bob', realm='realm1', resolver='pw')")
	r.want(r.do("POST", "/token/set", r.admin, object{"serial": "PIEM2", "max_failcount": 101}), http.StatusBadRequest, 905, "max_failcount")
	empty := map[string]any{"challenges": []any{}, "count": 0.0, "current": 1.0, "next": nil, "prev": nil, "redis_cache_enabled": false}
	for _, path := range []string{"/token/challenges/", "/token/challenges/PIEM2"} {
		if diff := cmp.Diff(empty, r.do("GET", path, r.admin, nil).value()); diff != "" {
			t.Error(diff)
		}
	}
}

// Recorded: health.json; queue is ours.
func TestProbesAnswerWithoutSession(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for path, want := range map[string]map[string]any{
		"livez": {"status": "OK"}, "startupz": {"status": "started"},
		"readyz": {"hsm": "OK", "status": "ready", "queue": map[string]any{"state": "off", "waiting": 0.0, "workers": 0.0}},
		"":       {"hsm": "OK", "status": "ready", "queue": map[string]any{"state": "off", "waiting": 0.0, "workers": 0.0}},
	} {
		g := r.do("GET", "/healthz/"+path, "", nil)
		if diff := cmp.Diff(want, g.value()); g.status != http.StatusOK || diff != "" || g.json["version"] != nil {
			t.Errorf("%s: %s %s", path, g.raw, diff)
		}
	}
	if err := r.db.Close(); err != nil {
		t.Fatal(err)
	}
	if g := r.do("GET", "/healthz/readyz", "", nil); g.status != http.StatusServiceUnavailable {
		t.Errorf("without its database: %d %s", g.status, g.raw)
	}
}
