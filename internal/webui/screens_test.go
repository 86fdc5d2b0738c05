package webui

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

// answers serves testdata/answers.json: what the API says of an installation in which a bit of everything has happened, by path.
func answers(t *testing.T) http.Handler {
	t.Helper()
	raw, err := os.ReadFile("testdata/answers.json")
	if err != nil {
		t.Fatal(err)
	}
	var all map[string]struct{ Value, Detail json.RawMessage }
	if err := json.Unmarshal(raw, &all); err != nil {
		t.Fatal(err)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		one, ok := all[r.URL.Path]
		if !ok || r.Method != http.MethodGet {
			api{}.ServeHTTP(w, r)
			return
		}
		detail := one.Detail
		if detail == nil {
			detail = json.RawMessage("null")
		}
		fmt.Fprintf(w, `{"result": {"status": true, "value": %s}, "detail": %s}`, one.Value, detail)
	})
}

// keyLike is what a text key would look like that stands in a page because there is no such text.
var keyLike = regexp.MustCompile(`>\s*[a-z]+\.[a-z_]+(\.[a-z_]+)*\s*<`) //nolint:gochecknoglobals // a constant

func TestEveryScreenRendersWhatTheAPISays(t *testing.T) {
	t.Parallel()
	s := newSite(t, answers(t))
	rights := []string{"smtpserver_read", "smtpserver_write", "configread", "configwrite", "queue_read", "delivery_read", "delivery_retry", "delivery_cancel",
		"delivery_recipient", "userlist", "tokenlist", "enrollEMAIL", "enable", "disable", "reset", "delete", "setpin", "triggerchallenge", "resolverread", "resolverwrite"}
	examples := strings.NewReplacer("{identifier}", "office", "{serial}", "PIEM1", "{id}", "01a20f32-2c33-7642-8f73-da2a342750e1", "{$}", "")
	seen := 0
	for _, one := range table() {
		if one.method != http.MethodGet || strings.HasSuffix(one.path, "/live") {
			continue
		}
		for _, language := range []string{"en", "de"} {
			path := examples.Replace(one.path) + "?user=alice&realm=home&transaction_id=36728198046682729768"
			r := httptest.NewRequest(http.MethodGet, path, nil)
			r.Header.Set("Accept-Language", language)
			r.AddCookie(&http.Cookie{Name: cookieName, Value: tokenOf(t, "admin", time.Now().Add(time.Hour), rights...)})
			w := httptest.NewRecorder()
			s.ServeHTTP(w, r)
			page := w.Body.String()
			switch {
			case w.Code == http.StatusSeeOther: // an address of a form, or / itself
				continue
			case w.Code != http.StatusOK:
				t.Errorf("%s %s: %d\n%s", language, path, w.Code, page)
			case !strings.HasSuffix(page, "</html>"):
				t.Errorf("%s %s ends in its middle:\n%s", language, path, page)
			}
			if m := keyLike.FindString(page); m != "" {
				t.Errorf("%s %s shows a key: %s", language, path, m)
			}
			for _, raw := range []string{"<b>later", "<i>", "<u>"} {
				if strings.Contains(page, raw) {
					t.Errorf("%s %s shows %s as HTML", language, path, raw)
				}
			}
			seen++
		}
	}
	if seen < 20 {
		t.Errorf("only %d pages were seen", seen)
	}
}
