package webui

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

func TestDeletingTheServerOfTheCodesSaysSo(t *testing.T) {
	t.Parallel()
	for forCodes, want := range map[string]struct {
		asks, says string
		asked      []string
	}{
		`"office"`: {"no server will send them", "server_deleted_codes", []string{"DELETE /smtpserver/office", "DELETE /system/email.identifier"}},
		`"other"`:  {"Delete the SMTP server office? Messages", "server_deleted", []string{"DELETE /smtpserver/office"}},
	} {
		h := healthy(map[string]string{"/system/email.identifier": forCodes})
		s := newSite(t, h)
		if _, got := looks(t, s, "/ui/servers/office", "en"); !strings.Contains(got, want.asks) {
			t.Errorf("codes by %s: the question lacks %q:\n%s", forCodes, want.asks, got)
		}
		r := post(s, "/ui/servers/office/delete", nil, chief(t))
		if r.StatusCode != http.StatusSeeOther || !slices.Equal(h.asked, want.asked) {
			t.Errorf("codes by %s: %s, asked %q", forCodes, r.Status, h.asked)
		}
		if c := r.Cookies(); len(c) != 1 || !strings.HasPrefix(c[0].Value, "done."+want.says+"@") {
			t.Errorf("codes by %s: it says %v", forCodes, c)
		}
	}
}

// save posts the form of office as it was loaded while a server had the codes.
func save(t *testing.T, h *host, loaded string, ticked bool) *http.Response {
	t.Helper()
	form := url.Values{"identifier": {"office"}, "revision": {"7"}, "codes_by": {loaded}, "server": {"mail.example.com"}, "sender": {"a@example.com"}}
	if ticked {
		form.Set("for_codes", "1")
	}
	return post(newSite(t, h), "/ui/servers", form, chief(t))
}

func TestBoxOfTheCodesCountsWhenItWasChanged(t *testing.T) {
	t.Parallel()
	const saved, set, cleared = "POST /smtpserver/office", "POST /system/setConfig", "DELETE /system/email.identifier"
	for _, one := range []struct {
		name, loaded, now string
		ticked            bool
		status            int
		asked             []string
	}{
		{"nothing is changed", "office", `"office"`, true, 303, []string{saved}},
		{"somebody else moved the codes", "office", `"second"`, true, 303, []string{saved}},
		{"somebody else took them from here", "second", `"office"`, false, 303, []string{saved}},
		{"ticked", "", "null", true, 303, []string{saved, set}},
		{"ticked, taking them from another", "second", `"second"`, true, 303, []string{saved, set}},
		{"unticked", "office", `"office"`, false, 303, []string{saved, cleared}},
		{"unticked, and moved by somebody else", "office", `"second"`, false, 303, []string{saved}},
		{"both chose it", "", `"office"`, true, 303, []string{saved}},
		{"both changed it", "second", `"third"`, true, 409, nil},
	} {
		h := healthy(map[string]string{"/system/email.identifier": one.now})
		r := save(t, h, one.loaded, one.ticked)
		if r.StatusCode != one.status || !slices.Equal(h.asked, one.asked) {
			t.Errorf("%s: %s, asked %q, want %q", one.name, r.Status, h.asked, one.asked)
		}
		if one.status == http.StatusConflict {
			got := body(t, r)
			for _, want := range []string{"has chosen the server third", `name="codes_by" value="third"`, `name="for_codes" value="1" checked`} {
				if !strings.Contains(got, want) {
					t.Errorf("%s: the page lacks %q:\n%s", one.name, want, got)
				}
			}
		}
	}
}
