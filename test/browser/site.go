package browser

import (
	"testing"

	"otpost/test/e2e"
)

// What a Site has.
const (
	Admin         = "admin"
	AdminPassword = e2e.AdminPassword
	Realm         = "home"   // the default realm: alice, bob and Zoë
	MailServer    = "office" // sends through the queue, to the Site's Sink
	Alice         = "alice"
	AlicePassword = "Alice-im-Moos-7"
	AliceToken    = "ALICE1" // an e-mail token
	AlicePIN      = "pin-alice"
	AliceAddress  = "alice@example.org"
)

// users is the realm's file; alice alone has a password.
const users = `alice:$6$mooskiesel$PD6jDA08tQcXgYiLMwpNcK1H6IHGQs8p0Le83Zf6afsPIhi0t0YzVxlYLmNr86GUJBH0vE8GaxqdQS5REMScA.:1001:1001:Alice Adler,,,,alice@example.org:/home/alice:/bin/sh
bob:x:1002:1002:Bob Berg,,,,bob@example.org:/home/bob:/bin/sh
zoe:x:1003:1003:Zoë Zander-Überlang von und zu Donaudampfschifffahrt,,,,zoe@example.org:/home/zoe:/bin/sh
`

// Site is an otpost that runs: the embedded queue with its worker, an administrator, a realm, a mail server that is a Sink,
// and alice's e-mail token.
type Site struct {
	*e2e.Site
	Server *e2e.Server // its Client is the administrator's session
	Sink   *e2e.Sink
	URL    string // http://127.0.0.1:PORT
}

// NewEmptySite starts an otpost as it is after `otpost setup`: an administrator and the embedded queue, no mail server, no
// realm. serve are further arguments of `otpost serve`.
func NewEmptySite(t testing.TB, programs e2e.Programs, serve ...string) *Site {
	t.Helper()
	s := &Site{Site: e2e.NewSite(t, programs, true), Sink: e2e.NewSink(t, e2e.SinkOptions{})}
	s.Server = s.Serve(t, serve...)
	s.URL = s.Server.URL
	return s
}

// NewSite starts an otpost with all that a Site has.
func NewSite(t testing.TB, programs e2e.Programs, serve ...string) *Site {
	t.Helper()
	s := NewEmptySite(t, programs, serve...)
	file := s.Write(t, "users.passwd", users)
	s.Server.Must(t, "POST", "/resolver/file", map[string]any{"type": "passwdresolver", "fileName": file})
	s.Server.Must(t, "POST", "/realm/"+Realm, map[string]any{"resolvers": "file"})
	s.Server.Must(t, "POST", "/defaultrealm/"+Realm, nil)
	s.Server.SMTPServer(t, MailServer, s.Sink.Port, map[string]any{"enqueue_job": true})
	s.Server.Set(t, "email.identifier", MailServer)
	s.Server.Enrol(t, AliceToken, AlicePIN, AliceAddress, "user", Alice, "realm", Realm)
	return s
}

// Page opens an empty tab for the site's paths, signed in as nobody.
func (s *Site) Page(t testing.TB, b *Browser) *Page { t.Helper(); return b.Page(t, s.URL) }

// SignIn opens the first page and signs in by its form.
func (p *Page) SignIn(name, password string) {
	p.t.Helper()
	p.Open("/")
	p.GiveCredentials(name, password)
}

// GiveCredentials signs in by the form that the page shows, of a session that has ended for example.
func (p *Page) GiveCredentials(name, password string) {
	p.t.Helper()
	p.Type("username", name)
	p.Type("password", password)
	p.Follow(`[action="/ui/signin"] button`)
}
