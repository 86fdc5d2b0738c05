package browser_test

import (
	"strconv"
	"strings"
	"testing"

	"otpost/test/browser"
	"otpost/test/e2e"
)

// TestFirstRunLeadsThroughThreeSteps: a server, a test mail, a token; each is ticked off, and the next one is marked.
func TestFirstRunLeadsThroughThreeSteps(t *testing.T) {
	t.Parallel()
	s := newEmptySite(t)
	p := signedIn(t, s)
	p.WaitText("First steps")
	now := func(want string) {
		p.Open("/ui/overview") // figures may be a second old; the page then follows by itself
		p.WaitFor(`document.querySelector("[aria-current=step]")?.innerText === "` + want + `"`)
	}
	now("Name an SMTP server")
	p.Inspect("overview-first")
	p.Follow("Name an SMTP server")
	p.Type("identifier", "mail")
	p.Type("server", "127.0.0.1")
	p.Type("port", strconv.Itoa(s.Sink.Port))
	p.Type("sender", "otpost@example.org")
	p.Check("tls", false)
	p.Follow("Save")
	now("Send a test mail")
	p.Follow("Send a test mail")
	p.Type("recipient", "ops@example.org")
	p.Follow("Send Test Email")
	p.WaitText("The mail server took the test mail.")
	now("Make the first token")
	p.Inspect("overview-third")
	file := s.Write(t, "users.passwd", "bob:x:1002:1002:Bob Berg,,,,bob@example.org:/home/bob:/bin/sh\n")
	s.Server.Must(t, "POST", "/resolver/file", map[string]any{"type": "passwdresolver", "fileName": file})
	s.Server.Must(t, "POST", "/realm/"+browser.Realm, map[string]any{"resolvers": "file"})
	s.Server.Enrol(t, "BOB1", "pin-bob", "bob@example.org", "user", "bob", "realm", browser.Realm)
	p.Open("/ui/overview")
	p.WaitNoText("First steps")
}

func TestOverviewOfAQuietSite(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := signedIn(t, s)
	p.Open("/ui/overview")
	p.WaitText("First steps") // no mail server has taken a mail yet
	p.WaitText("No message ended in the last hour.")
	p.WaitNoText("Messages leave as they should.")
	s.Server.MustCheck(t, "CHALLENGE", browser.AliceToken, browser.AlicePIN)
	s.Sink.Mail(t, browser.AliceAddress, 1)
	p.WaitText("Nothing. Messages leave as they should.")
	p.WaitNoText("First steps")
	weighs(t, p, "/ui/overview")
	p.Inspect("overview-quiet")
}

// TestOverviewShowsMessagesAsTheyEnd without a reload: in the chart, in the times, and in the list of what was not sent.
func TestOverviewShowsMessagesAsTheyEnd(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := signedIn(t, s)
	p.Open("/ui/overview")
	p.WaitText("No message was accepted in the last hour.")
	for range 4 {
		s.Server.MustCheck(t, "CHALLENGE", browser.AliceToken, browser.AlicePIN)
	}
	s.Sink.Mail(t, browser.AliceAddress, 1)
	p.WaitText("accepted: ")
	p.Wait(".chart rect.accepted")
	p.WaitText("p95")
	s.Sink.Use(func(e2e.Stage, e2e.Mail) error { return e2e.Refuse(554, "Relay access denied") })
	s.Server.MustCheck(t, "CHALLENGE", browser.AliceToken, browser.AlicePIN)
	p.Wait(".chart rect.failed")
	p.WaitText("does not pass on mail from this host")
	p.WaitText("the mail server refused it")
	p.Inspect("overview")
	p.Follow("Look")
	p.WaitText("refused for good")
}

// TestOverviewTellsWhatNeedsAttention, the worst first: no worker, messages that wait, a certificate that nobody verifies.
func TestOverviewTellsWhatNeedsAttention(t *testing.T) {
	t.Parallel()
	s := newSite(t, "--workers", "0")
	s.Server.SMTPServer(t, longName, 2525, map[string]any{"server": "smtps://" + longName, "tls_verify": false})
	s.Server.MustCheck(t, "CHALLENGE", browser.AliceToken, browser.AlicePIN)
	p := signedIn(t, s)
	p.Open("/ui/overview")
	says(t, p, "#now .notice.bad", "No worker was seen in the last 60 seconds")
	says(t, p, "#now .notice.warn", "is not verified")
	p.WaitText("No worker is seen.")
	e2e.Eventually(t, "the message is shown as waiting", func() bool { p.Reload(); return strings.Contains(p.Text("#now"), "The oldest since") })
	p.Inspect("overview-trouble")
}
