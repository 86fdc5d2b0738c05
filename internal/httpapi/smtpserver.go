package httpapi

import (
	"net/http"
	"time"

	"otpost/internal/mail"
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

// stamp returns a time as we write it into answers: RFC 3339, UTC.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z07:00") }
