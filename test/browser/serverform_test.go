package browser_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"otpost/test/browser"
	"otpost/test/e2e"
)

// TestServerFormRefusesBadInputBesideTheField, in the reader's language, and keeps everything that was typed.
func TestServerFormRefusesBadInputBesideTheField(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := signedIn(t, s)
	p.Allow("status of 400")
	p.Allow("status of 409")
	long := strings.Repeat("x", 2001)
	for i, one := range []struct{ field, value, en, de string }{
		{"identifier", "", "Fill in this field", "Füllen Sie dieses Feld aus"},
		{"identifier", "büro/1", "Use letters from a to z", "Verwenden Sie Buchstaben"},
		{"identifier", "send_test_email", "Choose another", "Wählen Sie eine andere"},
		{"identifier", long, "Write at most 255 bytes", "Höchstens 255 Bytes"},
		{"identifier", browser.MailServer, "exists already", "gibt es schon"},
		{"server", "", "Fill in this field", "Füllen Sie dieses Feld aus"},
		{"server", "bücher.example", "begins with xn--", "mit xn-- beginnt"},
		{"server", "ftp://mail.example.com", "no scheme of a mail server", "kein Schema eines Mailservers"},
		{"server", "mail.example.com\b", "control characters", "Steuerzeichen"},
		{"server", long, "Write at most 255 bytes", "Höchstens 255 Bytes"},
		{"port", "zwei", "Write a number from 0 to 65535", "Geben Sie eine Zahl von 0 bis 65535 ein"},
		{"port", "70000", "Write a number from 0 to 65535", "Geben Sie eine Zahl von 0 bis 65535 ein"},
		{"sender", "", "Fill in this field", "Füllen Sie dieses Feld aus"},
		{"sender", "邮件", "Write an e-mail address", "Geben Sie eine E-Mail-Adresse ein"},
		{"sender", long, "Write at most 500 bytes", "Höchstens 500 Bytes"},
		{"description", long, "Write at most 2000 bytes", "Höchstens 2000 Bytes"},
		{"description", "rot \x1b[31m", "control characters", "Steuerzeichen"},
		{"username", "a\u202eb", "control characters", "Steuerzeichen"},
		{"username", long, "Write at most 255 bytes", "Höchstens 255 Bytes"},
		{"password", long, "Write at most 255 bytes", "Höchstens 255 Bytes"},
		{"ca_file", long, "Write at most 1000 bytes", "Höchstens 1000 Bytes"},
		{"ehlo_name", "localhost localhost", "Write a full host name", "Geben Sie einen vollen Rechnernamen ein"},
		{"timeout", "601", "Write a number from 0 to 600", "Geben Sie eine Zahl von 0 bis 600 ein"},
		{"timeout", "-1", "Write a number from 0 to 600", "Geben Sie eine Zahl von 0 bis 600 ein"},
		{"certificate", long, "Write at most 1000 bytes", "Höchstens 1000 Bytes"},
		{"private_key", "a\u2028b", "control characters", "Steuerzeichen"},
		{"private_key_password", long, "Write at most 255 bytes", "Höchstens 255 Bytes"},
	} {
		language, want := "en", one.en
		if i%2 == 1 { // each language has each kind
			language, want = "de", one.de
		}
		p.Language(language)
		p.Open("/ui/newserver")
		p.Unbounded()
		for name, value := range map[string]string{"identifier": "fresh", "server": "mail.example.com", "sender": "otpost@example.com", "description": "Für Codes"} {
			p.Type(name, value)
		}
		p.Check("enqueue_job", true)
		p.Put(one.field, one.value)
		p.Follow(".acts .main")
		says(t, p, "#e-"+one.field, want)
		if got := p.Value("#f-" + one.field); got != one.value {
			t.Errorf("%s: %.40q was typed, %.40q is in the form", one.field, one.value, got)
		}
		if n := p.Count(".error"); n != 1 {
			t.Errorf("%s %.40q: %d fields are blamed", one.field, one.value, n)
		}
		if !browser.Eval[bool](p, `document.querySelector("[name=enqueue_job]").checked && document.activeElement.name === "`+one.field+`"`) {
			t.Errorf("%s %.40q: the box is not ticked any more, or the focus is on %s", one.field, one.value, p.Focused())
		}
		if one.field == "server" && one.value != long {
			p.Looks("server-refused")
		}
	}
	if n := len(s.Server.Must(t, "GET", "/smtpserver/", nil).Raw); strings.Contains(s.Server.Must(t, "GET", "/smtpserver/", nil).Raw, "fresh") {
		t.Errorf("something was saved: %d bytes", n)
	}
}

// TestServerFormSurvivesTheEndOfTheSession: what was typed is there after signing in, and is saved then.
func TestServerFormSurvivesTheEndOfTheSession(t *testing.T) {
	t.Parallel()
	p := signedIn(t, newSite(t))
	p.Allow("status of 401")
	p.Open("/ui/servers/office")
	p.Type("description", "typed before the session ended")
	p.Check("enqueue_job", false)
	p.Forget()
	p.Follow("Save")
	p.WaitText("what you typed is kept")
	p.Looks("server-expired")
	p.GiveCredentials(browser.Admin, browser.AdminPassword)
	p.WaitText("Nothing of it has been saved yet.")
	p.Looks("server-goon")
	p.Follow("Send it now")
	p.WaitText("The SMTP server is saved.")
	p.WaitText("typed before the session ended")
	p.Follow("office")
	if browser.Eval[bool](p, `document.querySelector("[name=enqueue_job]").checked`) {
		t.Error("the box is ticked again")
	}
}

// TestOfTwoAdministratorsTheSecondIsTold, sees what the first has saved, and replaces it only when he saves again.
func TestOfTwoAdministratorsTheSecondIsTold(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	first, second := signedIn(t, s), signedIn(t, s)
	second.Allow("status of 409")
	first.Open("/ui/servers/office")
	second.Open("/ui/servers/office")
	first.Type("description", "by the first")
	first.Type("timeout", "20")
	first.Check("enqueue_job", false)
	first.Follow("Save")
	first.WaitText("by the first")
	second.Type("description", "by the second")
	second.Type("username", "relay")
	second.Follow("Save")
	second.WaitText("Somebody else has changed this SMTP server")
	says(t, second, "#n-description", "Saved now: by the first")
	says(t, second, "#n-timeout", "Saved now: 20")
	says(t, second, "#n-enqueue_job", "Saved now: not ticked")
	says(t, second, "#n-username", "Saved now: empty")
	if got := second.Value("[name=description]"); got != "by the second" {
		t.Errorf("%q is in the form", got)
	}
	if n := second.Count(".note"); n != 4 {
		t.Errorf("%d fields differ, want 4: %s", n, second.Text("form[data-guard]"))
	}
	second.Looks("server-conflict")
	if raw := s.Server.Must(t, "GET", "/smtpserver/office", nil).Raw; !strings.Contains(raw, "by the first") {
		t.Errorf("saved: %s", raw)
	}
	second.Follow("Save over it")
	second.WaitText("The SMTP server is saved.")
	second.WaitText("by the second")
}

// TestAServerThatWasDeletedMeanwhileCanBeMadeAnew from what was typed.
func TestAServerThatWasDeletedMeanwhileCanBeMadeAnew(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := signedIn(t, s)
	p.Allow("status of 409")
	p.Open("/ui/servers/office")
	p.Type("description", "still here")
	s.Server.Must(t, "DELETE", "/smtpserver/office", nil)
	p.Follow("Save")
	p.WaitText("deleted by another administrator meanwhile")
	p.Looks("server-deleted")
	p.Follow("Save")
	p.WaitText("The SMTP server is saved.")
	p.WaitText("still here")
}

// signing writes a certificate of an address with its key, and another key, and returns their paths.
func signing(t *testing.T, s *browser.Site, address string, end time.Time) (certificate, key, other string) {
	t.Helper()
	var keys [2]*ecdsa.PrivateKey
	var paths [2]string
	for i := range keys {
		var err error
		if keys[i], err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			t.Fatal(err)
		}
		der, err := x509.MarshalPKCS8PrivateKey(keys[i])
		if err != nil {
			t.Fatal(err)
		}
		paths[i] = s.Write(t, fmt.Sprintf("%s-%d.key", address, i), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
	}
	form := &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "One-time passwords"}, EmailAddresses: []string{address},
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: end, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection},
	}
	der, err := x509.CreateCertificate(rand.Reader, form, form, keys[0].Public(), keys[0])
	if err != nil {
		t.Fatal(err)
	}
	certificate = s.Write(t, address+".pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	return certificate, paths[0], paths[1]
}

// TestServerFormShowsTheSigningCertificate when it is saved, and refuses what cannot sign beside its field.
func TestServerFormShowsTheSigningCertificate(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := signedIn(t, s)
	p.Allow("status of 400")
	certificate, key, other := signing(t, s, "otpost@example.org", time.Now().Add(200*24*time.Hour))
	expired, expiredKey, _ := signing(t, s, "old@example.org", time.Now().Add(-time.Hour))
	for _, one := range []struct{ certificate, key, field, says, sagt string }{
		{"", key, "certificate", "Write the path of the file", "Geben Sie den Pfad der Datei"},
		{certificate, "", "private_key", "Write the path of the file", "Geben Sie den Pfad der Datei"},
		{"/nowhere.pem", key, "certificate", "There is no file of this name", "Eine Datei dieses Namens gibt es nicht"},
		{certificate, "/nowhere.pem", "private_key", "There is no file of this name", "Eine Datei dieses Namens gibt es nicht"},
		{key, key, "certificate", "There is no certificate in the file", "ist kein Zertifikat"},
		{certificate, certificate, "private_key", "There is no private key in the file", "ist kein privater Schlüssel"},
		{certificate, other, "private_key", "do not belong together", "gehören nicht zusammen"},
		{expired, expiredKey, "certificate", "It expired on", "abgelaufen"},
	} {
		for language, want := range map[string]string{"en": one.says, "de": one.sagt} {
			p.Language(language)
			p.Open("/ui/servers/office")
			p.Check("smime", true)
			p.Type("certificate", one.certificate)
			p.Type("private_key", one.key)
			p.Follow(".acts .main")
			says(t, p, "#e-"+one.field, want)
			if got := p.Value("#f-certificate") + p.Value("#f-private_key"); got != one.certificate+one.key {
				t.Errorf("the form has %s", got)
			}
		}
	}
	p.Looks("server-smime-refused")
	p.Language("en")
	p.Open("/ui/servers/office")
	p.Check("smime", true)
	p.Type("certificate", certificate)
	p.Type("private_key", key)
	p.Follow("Save")
	p.WaitText("The SMTP server is saved.")
	p.Follow("office")
	p.WaitText("CN=One-time passwords")
	p.WaitText("otpost@example.org")
	p.Inspect("server-smime")
}

// TestTestMailShowsEachStep of one that is taken: names, times and replies, and the certificates of the server.
func TestTestMailShowsEachStep(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	pair, ca := e2e.Certificate(t)
	sink := e2e.NewSink(t, e2e.SinkOptions{Username: "relay", Password: "Silberdistel-93", TLS: config(pair)})
	s.Server.SMTPServer(t, "secure", sink.Port, map[string]any{"username": "relay", "password": "Silberdistel-93", "tls": true,
		"ca_file": s.Write(t, "ca.pem", ca), "enqueue_job": true})
	p := signedIn(t, s)
	p.Allow("status of 400")
	p.Open("/ui/servers/secure")
	p.Type("recipient", "nobody")
	p.Follow("Send Test Email")
	says(t, p, "#e-recipient", "It is no address that mail can be sent to")
	p.Type("recipient", "ops@example.org")
	p.Type("description", "typed, not saved")
	p.Follow("Send Test Email")
	says(t, p, "#test .notice", "The mail server took the test mail.")
	sink.Mail(t, "ops@example.org", 1)
	says(t, p, "#test", "through the job queue")
	for _, step := range []string{"Connection (TCP)", "Encryption (TLS)", "Greeting (EHLO)", "Log-in (AUTH)", "Sender (MAIL)", "Recipient (RCPT)", "Message (DATA)", "Reply to the message"} {
		says(t, p, "#test table", step)
	}
	p.Click("#test summary")
	says(t, p, "#test details", "127.0.0.1")
	says(t, p, "#test details", "CN=sink.example.org")
	if got := p.Value("[name=description]"); got != "typed, not saved" {
		t.Errorf("the description is %q", got)
	}
	if got := p.Value("[name=password]"); got != "__CENSORED__" {
		t.Error("the page holds the password")
	}
	p.Looks("server-test")
}
