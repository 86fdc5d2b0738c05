package browser_test

import (
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"otpost/test/browser"
	"otpost/test/e2e"
)

func TestDeliveriesPageWithoutAny(t *testing.T) {
	t.Parallel()
	p := signedIn(t, newEmptySite(t))
	p.Open("/ui/deliveries")
	p.WaitText("No message has been requested yet.")
	p.Inspect("deliveries-none")
}

func TestDeliveriesPage(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.Server.SMTPServer(t, longName, s.Sink.Port, map[string]any{"enqueue_job": true})
	s.Server.Enrol(t, "OTHER-"+strings.Repeat("W", 34), "", strings.Repeat("long", 15)+"@example.org", "email.identifier", longName)
	p := signedIn(t, s)
	p.Open("/ui/deliveries")
	p.WaitText("No message has been requested yet.")

	// A login made by REST appears without loading the page again, and so does what becomes of it.
	browser.Eval[struct{}](p, "void (window.same = true)")
	gate := s.Sink.Hold(t, e2e.AtDot)
	sent := challenged(t, s, 0, 1)
	listed(p, "being sent")
	gate.Open()
	listed(p, "accepted")
	s.Sink.Use(func(e2e.Stage, e2e.Mail) error { return e2e.Refuse(550, "no such mailbox") })
	failed := s.Server.MustCheck(t, "CHALLENGE", "OTHER-"+strings.Repeat("W", 34), "").Detail.TransactionID
	listed(p, "failed")
	p.WaitText("refused for good, Recipient (RCPT) 550 5.7.1")
	s.Sink.Use(func(e2e.Stage, e2e.Mail) error { return e2e.Refuse(451, "come again") })
	challenged(t, s, 1, 1)
	listed(p, "waiting for a new try")
	if !browser.Eval[bool](p, "window.same === true") || p.Count("tbody tr") != 3 {
		t.Errorf("the page was loaded again, or has %d rows", p.Count("tbody tr"))
	}
	if text := p.Text("main"); strings.Contains(text, "t000@example.org") || !strings.Contains(text, "@example.org") {
		t.Errorf("the addresses are not masked: %s", text)
	}
	p.Inspect("deliveries")
	weighs(t, p, "/ui/deliveries")
	filters(t, p, sent[0], failed)
}

// listed waits until the list, and not only its filter, shows a text.
func listed(p *browser.Page, text string) {
	p.WaitFor(fmt.Sprintf("document.querySelector('#list').innerText.includes(%s)", strconv.QuoteToASCII(text)))
}

// filters tries each filter alone.
func filters(t *testing.T, p *browser.Page, sent, failed string) {
	t.Helper()
	for _, one := range []struct {
		name, value string
		rows        int
	}{
		{"state", "accepted", 1}, {"state", "failed", 1}, {"state", "expired", 0}, {"server", browser.MailServer, 2}, {"server", longName, 1},
		{"serial", "T000", 1}, {"serial", "NOSUCH", 0}, {"transaction_id", sent, 1}, {"transaction_id", failed, 1}, {"transaction_id", strings.Repeat("1", 20), 0},
		{"since", "2001-01-01T00:00", 3}, {"since", "2999-01-01T00:00", 0}, {"until", "2001-01-01T00:00", 0}, {"until", "2999-01-01T00:00", 3},
	} {
		p.Open("/ui/deliveries")
		p.Put(one.name, one.value)
		p.Follow("Show")
		if got := p.Count("tbody tr"); got != one.rows {
			t.Errorf("%s %s shows %d rows, want %d", one.name, one.value, got, one.rows)
		}
		if got := p.Value("[name=" + one.name + "]"); got != one.value {
			t.Errorf("%s was %q and is %q", one.name, one.value, got)
		}
		if one.rows == 0 {
			p.WaitText("No message matches this filter.")
		}
	}
	p.Looks("deliveries-nomatch")
	p.Follow("Show all")
	if got := p.Count("tbody tr"); got != 3 {
		t.Errorf("all are %d rows", got)
	}
}

// TestDeliveriesFilterRefusesBadInput: the message stands beside its field.
func TestDeliveriesFilterRefusesBadInput(t *testing.T) {
	t.Parallel()
	p := signedIn(t, newSite(t))
	p.Allow("status of 400")
	for _, one := range []struct{ query, field, says string }{
		{"transaction_id=12", "transaction_id", "Write its 20 digits"}, {"transaction_id=" + strings.Repeat("7", 5000), "transaction_id", "Write its 20 digits"},
		{"transaction_id=" + "%D9%A1%D9%A2", "transaction_id", "Write its 20 digits"}, {"state=gone", "state", "Write one or more of"},
		{"since=2026-01-02T00:00&until=2026-01-01T00:00", "until", "Write a time after since"}, {"since=yesterday", "since", "Write a time like"},
		{"serial=a%00b", "serial", "must be valid UTF-8 without NUL"},
	} {
		p.Open("/ui/deliveries?" + one.query)
		says(t, p, "#e-"+one.field, one.says)
	}
	p.Open("/ui/deliveries?before=nothing")
	p.WaitText("Write the id of a delivery")
	p.Language("de")
	p.Open("/ui/deliveries?transaction_id=12&since=2026-01-02T00:00")
	says(t, p, "#e-transaction_id", "Geben Sie die 20 Ziffern")
	p.Looks("deliveries-wrong")
}

func TestDeliveriesPagePages(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	all := challenged(t, s, 0, 52)
	settled(t, s, all[51], "sent")
	p := signedIn(t, s)
	weighs(t, p, "/ui/deliveries?state=")
	if got := p.Count("tbody tr"); got != 50 {
		t.Errorf("the page has %d rows", got)
	}
	p.Follow("Older ones")
	if got := p.Count("tbody tr"); got != 2 {
		t.Errorf("the second page has %d rows", got)
	}
	p.WaitText("T000")
	p.Follow("Newest ones")
	p.WaitText("T051")
}

// TestDeliveryThatIsAccepted: the story from the request to the outcome, without the code and with a masked address.
func TestDeliveryThatIsAccepted(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := signedIn(t, s)
	transaction := s.Server.MustCheck(t, "CHALLENGE", browser.AliceToken, browser.AlicePIN).Detail.TransactionID
	settled(t, s, transaction, "sent")
	p.Open("/ui/deliveries")
	p.Follow(".table tbody a")
	for _, want := range []string{"Requested", transaction, "Attempt 1: accepted", "Recipient (RCPT)", "Reply to the message", "The mail server took it.", "through the job queue"} {
		p.WaitText(want)
	}
	if text := p.Text("main"); strings.Contains(text, browser.AliceAddress) || p.Count("main button") != 0 {
		t.Errorf("the address is not masked, or there is something to press: %s", text)
	}
	p.Inspect("delivery")
	weighs(t, p, p.Path())
	p.Allow("status of 404")
	for _, id := range []string{"nothing", "0192f6e0-0000-7000-8000-000000000000", "%00"} {
		p.Open("/ui/deliveries/" + id)
		p.WaitText("There is no message at this address.")
	}
}

// TestDeliveryThatIsDeferredAndThenAccepted shows each attempt live, its address by a click, and tries at once by a click.
func TestDeliveryThatIsDeferredAndThenAccepted(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.Sink.Use(func(e2e.Stage, e2e.Mail) error { return e2e.Refuse(450, "greylisted") })
	p := signedIn(t, s)
	transaction := s.Server.MustCheck(t, "CHALLENGE", browser.AliceToken, browser.AlicePIN).Detail.TransactionID
	p.Open("/ui/deliveries/" + idOf(t, s, transaction))
	browser.Eval[struct{}](p, "void (window.same = true)")
	p.WaitText("Attempt 2: refused for now")
	p.WaitText("Next try")
	p.Screenshot("delivery-deferred")
	p.Phone() // where the picture of so many tries is too long to keep
	p.Fits()
	p.Axe()
	p.Desktop()
	p.Follow("Show the address")
	p.WaitText(browser.AliceAddress)
	p.Reload() // of a form that only looks
	p.Open("/ui/deliveries/" + idOf(t, s, transaction))
	p.Follow("Try now")
	p.WaitText("It is tried now.")
	s.Sink.Use(nil)
	s.Server.Call(t, http.MethodPost, "/delivery/"+idOf(t, s, transaction)+"/retry", nil) // unless it is tried by itself just now
	p.WaitText("The mail server took it.")
	p.WaitNoText("Try now")
	weighs(t, p, p.Path())
	found := s.Server.Must(t, http.MethodGet, "/delivery/"+idOf(t, s, transaction), nil)
	if strings.Contains(found.Raw, browser.AliceAddress) {
		t.Error("REST shows the address")
	}
}

func TestDeliveryThatFails(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.Sink.Use(func(e2e.Stage, e2e.Mail) error {
		return e2e.Refuse(550, "no mailbox <"+browser.AliceAddress+"> here, "+longDescription)
	})
	p := signedIn(t, s)
	transaction := s.Server.MustCheck(t, "CHALLENGE", browser.AliceToken, browser.AlicePIN).Detail.TransactionID
	settled(t, s, transaction, "not_sent")
	p.Open("/ui/deliveries/" + idOf(t, s, transaction))
	for _, want := range []string{"Attempt 1: refused for good", "550 5.7.1", "It was not sent", "the mail server refused it"} {
		p.WaitText(want)
	}
	if text := p.Text("main"); strings.Contains(text, browser.AliceAddress) {
		t.Errorf("the server's reply shows the address: %s", text)
	}
	p.Inspect("delivery-failed")
}

// TestDeliveryIsCancelled after a question; whoever comes too late is told, and sees what has become of it.
func TestDeliveryIsCancelled(t *testing.T) {
	t.Parallel()
	s := newSite(t, "--workers", "0")
	p, late := signedIn(t, s), signedIn(t, s)
	transaction := s.Server.MustCheck(t, "CHALLENGE", browser.AliceToken, browser.AlicePIN).Detail.TransactionID
	path := "/ui/deliveries/" + idOf(t, s, transaction)
	p.Open(path)
	p.Wait("#cancel")
	p.Looks("delivery-waiting")
	p.Follow("Show the address")
	p.WaitText(browser.AliceAddress)
	p.Looks("delivery-address")
	p.Open(path)
	late.Scripts(false)
	late.Open(path)
	late.Wait("#cancel")
	p.Answer(false)
	p.Click("#cancel")
	p.WaitFor("sessionStorage.asked")
	p.Answer(true)
	p.Follow("#cancel")
	p.WaitText("The message is cancelled and will not be sent.")
	p.WaitText("It was cancelled")
	p.Looks("delivery-cancelled")
	late.Allow("status of 409")
	late.Follow("#retry")
	late.WaitText("The delivery has ended")
	late.WaitText("It was cancelled")
	late.Scripts(true)
	late.Looks("delivery-late")
	p.Allow("status of 400")
	if got := posted(p, path, "act=fly"); got != http.StatusBadRequest {
		t.Errorf("an unknown act answers %d", got)
	}
}

// TestPagesShowNoCode: not in what is read, not in the source, on no page; recipients are masked.
func TestPagesShowNoCode(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := signedIn(t, s)
	p.Open("/ui/try")
	logIn(p, browser.Alice, browser.AlicePIN)
	code := s.Sink.Mail(t, browser.AliceAddress, 1).Code()
	secret := regexp.MustCompile(`\b` + code + `\b|` + regexp.QuoteMeta(browser.AlicePIN) + `|` + regexp.QuoteMeta(browser.AdminPassword))
	look := func(masked bool) {
		t.Helper()
		html := browser.Eval[string](p, "document.documentElement.outerHTML")
		if secret.MatchString(html) || masked && strings.Contains(html, browser.AliceAddress) {
			t.Errorf("%s shows a secret or the address", p.Path())
		}
	}
	look(true)
	p.Type("pass", code)
	p.Follow("Log in")
	look(true)
	id := idOf(t, s, transactionOf(t, s))
	for _, path := range []string{"/ui/overview", "/ui/servers", "/ui/servers/office", "/ui/deliveries", "/ui/deliveries/" + id} {
		p.Open(path)
		look(true)
	}
	for _, path := range []string{"/ui/users", "/ui/user?user=alice&realm=home", "/ui/tokens/ALICE1"} {
		p.Open(path)
		look(false)
	}
}
