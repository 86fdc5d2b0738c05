package browser_test

import (
	"strings"
	"testing"
	"time"

	"otpost/test/browser"
	"otpost/test/e2e"
)

// slow is how long the mail server takes for a mail in the test of the box.
const slow = 3 * time.Second

// TestTheBoxDecidesWhetherALoginWaits is what the box is for: ticked, the login is answered at once and the mail arrives later;
// not ticked, the login waits for the mail server.
func TestTheBoxDecidesWhetherALoginWaits(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.Sink.Use(func(at e2e.Stage, _ e2e.Mail) error {
		if at == e2e.AtData {
			time.Sleep(slow) // what is tested is a mail server that takes its time
		}
		return nil
	})
	admin, user := signedIn(t, s), s.Page(t, chromium)
	tick := func(on bool) {
		admin.Open("/ui/servers/office")
		admin.Check("Send mail from job queue", on)
		admin.Follow("Save")
		admin.WaitText("The SMTP server is saved.")
		says(t, admin, `td[data-label="Job queue"]`, map[bool]string{true: "yes", false: "no"}[on])
	}
	logIn := func() time.Duration {
		user.Open("/ui/login")
		user.Type("user", browser.Alice)
		user.Type("pass", browser.AlicePIN)
		begin := time.Now()
		user.Follow(".acts .main")
		return time.Since(begin)
	}
	tick(false)
	if took := logIn(); took < slow {
		t.Errorf("without the box the answer came after %s, the mail server takes %s", took, slow)
	}
	if n := len(s.Sink.Mails(browser.AliceAddress)); n != 1 {
		t.Errorf("%d mails had arrived when the login was answered, want 1", n)
	}
	tick(true)
	begin := time.Now()
	took := logIn()
	if took > slow/2 {
		t.Errorf("with the box the answer came after %s, the mail server takes %s", took, slow)
	}
	user.WaitText("A code is on its way to you.")
	if n := len(s.Sink.Mails(browser.AliceAddress)); n != 1 && time.Since(begin) < slow {
		t.Errorf("%d mails had arrived, want the one of before", n)
	}
	user.Screenshot("row9")
	mail := s.Sink.Mail(t, browser.AliceAddress, 2)
	user.WaitText("We have sent you a code.")
	user.Type("pass", mail.Code())
	user.Follow(".acts .main")
	user.WaitText("Logged in")
	if strings.Contains(user.Text("main"), mail.Code()) {
		t.Error("the page shows the code")
	}
}
