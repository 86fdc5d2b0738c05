package webui

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// An input takes 250 letters, and REST 250 bytes: the field says what the difference is.
func TestFormOfAPageIsBounded(t *testing.T) {
	t.Parallel()
	s := newSite(t, api{"POST /token/init": {200, `{"status": true, "value": true}`}})
	admin := tokenOf(t, "admin", time.Now().Add(time.Hour), "enrollEMAIL")
	got := body(t, post(s, "/ui/enrol",
		url.Values{"user": {"ada"}, "description": {strings.Repeat("a", mostForm)}}, admin))
	if !strings.HasPrefix(got, "400") {
		t.Errorf("a form of more than %d bytes: %.200s", mostForm, got)
	}
}

func TestRefusalOfTooManyBytesSaysWhatALetterTakes(t *testing.T) {
	t.Parallel()
	s := newSite(t, api{"POST /token/init": {400, `{"status": false, "error": {"code": 905, "message": "x"}, "about": ["description", "bytes", 250]}`}})
	admin := tokenOf(t, "admin", time.Now().Add(time.Hour), "enrollEMAIL")
	for text, want := range map[string]string{strings.Repeat("ä", 126): "Write at most 250 bytes, this is 252: a letter", strings.Repeat("a", 251): "Write at most 250 bytes<"} {
		got := body(t, post(s, "/ui/enrol", url.Values{"user": {"ada"}, "realm": {"home"}, "description": {text}}, admin))
		if !strings.HasPrefix(got, "400") || !strings.Contains(got, want) || !strings.Contains(got, text) {
			t.Errorf("%d bytes: %d\n%s", len(text), http.StatusBadRequest, got)
		}
	}
}
