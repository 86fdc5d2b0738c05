package httpapi

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"otpost/internal/delivery"
	"otpost/internal/fault"
	"otpost/internal/mail"
	"otpost/internal/secret"
)

func (s *server) serverRoutes() []route {
	return []route{
		{method: "GET", path: "/smtpserver/{$}", who: admins, right: "smtpserver_read", realms: noRealm, handler: s.servers},
		{method: "POST", path: "/smtpserver/{identifier}", who: admins, right: "smtpserver_write", realms: noRealm, handler: s.saveServer},
		{method: "DELETE", path: "/smtpserver/{identifier}", who: admins, right: "smtpserver_write", realms: noRealm, handler: s.deleteServer},
		{method: "POST", path: "/smtpserver/send_test_email", who: admins, right: "smtpserver_write", realms: noRealm, handler: s.testServer},
	}
}

// servers answers GET /smtpserver/: the definitions by identifier, secrets censored. tls_verify, ca_file and ehlo_name are ours.
func (s *server) servers(w http.ResponseWriter, r *http.Request) error {
	list, err := s.Servers.List(r.Context())
	if err != nil {
		return err
	}
	all := make(object, len(list))
	for _, one := range list {
		all[one.Identifier] = object{
			"server": one.Server, "port": one.Port, "username": one.Username, "password": mail.Censored, "sender": one.Sender,
			"tls": one.TLS, "description": one.Description, "timeout": int(one.Timeout / time.Second), "enqueue_job": one.EnqueueJob,
			"smime": one.SMIME, "dont_send_on_error": one.DontSendOnError, "private_key": one.PrivateKey,
			"private_key_password": mail.Censored, "certificate": one.Certificate,
			"tls_verify": one.TLSVerify, "ca_file": one.CAFile, "ehlo_name": one.EHLOName,
		}
	}
	return answer(w, r, all)
}

// saveServer answers POST /smtpserver/<identifier>: what the form leaves out is reset to its default. When a stored password is
// gone because its target changed, or certificates will not be verified, the answer says so.
func (s *server) saveServer(w http.ResponseWriter, r *http.Request) error {
	identifier, err := pathOf(r, "identifier")
	if err != nil {
		return err
	}
	form, err := serverForm(identifier, paramsOf(r))
	if err != nil {
		return err
	}
	callOf(r).entry.Info = identifier
	cleared, err := s.Servers.Save(r.Context(), form)
	if err != nil {
		return err
	}
	detail := object{}
	if cleared {
		detail["secret_cleared"] = true
		detail["message"] = "The stored password was cleared, because server, port, username, tls or tls_verify changed. Type it again."
	}
	if !form.TLSVerify {
		s.warnUnverified(form)
		detail["warning"] = "tls_verify is off: whoever stands between this server and the mail server can read the mails, the codes in them and the password."
	}
	if len(detail) == 0 {
		return answer(w, r, true)
	}
	return succeed(w, r, success{value: true, detail: detail})
}

// warnUnverified tells the log that any certificate will do.
func (s *server) warnUnverified(form mail.Server) {
	s.log.Warn("certificates of the mail server are not verified", "route", form.Identifier)
}

// deleteServer answers DELETE /smtpserver/<identifier>.
func (s *server) deleteServer(w http.ResponseWriter, r *http.Request) error {
	identifier, err := pathOf(r, "identifier")
	if err != nil {
		return err
	}
	callOf(r).entry.Info = identifier
	if err := s.Servers.Delete(r.Context(), identifier); err != nil {
		return err
	}
	return answer(w, r, true)
}

// serverForm reads the fields of a definition. A port or time-out of 0 is the default (recorded: smtpserver.json, "create timeout
// zero"); tls_verify is on unless it is switched off.
func serverForm(identifier string, p Params) (mail.Server, error) {
	if _, err := p.Required("server"); err != nil {
		return mail.Server{}, err
	}
	port, err := p.Int("port", 0, 0, 65535)
	if err != nil {
		return mail.Server{}, err
	}
	timeout, err := p.Seconds("timeout", 0, 0, 10*time.Minute)
	if err != nil {
		return mail.Server{}, err
	}
	form := mail.Server{
		Identifier: identifier, Server: p.Text("server"), Port: port, Username: p.Text("username"), Password: p.Secret("password"),
		Sender: p.Text("sender"), Description: p.Text("description"), Timeout: timeout,
		PrivateKey: p.Text("private_key"), PrivateKeyPassword: p.Secret("private_key_password"), Certificate: p.Text("certificate"),
		CAFile: p.Text("ca_file"), EHLOName: p.Text("ehlo_name"),
	}
	for _, one := range []struct {
		name   string
		field  *bool
		absent bool
	}{
		{"tls", &form.TLS, false}, {"tls_verify", &form.TLSVerify, true}, {"enqueue_job", &form.EnqueueJob, false}, {"smime", &form.SMIME, false},
		{"dont_send_on_error", &form.DontSendOnError, false},
	} {
		if *one.field, err = p.Bool(one.name, one.absent); err != nil {
			return mail.Server{}, err
		}
	}
	return form, nil
}

// The test mail's texts, as recorded (smtpserver.json, "test inline ok").
const (
	testSubject = "Test Email from privacyIDEA"
	testBody    = "This is a test email from privacyIDEA. The configuration %s is working."
)

// testServer answers POST /smtpserver/send_test_email: whether the server took the mail; if not, the story, attempt by attempt,
// in detail (the original answers 500).
func (s *server) testServer(w http.ResponseWriter, r *http.Request) error {
	p := paramsOf(r)
	identifier, err := p.Required("identifier")
	if err != nil {
		return err
	}
	form, err := serverForm(identifier, p)
	if err != nil {
		return err
	}
	recipient, err := p.Required("recipient")
	if err != nil {
		return err
	}
	if _, err := mail.ParseAddress(recipient); err != nil {
		return wrong("recipient", "it is no address that mail can be sent to")
	}
	complete, err := s.Servers.Complete(r.Context(), form)
	if errors.Is(err, secret.ErrSealed) {
		return fault.Wrap(err, fault.Parameter,
			"ERR905: The stored password does not open: it was saved with another key file (PI_ENCFILE). Type it again and save the server.")
	}
	if err != nil {
		return err
	}
	if !complete.TLSVerify {
		s.warnUnverified(complete)
	}
	story, err := s.Delivery.Test(r.Context(), complete, recipient, testSubject, fmt.Sprintf(testBody, identifier))
	if err != nil {
		return err
	}
	c := callOf(r)
	c.entry.Info, c.entry.DeliveryID = identifier+": "+string(story.State), story.ID
	if story.State == delivery.Accepted {
		return answer(w, r, true)
	}
	return succeed(w, r, success{value: false, detail: storyOf(story)})
}

// storyOf renders what became of a message. The recipient is masked and the replies are scrubbed already.
func storyOf(story delivery.Story) object {
	attempts := make([]object, len(story.Attempts))
	message := "The mail was not sent: "
	switch {
	case story.State == delivery.Unknown:
		message = "The mail may have been sent: "
	case !story.State.Final():
		message = "Whether the mail is sent is not known yet: "
	}
	message += string(story.State)
	if story.Reason != "" {
		message += " (" + string(story.Reason) + ")"
	}
	for i, a := range story.Attempts {
		attempts[i] = object{"number": a.Number, "server": a.Route, "started": stamp(a.Started), "result": a.Class, "phase": a.Phase,
			"phases": a.Phases, "code": a.Code, "enhanced": a.Enhanced, "text": a.Text}
		if i == len(story.Attempts)-1 {
			message += ". Last try: " + a.Class + " at " + a.Phase
			if a.Code != 0 {
				message += fmt.Sprintf(", reply %d", a.Code)
			}
			if a.Text != "" {
				message += ": " + a.Text
			}
		}
	}
	return object{"message": message, "state": string(story.State), "reason": string(story.Reason), "via": string(story.Via),
		"recipient": story.Recipient, "message_id": story.MessageID, "attempts": attempts}
}

// stamp returns a time as we write it into answers: RFC 3339, UTC.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z07:00") }
