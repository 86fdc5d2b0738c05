package browser_test

import (
	"crypto/tls"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"otpost/test/browser"
	"otpost/test/e2e"
)

// long are words as they come: without a place to break them, and from elsewhere.
const (
	longName        = "relay-of-the-department-of-internal-mail-and-authentication-services-building-7.example.org"
	longDescription = "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft, zweites Rechenzentrum <b>(nur für Codes)</b> 邮件服务器"
)

func TestServersPageWithoutAServer(t *testing.T) {
	t.Parallel()
	p := signedIn(t, newEmptySite(t))
	p.Open("/ui/servers")
	p.WaitText("There is no SMTP server yet.")
	p.Inspect("servers-none")
	p.Follow("New SMTP server")
	if got := p.Path(); got != "/ui/newserver" {
		t.Errorf("the link leads to %s", got)
	}
}

func TestServersPage(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.Server.SMTPServer(t, longName, 2525, map[string]any{
		"server": "smtps://" + longName, "description": longDescription, "sender": "Einmalpasswortversand Rechenzentrum <" + strings.Repeat("s", 64) + "@example.org>", "tls_verify": false,
	})
	s.Server.SMTPServer(t, "old", s.Sink.Port, map[string]any{"tls": true, "tls_verify": false})
	s.Server.MustCheck(t, "CHALLENGE", browser.AliceToken, browser.AlicePIN)
	s.Sink.Mail(t, browser.AliceAddress, 1)
	p := signedIn(t, s)
	weighs(t, p, "/ui/servers")
	e2e.Eventually(t, "the page shows the mail", func() bool {
		p.Open("/ui/servers")
		return strings.Contains(p.Text("main"), "1 accepted")
	})
	p.WaitText("127.0.0.1:")
	p.WaitText("sends the codes of e-mail tokens")
	p.WaitText("certificate not verified")
	p.WaitText(longDescription)
	p.Inspect("servers")
	p.Follow("office")
	if got := p.Path(); got != "/ui/servers/office" {
		t.Errorf("the link leads to %s", got)
	}
}

// TestPagesOfManyServersAreLight: a list is compressed, and the overview names a few of many.
func TestPagesOfManyServersAreLight(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for i := range 200 {
		s.Server.SMTPServer(t, fmt.Sprintf("relay-%03d", i), 2525, map[string]any{"server": "smtps://" + longName, "tls_verify": false, "description": longDescription})
	}
	p := signedIn(t, s)
	weighs(t, p, "/ui/servers")
	weighs(t, p, "/ui/overview")
	p.WaitText("more SMTP servers: 195.")
	if got := p.Count("#now .notice.warn"); got != 6 {
		t.Errorf("the overview shows %d notices of one kind", got)
	}
}

// TestServersPageTellsOfAServerThatFails: the last result and what to do about it stand beside the server.
func TestServersPageTellsOfAServerThatFails(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.Sink.Use(func(e2e.Stage, e2e.Mail) error { return e2e.Refuse(554, "Relay access denied") })
	p := signedIn(t, s)
	s.Server.MustCheck(t, "CHALLENGE", browser.AliceToken, browser.AlicePIN)
	e2e.Eventually(t, "the page shows the refusal", func() bool {
		p.Open("/ui/servers")
		return strings.Contains(p.Text("main"), "does not pass on mail from this host")
	})
	p.WaitText("0 accepted, 1 not sent")
	p.Inspect("servers-failing")
}

func TestServersPageWarnsWithoutAWorker(t *testing.T) {
	t.Parallel()
	p := signedIn(t, newSite(t, "--workers", "0"))
	p.Open("/ui/servers")
	p.WaitText("No worker was seen in the last 60 seconds")
	p.WaitText("otpost worker")
	p.Looks("servers-noworker")
}

// TestServerFormExplainsEachField: each has a label, and below it what it is for with its default.
func TestServerFormExplainsEachField(t *testing.T) {
	t.Parallel()
	p := signedIn(t, newEmptySite(t))
	weighs(t, p, "/ui/newserver")
	for language, word := range map[string]string{"en": "default", "de": "vorgabe"} {
		p.Language(language)
		p.Open("/ui/newserver")
		for _, id := range browser.Eval[[]string](p, `[...document.querySelectorAll("main input:not([type=hidden])")].map((e) => e.id)`) {
			if p.Text("label[for="+id+"]") == "" {
				t.Errorf("%s (%s) has no label", id, language)
			}
			help := p.Attribute("#"+id, "aria-describedby")
			if text := p.Text("#" + help); !strings.Contains(strings.ToLower(text), word) {
				t.Errorf("the help of %s (%s) is %q", id, language, text)
			}
		}
	}
	p.Language("en")
	p.Reload()
	if got := p.Count("main input:not([type=hidden]), main textarea"); got != 20 {
		t.Errorf("the form has %d fields, want the original's 16 and tls_verify, ca_file, ehlo_name, for_codes", got)
	}
	p.Inspect("server-new")
}

func TestServerFormSaves(t *testing.T) {
	t.Parallel()
	s := newEmptySite(t)
	p := signedIn(t, s)
	p.Open("/ui/newserver")
	for name, value := range map[string]string{"identifier": "mySmtpServer", "server": "mail.example.com", "port": "587", "sender": "Wache <otpost@example.com>",
		"description": "Für Codes", "username": "relay", "password": "Silberdistel-93", "ehlo_name": "login.example.com", "timeout": "7"} {
		p.Type(name, value)
	}
	p.Check("Send mail from job queue", true)
	p.Follow("Save")
	p.WaitText("The SMTP server is saved.")
	p.Follow("mySmtpServer")
	for name, want := range map[string]string{"identifier": "mySmtpServer", "server": "mail.example.com", "port": "587", "sender": "Wache <otpost@example.com>",
		"description": "Für Codes", "username": "relay", "password": "__CENSORED__", "ehlo_name": "login.example.com", "timeout": "7"} {
		if got := p.Value("[name=" + name + "]"); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if !browser.Eval[bool](p, `["enqueue_job", "for_codes", "tls", "tls_verify"].every((n) => document.querySelector("[name=" + n + "]").checked)`) {
		t.Error("a box is not ticked")
	}
	if strings.Contains(browser.Eval[string](p, "document.documentElement.outerHTML"), "Silberdistel") {
		t.Error("the page shows the password")
	}
	weighs(t, p, "/ui/servers/mySmtpServer")
	p.Inspect("server")
}

// TestServerFormTellsThatThePasswordIsCleared because it was typed for another target.
func TestServerFormTellsThatThePasswordIsCleared(t *testing.T) {
	t.Parallel()
	s := newEmptySite(t)
	s.Server.SMTPServer(t, "one", 2525, map[string]any{"username": "relay", "password": "Silberdistel-93"})
	p := signedIn(t, s)
	p.Open("/ui/servers/one")
	p.Type("port", "2526")
	p.Follow("Save")
	p.WaitText("The SMTP server is saved.")
	p.WaitText("The stored password was cleared")
	p.Looks("server-cleared")
}

// TestQueueBoxSaysWhyItHasNoEffect: the box is always there, and beside it what is missing.
func TestQueueBoxSaysWhyItHasNoEffect(t *testing.T) {
	t.Parallel()
	for _, one := range []struct {
		name, says string
		site       func(t *testing.T) *browser.Site
	}{
		{"noqueue", "No job queue is configured", func(t *testing.T) *browser.Site {
			t.Helper()
			return siteOf(t, e2e.NewSite(t, programs(t), false))
		}},
		{"away", "The job queue cannot be used", func(t *testing.T) *browser.Site {
			t.Helper()
			return siteOf(t, e2e.NewRedisSite(t, programs(t), "redis://127.0.0.1:1/0"))
		}},
		{"noworker", "No worker was seen in the last 60 seconds", func(t *testing.T) *browser.Site {
			t.Helper()
			return newEmptySite(t, "--workers", "0")
		}},
		{"works", "", func(t *testing.T) *browser.Site {
			t.Helper()
			return newEmptySite(t)
		}},
	} {
		t.Run(one.name, func(t *testing.T) {
			t.Parallel()
			p := signedIn(t, one.site(t))
			p.Open("/ui/newserver")
			p.Wait("#f-enqueue_job")
			if one.says == "" {
				if p.Count("#n-enqueue_job") > 0 {
					t.Errorf("a queue that works has the note %q", p.Text("#n-enqueue_job"))
				}
				return
			}
			says(t, p, "#n-enqueue_job", one.says)
			p.Looks("server-queue-" + one.name)
		})
	}
}

// TestDeletingAServerAsksFirst, and does nothing when the answer is no.
func TestDeletingAServerAsksFirst(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := signedIn(t, s)
	p.Open("/ui/servers/office")
	p.Answer(false)
	p.Click("Delete")
	p.WaitFor("sessionStorage.asked")
	if got := p.Asked(); !strings.Contains(got, "office") || !strings.Contains(got, "no server will send them") {
		t.Errorf("the question is %q", got)
	}
	p.Answer(true)
	p.Follow("Delete")
	p.WaitText("The SMTP server is deleted. The codes of e-mail tokens left by it: no server sends them now.")
	p.WaitText("There is no SMTP server yet.")
	s.Server.SMTPServer(t, "second", s.Sink.Port, nil)
	for _, path := range []string{"/ui/servers", "/ui/overview"} {
		p.Open(path)
		says(t, p, ".notice.bad", "No SMTP server sends the codes of e-mail tokens")
		p.WaitNoText("Messages leave as they should.")
	}
	p.Looks("overview-nocodes")
}

// TestUsersMayNotOpenThePagesOfServers: what they may not do they are told, and nothing else.
func TestUsersMayNotOpenThePagesOfServers(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := s.Page(t, chromium)
	p.Allow("status of 403")
	p.SignIn(browser.Alice, browser.AlicePassword)
	for _, path := range []string{"/ui/servers", "/ui/newserver", "/ui/servers/office", "/ui/overview"} {
		p.Open(path)
		p.WaitText("You may not open this page")
		if text := p.Text("body"); strings.Contains(text, "127.0.0.1") || strings.Contains(text, "SMTP servers") {
			t.Errorf("%s shows %s", path, text)
		}
	}
	p.Inspect("forbidden")
	p.Open("/ui/servers/" + url.PathEscape("none such"))
	p.WaitText("You may not open this page")
}

// config is what a mail server offers by STARTTLS.
func config(pair tls.Certificate) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}
}
