package httpapi

import (
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	"otpost/internal/mail"
)

func (s *server) serverRoutes() []route {
	return []route{
		{method: "GET", path: "/smtpserver/{$}", who: admins, right: "smtpserver_read", handler: s.servers},
		{method: "GET", path: "/smtpserver/{identifier}", who: admins, right: "smtpserver_read", handler: s.oneServer},
		{method: "POST", path: "/smtpserver/{identifier}", who: admins, right: "smtpserver_write", handler: s.saveServer},
		{method: "DELETE", path: "/smtpserver/{identifier}", who: admins, right: "smtpserver_write", handler: s.deleteServer},
		{method: "POST", path: "/smtpserver/send_test_email", who: admins, right: "smtpserver_write", handler: s.testServer},
	}
}

// servers answers GET /smtpserver/: the definitions by identifier, secrets censored. tls_verify, ca_file and
// ehlo_name are ours.
func (s *server) servers(w http.ResponseWriter, r *http.Request) error {
	list, err := s.Servers.List(r.Context())
	if err != nil {
		return err
	}
	all := make(object, len(list))
	for _, one := range list {
		all[one.Identifier] = fieldsOf(one)
	}
	return answer(w, r, all)
}

func fieldsOf(one mail.Server) object {
	return object{
		"server": one.Server, "port": one.Port, "username": one.Username, "password": mail.Censored, "sender": one.Sender,
		"tls": one.TLS, "description": one.Description, "timeout": int(one.Timeout / time.Second), "enqueue_job": one.EnqueueJob,
		"smime": one.SMIME, "dont_send_on_error": one.DontSendOnError, "private_key": one.PrivateKey,
		"private_key_password": mail.Censored, "certificate": one.Certificate,
		"tls_verify": one.TLSVerify, "ca_file": one.CAFile, "ehlo_name": one.EHLOName,
	}
}

// oneServer answers GET /smtpserver/<identifier> (ours): the fields of the list, secrets empty where none is
// stored, the identifier, the revision to give back with a change, and what the S/MIME certificate says (null: none
// is named; its dates are null when it cannot be read).
func (s *server) oneServer(w http.ResponseWriter, r *http.Request) error {
	identifier, err := pathOf(r, "identifier")
	if err != nil {
		return err
	}
	one, err := s.Servers.Definition(r.Context(), identifier)
	if err != nil {
		return err
	}
	value := fieldsOf(one.Server)
	value["identifier"], value["revision"], value["smime_certificate"] = one.Identifier, one.Revision, nil
	value["password"], value["private_key_password"] = one.Password.Reveal(), one.PrivateKeyPassword.Reveal() // censored
	if c := one.Certificate; c != nil {
		certificate := object{"subject": c.Subject, "issuer": c.Issuer, "not_before": nil, "not_after": nil, "emails": c.Emails, "error": nil}
		if !c.NotAfter.IsZero() {
			certificate["not_before"], certificate["not_after"] = stamp(c.NotBefore), stamp(c.NotAfter)
		}
		if c.Problem != nil {
			certificate["error"] = c.Problem.Error()
			note(w, c.Problem.Field, c.Problem.Key, c.Problem.Args...)
		}
		value["smime_certificate"] = certificate
	}
	return answer(w, r, value)
}

// saveServer answers POST /smtpserver/<identifier>: what the form leaves out is reset to its default. When a stored
// password is gone because its target changed, certificates will not be verified, or mails cannot be signed, the
// answer says so. Two parameters are ours: revision (mail.Change.Revision; the answer then tells the new one) and
// check (mail.Change.Strict).
func (s *server) saveServer(w http.ResponseWriter, r *http.Request) error {
	identifier, err := pathOf(r, "identifier")
	if err != nil {
		return err
	}
	p := paramsOf(r)
	form, err := serverForm(identifier, p)
	if err != nil {
		return err
	}
	change := mail.Change{Server: form}
	if change.Strict, err = p.Bool("check", false); err != nil {
		return err
	}
	if p.Text("revision") != "" {
		n, err := p.Int("revision", 0, 0, math.MaxInt)
		if err != nil {
			return err
		}
		revision := int64(n)
		change.Revision = &revision
	}
	callOf(r).entry.Info = identifier
	saved, err := s.Servers.Change(r.Context(), change)
	if err != nil {
		return err
	}
	detail := object{}
	if change.Revision != nil {
		detail["revision"] = saved.Revision
	}
	if saved.Cleared {
		detail["secret_cleared"] = true
		detail["message"] = "The stored password was cleared, because server, port, username, tls or tls_verify changed. Type it again."
	}
	if !form.TLSVerify {
		s.warnUnverified(form)
		off := &mail.Finding{Field: "tls_verify", Key: "unverified", Message: unverified}
		saved.Warnings = slices.Insert(saved.Warnings, 0, off)
	}
	warn(w, detail, saved.Warnings)
	if len(detail) == 0 {
		return answer(w, r, true)
	}
	return succeed(w, r, success{value: true, detail: detail})
}

const unverified = "it is off: whoever stands between this server and the mail server can read the mails, the codes in them and the password."

// warn puts warnings into detail, once for people and once field by field.
func warn(w http.ResponseWriter, detail object, warnings []*mail.Finding) {
	if len(warnings) == 0 {
		return
	}
	list, texts := make([]object, len(warnings)), make([]string, len(warnings))
	for i, f := range warnings {
		list[i], texts[i] = object{"field": f.Field, "message": f.Message}, f.Error()
		note(w, f.Field, f.Key, f.Args...)
	}
	detail["warning"], detail["warnings"] = strings.Join(texts, " "), list
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

// serverForm reads the fields of a definition. A port or time-out of 0 is the default (recorded: smtpserver.json,
// "create timeout zero"); tls_verify is on unless it is switched off.
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
