package httpapi

import (
	"net/http"
	"strings"
	"testing"

	"otpost/internal/delivery"
	"otpost/internal/mail"
	"otpost/internal/secret"
)

func TestVerificationThatIsOffIsSaidAloud(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	const logged = "level=WARN msg=\"certificates of the mail server are not verified\""
	for _, form := range []object{{"server": "h"}, {"server": "h", "tls_verify": "on"}, {"server": "h", "tls_verify": true}} {
		if g := r.do("POST", "/smtpserver/s", r.admin, form); g.value() != true || g.detail() != nil {
			t.Errorf("%v: %s", form, g.raw)
		}
	}
	if strings.Contains(r.log.String(), logged) {
		t.Error("a warning about nothing")
	}
	g := r.do("POST", "/smtpserver/s", r.admin, object{"server": "h", "tls_verify": "off"})
	if warning, _ := g.detail()["warning"].(string); g.value() != true || !strings.Contains(warning, "tls_verify") {
		t.Errorf("answer: %s", g.raw)
	}
	if n := strings.Count(r.log.String(), logged); n != 1 {
		t.Errorf("%d warnings after the save, want 1", n)
	}
	r.do("POST", "/smtpserver/s", r.admin, object{"server": "h", "username": "u", "password": "pw", "tls_verify": false})
	g = r.do("POST", "/smtpserver/s", r.admin, object{"server": "h2", "username": "u", "password": "__CENSORED__", "tls_verify": false})
	if g.detail()["secret_cleared"] != true || g.detail()["warning"] == nil {
		t.Errorf("both at once: %s", g.raw)
	}
	before := strings.Count(r.log.String(), logged)
	g = r.do("POST", "/smtpserver/send_test_email", r.admin, object{"identifier": "s", "server": "127.0.0.1", "port": 1, "timeout": 1,
		"tls_verify": "0", "recipient": "a@example.com"})
	if g.value() != false || g.detail()["state"] != "failed" {
		t.Errorf("test mail: %s", g.raw)
	}
	if n := strings.Count(r.log.String(), logged); n != before+1 {
		t.Errorf("%d warnings after the test mail, want %d", n, before+1)
	}
}

func TestTestMailSaysWhenTheStoredPasswordDoesNotOpen(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	others, err := secret.NewKeys(secret.NewKeyFile())
	if err != nil {
		t.Fatal(err)
	}
	_, err = mail.NewServers(r.db, others, nil).Save(t.Context(), mail.Server{Identifier: "s", Server: "127.0.0.1", Username: "u", Password: "pw", TLSVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	g := r.do("POST", "/smtpserver/send_test_email", r.admin,
		object{"identifier": "s", "server": "127.0.0.1", "username": "u", "password": "__CENSORED__", "recipient": "a@example.com"})
	r.want(g, http.StatusBadRequest, 905, "ERR905: Parameter password: the stored one does not open")
}

func TestStoryDoesNotDenyWhatMayHaveHappened(t *testing.T) {
	t.Parallel()
	for state, want := range map[delivery.State]string{
		delivery.Unknown: "may have been sent", delivery.Failed: "was not sent", delivery.Expired: "was not sent", delivery.Deferred: "not known yet",
		delivery.Queued: "not known yet", delivery.Sending: "not known yet",
	} {
		message, _ := renderTest(delivery.Record{State: state})["message"].(string)
		if !strings.Contains(message, want) || !strings.Contains(message, string(state)) {
			t.Errorf("%s: %q, want %q", state, message, want)
		}
	}
}

func TestServerIsReadAndChangedByRevision(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	form := func(more object) object {
		f := object{"server": "h", "sender": "pi@example.com"}
		for k, v := range more {
			f[k] = v
		}
		return f
	}
	made := r.do("POST", "/smtpserver/s", r.admin, form(object{"revision": 0, "check": "1"}))
	first, ok := made.detail()["revision"].(float64)
	if made.value() != true || !ok {
		t.Fatalf("%s", made.raw)
	}
	one, _ := r.do("GET", "/smtpserver/s", r.admin, nil).value().(map[string]any)
	if one["revision"] != first || one["identifier"] != "s" || one["password"] != "" || one["server"] != "h" {
		t.Errorf("%v", one)
	}
	if c, ok := one["smime_certificate"]; !ok || c != nil {
		t.Errorf("%v", c)
	}
	r.want(r.do("POST", "/smtpserver/s", r.admin, form(object{"revision": 0})), http.StatusConflict, 4009, "An SMTP server with this identifier exists already.")
	if g := r.do("POST", "/smtpserver/s", r.admin, form(object{"revision": int(first), "description": "second"})); g.value() != true || g.detail()["revision"] == first {
		t.Errorf("%s", g.raw)
	}
	r.want(r.do("POST", "/smtpserver/s", r.admin, form(object{"revision": int(first)})), http.StatusConflict, 4009, "The server was changed by another administrator meanwhile.")
	r.want(r.do("POST", "/smtpserver/s", r.admin, form(object{"revision": "x"})), http.StatusBadRequest, 905, "ERR905: Parameter revision: ")
	r.want(r.do("GET", "/smtpserver/nosuch", r.admin, nil), http.StatusNotFound, 601, "could not be found")
}

func TestSigningFilesAreWarnedAboutAndRefusedWithCheck(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	form := object{"server": "h", "sender": "pi@example.com", "smime": true, "certificate": "smime.pem", "private_key": "smime.key"}
	g := r.do("POST", "/smtpserver/s", r.admin, form)
	warnings, _ := g.detail()["warnings"].([]any)
	if g.value() != true || len(warnings) != 1 {
		t.Fatalf("%s", g.raw)
	}
	if w, _ := warnings[0].(map[string]any); w["field"] != "certificate" || w["message"] == "" || !strings.HasPrefix(g.detail()["warning"].(string), "certificate: ") {
		t.Errorf("%v", warnings)
	}
	one, _ := r.do("GET", "/smtpserver/s", r.admin, nil).value().(map[string]any)
	c, _ := one["smime_certificate"].(map[string]any)
	if text, _ := c["error"].(string); !strings.HasPrefix(text, "certificate: ") || c["not_after"] != nil || c["emails"] == nil {
		t.Errorf("%v", c)
	}
	form["check"] = "1"
	r.want(r.do("POST", "/smtpserver/s", r.admin, form), http.StatusBadRequest, 905, "ERR905: Parameter certificate: ")
	form["smime"], form["sender"] = false, ""
	r.want(r.do("POST", "/smtpserver/s", r.admin, form), http.StatusBadRequest, 905, "ERR905: Missing parameter: sender")
	form["sender"], form["server"] = "pi@example.com", "bücher.example"
	r.want(r.do("POST", "/smtpserver/s", r.admin, form), http.StatusBadRequest, 905, "ERR905: Parameter server: ")
}
