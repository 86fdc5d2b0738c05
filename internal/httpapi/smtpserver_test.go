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
	r.want(g, http.StatusBadRequest, 905, "Type it again")
}

func TestStoryDoesNotDenyWhatMayHaveHappened(t *testing.T) {
	t.Parallel()
	for state, want := range map[delivery.State]string{
		delivery.Unknown: "may have been sent", delivery.Failed: "was not sent", delivery.Expired: "was not sent", delivery.Deferred: "not known yet",
		delivery.Queued: "not known yet", delivery.Sending: "not known yet",
	} {
		message, _ := storyOf(delivery.Story{State: state})["message"].(string)
		if !strings.Contains(message, want) || !strings.Contains(message, string(state)) {
			t.Errorf("%s: %q, want %q", state, message, want)
		}
	}
}
