package browser_test

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"otpost/test/browser"
	"otpost/test/e2e"
)

// slow is how long the mail server takes for the mail of a login that waits for it.
const slow = time.Second

// TestTheBoxDecidesWhetherALoginWaits is what the box is for: ticked, the login is answered at once and the mail arrives later;
// not ticked, the login waits for the mail server.
func TestTheBoxDecidesWhetherALoginWaits(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	admin, user := signedIn(t, s), s.Page(t, chromium)
	tick := func(on bool) {
		admin.Open("/ui/servers/office")
		admin.Check("Send mail from job queue", on)
		admin.Follow("Save")
		admin.WaitText("The SMTP server is saved.")
		says(t, admin, `td[data-label="Job queue"]`, map[bool]string{true: "yes", false: "no"}[on])
	}
	logIn := func() {
		user.Open("/ui/login")
		user.Type("user", browser.Alice)
		user.Type("pass", browser.AlicePIN)
		user.Follow(".acts .main")
	}
	tick(false)
	var ready atomic.Bool
	gate := s.Sink.Hold(t, e2e.AtData)
	time.AfterFunc(slow, func() { ready.Store(true); gate.Open() })
	if logIn(); !ready.Load() {
		t.Error("without the box the answer came before that of the mail server")
	}
	if n := len(s.Sink.Mails(browser.AliceAddress)); n != 1 {
		t.Errorf("%d mails had arrived when the login was answered, want 1", n)
	}
	tick(true)
	gate = s.Sink.Hold(t, e2e.AtData)
	logIn()
	user.WaitText("A code is on its way to you.")
	if n := len(s.Sink.Mails(browser.AliceAddress)); n != 1 {
		t.Errorf("%d mails had arrived, want the one of before", n)
	}
	user.Screenshot("row9")
	gate.Open()
	mail := s.Sink.Mail(t, browser.AliceAddress, 2)
	user.WaitText("We have sent you a code.")
	user.Type("pass", mail.Code())
	user.Follow(".acts .main")
	user.WaitText("Logged in")
	if strings.Contains(user.Text("main"), mail.Code()) {
		t.Error("the page shows the code")
	}
}
