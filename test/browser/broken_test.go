package browser_test

import (
	"fmt"
	"strings"
	"testing"

	"otpost/test/broken"
	"otpost/test/browser"
)

// steps are the phases as the English page calls them.
func step(phase string) string {
	return map[string]string{
		"dns":      "Name (DNS)",
		"connect":  "Connection (TCP)",
		"greeting": "First reply (220)",
		"tls":      "Encryption (TLS)",
		"auth":     "Log-in (AUTH)",
		"mail":     "Sender (MAIL)",
		"rcpt":     "Recipient (RCPT)",
		"reply":    "Reply to the message",
	}[phase]
}

// TestBrokenServersAreToldApartOnThePage: each of the twelve has a sentence of its own that says what to do, at the step where it
// broke, in English and in German.
func TestBrokenServersAreToldApartOnThePage(t *testing.T) {
	t.Parallel()
	p := signedIn(t, newEmptySite(t))
	seen := map[string]string{}
	for i, s := range broken.Servers(t) {
		p.Language("en")
		p.Open("/ui/newserver")
		p.Type("identifier", "broken")
		p.Check("tls", s.Form["tls"] == true)
		p.Check("enqueue_job", i%2 == 0) // both ways, in turn
		for name, value := range s.Form {
			if name != "tls" {
				p.Type(name, fmt.Sprint(value))
			}
		}
		p.Type("recipient", "buttonpresser@example.org")
		p.Follow("Send Test Email")
		says(t, p, "#test .notice.bad", s.Says)
		says(t, p, "#test .notice.bad", fmt.Sprint(s.Form["server"]))
		checkSteps(t, p, s)
		sentence := p.Text("#test .notice")
		p.Language("de")
		p.Follow("Send Test Email")
		satz := p.Text("#test .notice.bad")
		for _, one := range []string{sentence, satz} {
			if other := seen[one]; other != "" {
				t.Errorf("%s and %s have one sentence: %s", s.Name, other, one)
			}
			seen[one] = s.Name
		}
		if !strings.Contains(satz, fmt.Sprint(s.Form["server"])) {
			t.Errorf("%s in German: %s", s.Name, satz)
		}
		if s.Diagnosis == "certificate_name" || s.Diagnosis == "greylisted" {
			p.Looks("server-broken-" + s.Diagnosis)
		}
	}
	if len(seen) != 24 {
		t.Errorf("%d sentences, want 12 in each language", len(seen))
	}
}

// checkSteps compares the table of steps with what the broken server must lead to.
func checkSteps(t *testing.T, p *browser.Page, s broken.Server) {
	t.Helper()
	last := "#test table tr.broken"
	if n := p.Count(last); n != 1 {
		t.Fatalf("%s: %d steps are marked: %s", s.Name, n, p.Text("#test"))
	}
	says(t, p, last, step(s.Phase))
	says(t, p, last, s.Text)
	if s.Reply != 0 {
		says(t, p, last, strings.TrimSpace(fmt.Sprint(s.Reply, " ", s.Enhanced)))
	}
	if s.Chain {
		says(t, p, last+" summary", "CN=broken.example.org")
	}
}
