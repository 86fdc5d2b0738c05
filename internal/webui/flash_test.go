package webui

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

func TestDoneIsSaidOnceAndOnlyAfterIt(t *testing.T) {
	t.Parallel()
	s := newSite(t, answers(t))
	admin := tokenOf(t, "admin", time.Now().Add(time.Hour), "smtpserver_read", "smtpserver_write", "delivery_read", "tokenlist", "triggerchallenge")
	s.screens = append(s.screens, screen{method: "POST", path: "/ui/gone", show: func(v *visit) error { return v.redirect("/ui/servers", "server_deleted") }})
	s.handler = s.routes()
	const says = "The SMTP server is deleted."
	if _, got := page(t, s, http.MethodGet, "/ui/servers?done=server_deleted"); strings.Contains(got, says) {
		t.Error("an address alone says that something was done")
	}
	if _, got := page(t, s, http.MethodGet, "/ui/tokens/PIEM1/first?why=fault.exceeded"); strings.Contains(got, s.languages[fallback].say("fault.exceeded")) {
		t.Error("an address alone says why there is no code")
	}
	r := post(s, "/ui/gone", url.Values{}, admin)
	if to := r.Header.Get("Location"); to != "/ui/servers" || len(r.Cookies()) != 1 {
		t.Fatalf("to %s with %v", to, r.Cookies())
	}
	note := r.Cookies()[0]
	if !note.HttpOnly || !note.Secure || note.SameSite != http.SameSiteStrictMode || note.MaxAge <= 0 || note.MaxAge > 10 {
		t.Errorf("the cookie is %v", note)
	}
	for address, want := range map[string]bool{"/ui/servers": true, "/ui/newserver": false} {
		next := httptest.NewRequest(http.MethodGet, address, nil)
		next.AddCookie(&http.Cookie{Name: cookieName, Value: admin})
		next.AddCookie(&http.Cookie{Name: note.Name, Value: note.Value})
		w := httptest.NewRecorder()
		s.ServeHTTP(w, next)
		if got := strings.Contains(w.Body.String(), says); got != want {
			t.Errorf("%s says it: %t", address, got)
		}
		if cleared := len(w.Result().Cookies()) == 1 && w.Result().Cookies()[0].MaxAge < 0; cleared != want {
			t.Errorf("%s sets %v", address, w.Result().Cookies())
		}
	}
}

// A request that wants no body takes no place among the streams, and ends.
func TestHeadOfAStreamEnds(t *testing.T) {
	t.Parallel()
	s := newSite(t, answers(t))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	r := httptest.NewRequest(http.MethodHead, "/ui/deliveries/live", nil).WithContext(ctx)
	r.AddCookie(&http.Cookie{Name: cookieName, Value: tokenOf(t, "admin", time.Now().Add(time.Hour), "delivery_read")})
	for range mostStreams {
		s.streams <- struct{}{}
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "text/event-stream" || ctx.Err() != nil {
		t.Errorf("%d %v (%v)", w.Code, w.Header(), ctx.Err())
	}
}

// One client without a session leaves places for others.
func TestStreamsOfOneGuestAreBounded(t *testing.T) {
	t.Parallel()
	n := networks{held: make(map[string]int)}
	for range mostOfGuest {
		if !n.take("192.0.2.1") || !n.take("") {
			t.Fatal("no place for a stream")
		}
	}
	if n.take("192.0.2.1") || !n.take("192.0.2.2") || !n.take("") {
		t.Error("one network has no bound, or another one has none left")
	}
	for range mostOfGuest {
		n.give("192.0.2.1")
	}
	n.give("192.0.2.2")
	n.give("")
	if len(n.held) != 0 {
		t.Errorf("networks without a stream are kept: %v", n.held)
	}
}
