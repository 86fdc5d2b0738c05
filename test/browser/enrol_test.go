package browser_test

import (
	"strings"
	"testing"

	"otpost/test/browser"
	"otpost/test/e2e"
)

// TestEnrolByTheWizard: address prefilled, PIN twice, the first message live until it is sent, and its code shows that the token works.
func TestEnrolByTheWizard(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := signedIn(t, s)
	gate := s.Sink.Hold(t, e2e.AtDot)
	p.Open("/ui/user?user=bob&realm=home")
	p.Follow("New e-mail token")
	if got := p.Value("#f-email"); got != "bob@example.org" {
		t.Errorf("the address is %q", got)
	}
	p.Inspect("enrol")
	weighs(t, p, p.Path())
	p.Type("pin", "bobs pin")
	p.Type("repeat", "bobs pin, with a slip")
	p.Type("description", "Bobs erstes Token")
	p.Follow("Enrol and send a first code")
	says(t, p, "#e-repeat", "The two are not the same. Type both again.")
	if p.Value("#f-pin") != "bobs pin" || p.Value("#f-description") != "Bobs erstes Token" || p.Focused() == "" {
		t.Error("what was typed is lost")
	}
	p.Looks("enrol-differ")
	p.Type("repeat", "bobs pin")
	p.Follow("Enrol and send a first code")
	p.WaitText("The token is made.")
	says(t, p, "#mail", "A code is on its way to you.")
	p.Looks("first")
	if !strings.HasSuffix(p.Focused(), "input#f-pass") {
		t.Errorf("the focus is on %s", p.Focused())
	}
	gate.Open()
	p.WaitText("We have sent you a code.")
	p.Reload() // makes no second token
	p.Type("pass", "000")
	p.Follow("Check the code")
	says(t, p, "#e-pass", "This is not the code that we sent.")
	p.Looks("first-wrong")
	p.Type("pass", "")
	p.Allow("status of 400")
	p.Follow("Check the code")
	says(t, p, "#e-pass", "Type the code that stands in the message.")
	p.Type("pass", s.Sink.Mail(t, "bob@example.org", 1).Code())
	p.Follow("Check the code")
	p.WaitText("The token works")
	p.WaitText("bob@home")
	p.WaitText("0 of 10")
	p.Looks("first-works")
	p.Open("/ui/user?user=bob&realm=home")
	if got := p.Count("tbody tr"); got != 1 {
		t.Errorf("bob has %d tokens", got)
	}
}

// TestEnrolWhileTheMailServerIsDown: the page tells live when it is tried next; without a queue that there is no code.
func TestEnrolWhileTheMailServerIsDown(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.Sink.Close()
	p := signedIn(t, s)
	p.Open("/ui/enrol?user=bob&realm=home")
	p.Check("dynamic_email", true)
	p.Type("email", "")
	p.Follow("Enrol and send a first code")
	p.WaitText("The code could not be sent yet.")
	p.WaitFor(`/^Next try in \d+\ss\.$/.test(document.querySelector(".more").textContent)`)
	p.Looks("first-deferred")
	p.Follow("To the token")
	p.WaitText("the address in the user’s record")
	s.Server.SMTPServer(t, browser.MailServer, s.Sink.Port, map[string]any{"enqueue_job": false})
	p.Follow("Send a test code")
	p.WaitText("no code could be sent")
	p.Looks("first-unsent")
	p.Reload() // it is said once
	p.WaitNoText("no code could be sent")
	p.Follow("Messages of this token")
	p.WaitText("not reached")
}

// TestEnrolFormRefusesBadInput: the message stands beside its field and says what to do; what was typed stays.
func TestEnrolFormRefusesBadInput(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := signedIn(t, s)
	p.Allow("status of 400")
	long := strings.Repeat("p", 10_000)
	for _, one := range []struct{ field, value, says, german string }{
		{"email", "", "Fill in this field", "Füllen Sie dieses Feld aus"},
		{"email", "no address", "Write one address", "genau eine Adresse"},
		{"email", "a@example.org,b@example.org", "Write one address", "genau eine Adresse"},
		{"email", strings.Repeat("a", 300) + "@example.org", "Write one address", "genau eine Adresse"},
		{"pin", long, "Write at most 256 bytes", "Höchstens 256 Byte"},
		{"pin", "a\x00b", "must be valid UTF-8 without NUL", "ohne das Zeichen NUL"},
		{"description", strings.Repeat("ä", 251), "Write one line of at most 250 characters", "höchstens 250 Zeichen"},
		{"description", "a\x07b", "Write one line of at most 250 characters", "höchstens 250 Zeichen"},
		{"description", "a\x00b", "must be valid UTF-8 without NUL", "höchstens 250 Zeichen"},
	} {
		p.Open("/ui/enrol?user=bob&realm=home")
		p.Unbounded()
		p.Put("pin", "1234")
		p.Put("repeat", "1234")
		p.Put("description", "Zweites 令牌")
		p.Put(one.field, one.value)
		if one.field == "pin" {
			p.Put("repeat", one.value)
		}
		p.Follow(`[action="/ui/enrol"] button`)
		says(t, p, "#e-"+one.field, one.says)
		if p.Attribute("#f-"+one.field, "aria-invalid") != "true" || !strings.Contains(p.Focused(), "f-"+one.field) {
			t.Errorf("%s is not marked, or has not the focus: %s", one.field, p.Focused())
		}
		if got := p.Value("#f-" + one.field); got != kept(one.value) {
			t.Errorf("%s was %.40q, and is %.40q", one.field, one.value, got)
		}
		if one.field != "description" && p.Value("#f-description") != "Zweites 令牌" {
			t.Errorf("the description is %q", p.Value("#f-description"))
		}
		if kept(one.value) != one.value {
			continue // what the page shows is no bad input any more
		}
		p.Language("de")
		p.Unbounded()
		p.Follow(`[action="/ui/enrol"] button`)
		says(t, p, "#e-"+one.field, one.german)
		if one.field == "pin" && one.value == long {
			p.Looks("enrol-wrong")
		}
		p.Language("en")
	}
}
