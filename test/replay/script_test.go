package replay

import (
	"net/http"
	"slices"
	"testing"
	"time"
)

// part is a run of exchanges of one area, from the first name to the last, as they were recorded one after the other.
type part struct{ area, first, last string }

// script is the order of the recording: areas were interrupted by others, which made what the rest of them shows.
func script() []part {
	return []part{
		{"auth", "auth ok", "rights token with Bearer prefix"},
		{"errors", "no token", "root page"},
		{"system", "get all, fresh", "notification delivery"},
		{"smtpserver", "list empty", "delete full"},
		{"resolver", "list empty", "get unknown"},
		{"realm", "list empty", "default set realm1"},
		{"resolver", "delete in use", "delete unknown"},
		{"user", "list realm1", "list without token"},
		{"auth", "auth user ok", "rights user"},
		{"errors", "user calls admin endpoint", "policy delete forbidden"},
		{"token", "list empty", "list after verify"},
		{"validate", "missing everything", "add_user_in_response"},
		{"mail_failure", "pin: inline, SMTP down", "pin: token whose own email.identifier is a dead server"},
		{"validate", "lock: pin", "totp pin+otp"},
		{"token", "list after the validate run", "delete by user"},
		{"queue_redis_down", "pin: queue, Redis down", "healthz, Redis down"},
		{redisDownByDefault, "pin: queue, Redis down", "healthz, Redis down"},
		{"queue_disabled", "pin: enqueue_job=1 server, no job queue configured",
			"pin: enqueue_job=1 server, SMTP down, no job queue"},
	}
}

// areas returns each area of the script once.
func areas() []string {
	var all []string
	for _, p := range script() {
		if !slices.Contains(all, p.area) {
			all = append(all, p.area)
		}
	}
	return all
}

// inOrder returns all exchanges in the order of the recording; it fails when one is left out or comes twice.
func inOrder(t *testing.T) []exchange {
	t.Helper()
	var all []exchange
	rest := map[string][]exchange{}
	for _, area := range areas() {
		rest[area] = loadArea(t, area)
	}
	for _, p := range script() {
		waiting := rest[p.area]
		if len(waiting) == 0 || waiting[0].Name != p.first {
			t.Fatalf("script: %s does not go on with %q", p.area, p.first)
		}
		last := slices.IndexFunc(waiting, func(e exchange) bool { return e.Name == p.last })
		if last < 0 {
			t.Fatalf("script: %s has no %q behind %q", p.area, p.last, p.first)
		}
		all = append(all, waiting[:last+1]...)
		rest[p.area] = waiting[last+1:]
	}
	for area, left := range rest {
		if len(left) > 0 {
			t.Fatalf("script: %s: %q is left out", area, left[0].Name)
		}
	}
	return all
}

// hook is what was done, or is done by the replay, around an exchange. waits says whether an
// exchange of the same area waits for a later issue: some hooks only stand in for what it would
// have left behind.
type hook func(s *session, waits func(name string) bool)

// setting is a hook that changes one setting.
func setting(key, value string) hook {
	return func(s *session, _ func(string) bool) {
		s.set(http.MethodPost, "/system/setConfig", map[string]any{key: value})
	}
}

// call is a hook that makes one call.
func call(method, path string, body map[string]any) hook {
	return func(s *session, _ func(string) bool) { s.set(method, path, body) }
}

// initEmail is a hook that enrols an e-mail token.
func initEmail(fields map[string]any) hook {
	fields["type"] = "email"
	return call(http.MethodPost, "/token/init", fields)
}

// trigger makes a challenge for alice's token, as the recorder did; its code replaces one of the
// recording.
func trigger(recordedCode string) hook {
	return func(s *session, _ func(string) bool) {
		s.set(http.MethodPost, "/validate/triggerchallenge", map[string]any{"serial": "PIEM00007CCB"})
		for _, m := range s.sink.take(1, time.Minute) {
			s.codes[recordedCode] = codeIn(m.raw)
		}
	}
}

// unless runs h only while an exchange waits: h does what that exchange would have done.
func unless(name string, h hook) hook {
	return func(s *session, waits func(string) bool) {
		if waits(name) {
			h(s, waits)
		}
	}
}

func several(hooks ...hook) hook {
	return func(s *session, waits func(string) bool) {
		for _, h := range hooks {
			h(s, waits)
		}
	}
}

// pause lets a code's time (email.validtime, a whole second) run out.
func pause(s *session, _ func(string) bool) {
	expired := time.NewTimer(1200 * time.Millisecond)
	defer expired.Stop()
	select {
	case <-expired.C:
	case <-s.t.Context().Done():
	}
}

// servers are those of the later areas (queue_disabled.json, "list servers"); what the area smtpserver left is deleted.
func servers(s *session, _ func(string) bool) {
	for _, left := range []string{"a%20b", "bad0", "fullform", "min"} {
		s.set(http.MethodDelete, "/smtpserver/"+left, nil)
	}
	for name, extra := range map[string]map[string]any{
		"fast": {"port": "15025"}, "dead": {"port": "15099"}, "slow": {"port": "15026"}, "rej": {"port": "15025"},
		"qfast": {"port": "15025", "enqueue_job": true}, "qdead": {"port": "15099", "enqueue_job": true},
		"smimebad": {"port": "15025", "smime": true, "certificate": "smime.pem", "private_key": "nosuch.key",
			"dont_send_on_error": true},
		"smimebad2": {"port": "15025", "smime": true, "certificate": "smime.pem", "private_key": "nosuch.key"},
	} {
		fields := map[string]any{"server": "127.0.0.1", "sender": "pi@example.com", "timeout": 5}
		for k, v := range extra {
			fields[k] = v
		}
		s.set(http.MethodPost, "/smtpserver/"+name, fields)
	}
}

// before and after are keyed by area and name.
func before() map[string]hook {
	token := func(serial string) map[string]any { return map[string]any{"serial": serial} }
	identifier := func(name string) hook { return setting("email.identifier", name) }
	failing := func(serial, address string) hook {
		return initEmail(map[string]any{"serial": serial, "email": address, "pin": "pr"})
	}
	redisDown := several(initEmail(map[string]any{"serial": "EMRD", "email": "rd@example.com", "pin": "pr"}),
		identifier("qfast"))
	return map[string]hook{
		// DEF1 is a HOTP token in the recording; what follows with it is true of any type.
		"token: set": unless("init default type",
			initEmail(map[string]any{"serial": "DEF1", "email": "def@example.com"})),
		// multi had two HOTP tokens.
		"token: disable user": unless("init hotp otpkey", several(
			initEmail(map[string]any{"serial": "EMM1", "email": "m@example.com", "user": "multi", "realm": "realm1"}),
			initEmail(map[string]any{"serial": "EMM2", "email": "m@example.com", "user": "multi", "realm": "realm1"}))),

		"validate: dynamic email, user without address": initEmail(map[string]any{"serial": "EMNOMAIL",
			"dynamic_email": true,
			"user":          "nomail", "realm": "realm1", "pin": "pn"}),
		"validate: radiuscheck pin+otp":                            trigger("579867"),
		"validate: challenge that will expire (email.validtime 1)": setting("email.validtime", "1"),
		"validate: concurrent=False first":                         setting("email.concurrent_challenges", "False"),
		"validate: concurrent=True first":                          setting("email.concurrent_challenges", "True"),
		"validate: multi: pin -> two challenges": initEmail(map[string]any{"serial": "EMMULTI",
			"email": "multi@example.com",
			"user":  "multi", "realm": "realm1", "pin": "pinm"}),
		// Without autosend the exchange before sends no mail; the code that this one needs comes from a trigger.
		"validate: emailautosend: pin+otp sends the next": unless("emailautosend: success sends the next",
			trigger("531435")),

		"mail_failure: pin: inline, SMTP down":                           identifier("dead"),
		"mail_failure: pin: queue, SMTP down":                            identifier("qdead"),
		"mail_failure: pin: unknown email.identifier":                    identifier("nosuch"),
		"mail_failure: pin: queue, SMTP up":                              identifier("qfast"),
		"mail_failure: pin: inline, SMTP up":                             identifier("fast"),
		"mail_failure: pin: inline, recipient refused 550":               failing("EMREJ", "rej550@example.com"),
		"mail_failure: pin: inline, data refused 554":                    failing("EMDAT", "dat554@example.com"),
		"mail_failure: pin: queue, recipient refused 550":                identifier("qfast"),
		"mail_failure: pin: inline, S/MIME broken, dont_send_on_error=1": identifier("smimebad"),
		"mail_failure: pin: inline, S/MIME broken, dont_send_on_error=0": identifier("smimebad2"),
		"mail_failure: multi: email fails, sms works":                    identifier("dead"),
		"mail_failure: token info email.identifier through /token/info":  identifier("fast"),
		"validate: lock: pin": several(
			initEmail(map[string]any{"serial": "EMLOCK", "email": "locked@example.com", "user": "locked",
				"realm": "realm1", "pin": "pl"}),
			call(http.MethodPost, "/token/set", map[string]any{"serial": "EMLOCK", "max_failcount": 3})),
		"validate: disabled token: pin": call(http.MethodPost, "/token/disable", token("EMLOCK")),
		"validate: revoked token: pin":  call(http.MethodPost, "/token/revoke", token("EMLOCK")),

		"queue_redis_down: pin: queue, Redis down":  redisDown,
		"queue_redis_down: pin: inline, Redis down": identifier("fast"),
		redisDownByDefault + ": pin: queue, Redis down": several(call(http.MethodDelete,
			"/token/EMRD", nil), redisDown),
		redisDownByDefault + ": pin: inline, Redis down":                     identifier("fast"),
		"queue_disabled: pin: enqueue_job=1 server, no job queue configured": identifier("qfast"),
		"queue_disabled: pin: enqueue_job=1 server, SMTP down, no job queue": identifier("qdead"),
	}
}

func after() map[string]hook {
	reset := call(http.MethodPost, "/token/reset", map[string]any{"serial": "PIEM00007CCB"})
	return map[string]hook{
		"errors: json body, no content type": call(http.MethodDelete, "/smtpserver/x", nil),
		"smtpserver: delete full":            servers,
		// realm2 holds an SQL resolver in the recording.
		"realm: create with priority": unless("create with priority",
			call(http.MethodPost, "/realm/realm2", map[string]any{"resolvers": "pw"})),
		"token: enable user": unless("init hotp otpkey", several(
			call(http.MethodDelete, "/token/EMM1", nil), call(http.MethodDelete, "/token/EMM2", nil))),
		"validate: challenge that will expire (email.validtime 1)": pause,
		"validate: poll expired":                                   setting("email.validtime", "600"),
		"validate: concurrent=True answer second":                  setting("email.concurrent_challenges", "False"),
		"validate: disabled token: trigger": call(http.MethodPost, "/token/enable",
			map[string]any{"serial": "EMLOCK"}),

		"mail_failure: challenges after: inline, SMTP down":        reset,
		"mail_failure: challenges after: queue, SMTP down":         reset,
		"mail_failure: challenges after: unknown email.identifier": reset,
		"mail_failure: challenges after: queue, SMTP up":           reset,
		"mail_failure: challenges after: inline, SMTP up":          reset,
	}
}
