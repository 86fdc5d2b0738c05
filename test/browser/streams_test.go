package browser_test

import (
	"context"
	"io"
	"net/http"
	"testing"
	"time"

	"otpost/test/browser"
)

// TestStreamsEndWithTheServer: an open page does not hold up its stop, nor does one whose browser has left.
func TestStreamsEndWithTheServer(t *testing.T) {
	t.Parallel()
	s := newSite(t, "--workers", "0")
	p := signedIn(t, s)
	p.Allow("ERR_")
	transaction := s.Server.MustCheck(t, "CHALLENGE", browser.AliceToken, browser.AlicePIN).Detail.TransactionID
	p.Open("/ui/deliveries")
	p.WaitText(browser.AliceToken)
	stream(t, s.URL+"/ui/login/live?transaction_id="+transaction, "")
	began := time.Now()
	s.Server.Stop(t)
	if took := time.Since(began); took > 20*time.Second { // a request under way may take 30 s
		t.Errorf("the stop took %s", took)
	}
}

// stream opens an event stream, reads the begin of its first event, and returns how to leave and the rest.
func stream(t *testing.T, address, cookie string) (leave context.CancelFunc, rest io.Reader) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Cookie", cookie)
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { answer.Body.Close() })
	first := make([]byte, 6)
	if _, err := io.ReadFull(answer.Body, first); err != nil || answer.StatusCode != http.StatusOK || string(first) != "event:" {
		t.Fatalf("the stream answers %s, %q (%v)", answer.Status, first, err)
	}
	return func() { cancel(); answer.Body.Close() }, answer.Body
}

// TestTooManyStreams: one more is refused, its page works, and takes a place that is left.
func TestTooManyStreams(t *testing.T) {
	t.Parallel()
	s := newSite(t, "--workers", "0")
	transaction := s.Server.MustCheck(t, "CHALLENGE", browser.AliceToken, browser.AlicePIN).Detail.TransactionID
	cookie := sessionCookie(t, s, browser.Admin, browser.AdminPassword)
	sample, list := s.URL+"/ui/login/live?transaction_id="+transaction, s.URL+"/ui/deliveries/live"
	var leave context.CancelFunc
	for range 200 {
		stream(t, sample, "") // takes none from an administrator
		leave, _ = stream(t, list, cookie.Name+"="+cookie.Value)
	}
	for _, address := range []string{sample, list} {
		if got := raw(t, http.MethodGet, address, cookie.Name+"="+cookie.Value, nil).StatusCode; got != http.StatusServiceUnavailable {
			t.Errorf("one more of %s answers %d", address, got)
		}
	}
	p := signedIn(t, s)
	p.Allow("status of 503")
	p.Open("/ui/deliveries")
	p.WaitText(browser.AliceToken)
	s.Server.Enrol(t, "LATER", "", "later@example.org")
	s.Server.MustCheck(t, "CHALLENGE", "LATER", "")
	leave()
	p.WaitText("LATER") // the page has taken the place by itself
}
