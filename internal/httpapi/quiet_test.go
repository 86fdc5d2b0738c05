package httpapi

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"otpost/internal/login"
)

// knock asks a handler as a page in this process does and returns the status.
func knock(t *testing.T, api http.Handler, method, path, session string) int {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(""))
	r.Header.Set("Content-Type", formType)
	r.Header.Set("Authorization", session)
	out := httptest.NewRecorder()
	api.ServeHTTP(out, r)
	return out.Code
}

// looks are what pages read, some of them each second.
func looks() []string {
	return []string{
		"/smtpserver/", "/smtpserver/office", "/token/", "/system/", "/system/email.identifier", "/realm/", "/user/", "/resolver/",
		"/defaultrealm", "/auth/rights", "/delivery/", "/queue/", "/validate/polltransaction?transaction_id=1", "/validate/polltransaction/1",
	}
}

func TestWhatPagesReadLeavesNoRowInTheJournal(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	quiet := Quiet(r.server.Config.Handler)
	for _, path := range looks() {
		if status := knock(t, quiet, "GET", path, r.admin); status >= http.StatusInternalServerError {
			t.Errorf("%s: %d", path, status)
		}
	}
	if n := r.count(`1 = 1`); n != 0 {
		t.Errorf("%d rows, want none", n)
	}
	for _, path := range looks() {
		r.do("GET", path, r.admin, nil)
	}
	// deliveries, the queue and polls are quiet for every client
	if n := r.count(`action LIKE 'GET /%'`); n != len(looks())-4 {
		t.Errorf("%d rows of a client of REST, want %d", n, len(looks())-4)
	}
}

func TestWhatPagesDoIsWrittenIntoTheJournal(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.login.result = login.Result{Authentication: login.Reject}
	r.makeRealm("file", "home")
	quiet := Quiet(r.server.Config.Handler)
	user := r.signIn("alice", "home")
	before := r.count(`1 = 1`)
	for i, c := range []struct{ method, path, session string }{
		{"POST", "/system/setConfig", r.admin},
		{"POST", "/auth", ""},
		{"DELETE", "/smtpserver/office", r.admin},
		{"POST", "/validate/check?user=alice&pass=1", ""},
		{"GET", "/validate/check?user=alice&pass=1", ""},
		{"GET", "/validate/radiuscheck?user=alice&pass=1", ""},
		{"GET", "/validate/triggerchallenge?user=alice", r.admin},
		{"GET", "/delivery/01997a00-0000-7000-8000-000000000000?recipient=full", r.admin},
		{"GET", "/smtpserver/", user}, // the wrong role
	} {
		knock(t, quiet, c.method, c.path, c.session)
		if n := r.count(`1 = 1`); n != before+i+1 {
			t.Fatalf("%s %s: %d rows, want one more than %d", c.method, c.path, n, before+i)
		}
	}
}

// A request by GET that does something must say so, or a page could do it unseen.
func TestGetsBelowValidateActButPolls(t *testing.T) {
	t.Parallel()
	s := &server{}
	for _, rt := range s.table() {
		want := rt.method == http.MethodGet && strings.HasPrefix(rt.path, "/validate/") && !strings.HasPrefix(rt.path, "/validate/polltransaction")
		if rt.method == http.MethodGet && rt.acts != want {
			t.Errorf("GET %s acts: %v, want %v", rt.path, rt.acts, want)
		}
	}
}

// A client without a session or a PIN cannot make the journal grow at the speed of its requests, whatever it sends.
func TestRefusedRequestsOfStrangersLeaveABoundedNumberOfRows(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.login.result = login.Result{Authentication: login.Reject, Message: "Failcounter exceeded"}
	for range 100 {
		for _, c := range []struct{ method, path, session string }{
			{"GET", "/validate/polltransaction?transaction_id=1", ""},
			{"GET", "/token/", "forged"},
			{"DELETE", "/smtpserver/office", ""},
			{"POST", "/validate/check", ""},
			{"POST", "/validate/check?user=alice&pass=1", ""},
			{"POST", "/auth", ""},
			{"GET", "/nothing", ""},
		} {
			knock(t, r.server.Config.Handler, c.method, c.path, c.session)
		}
	}
	if n := r.count(`1 = 1`); n != 30 {
		t.Errorf("%d rows, want the 30 of a minute", n)
	}
	if n := r.count(`action LIKE '%polltransaction%'`); n != 0 {
		t.Errorf("%d rows of polls, want none", n)
	}
	// What a fail counter bounds is written, and so is what an administrator does.
	before := r.count(`1 = 1`)
	r.login.result.Counted = true
	knock(t, r.server.Config.Handler, "POST", "/validate/check?user=alice&pass=1", "")
	knock(t, r.server.Config.Handler, "DELETE", "/smtpserver/nothing", r.admin)
	if n := r.count(`1 = 1`) - before; n != 2 {
		t.Errorf("%d rows of a guess that is counted and of an administrator, want 2", n)
	}
}
