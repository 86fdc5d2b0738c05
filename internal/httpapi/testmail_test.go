package httpapi

import (
	"net/http"
	"strings"
	"testing"
)

// The rig's dialler refuses every connection by an error that says nothing more.
func TestTestMailBeginsWithWhatToDo(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	form := object{"identifier": "s", "server": "127.0.0.1", "port": 25, "timeout": 1, "sender": "pi@example.com", "recipient": "a@example.com"}
	for _, report := range []any{nil, "0", 1, "on"} {
		form["report"] = report
		if report == nil {
			delete(form, "report")
		}
		g := r.do("POST", "/smtpserver/send_test_email", r.admin, form)
		diagnosis, _ := g.detail()["diagnosis"].(map[string]any)
		sentence, _ := diagnosis["sentence"].(string)
		message, _ := g.detail()["message"].(string)
		if g.value() != false || diagnosis["code"] != "internal" || sentence == "" || !strings.HasPrefix(message, sentence+" The mail was not sent") {
			t.Errorf("report %v: %s", report, g.raw)
		}
	}
	form["report"] = "perhaps"
	r.want(r.do("POST", "/smtpserver/send_test_email", r.admin, form), http.StatusBadRequest, 905, "report")
}
