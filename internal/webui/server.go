package webui

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
)

// serverPage is the data of the form of an SMTP server.
type serverPage struct {
	New       bool
	Server    server // as it is saved
	Revision  string
	CodesBy   string // the server for codes when the form was made; '': none
	Groups    []group
	Above     string // what is wrong with the form as a whole
	Saved     bool
	Conflict  bool // another administrator was faster: the form has the revision that is saved now, and shows the differences
	Warnings  []string
	Recipient field
	Report    *report // of a test mail
}

// value returns what stands in a field of the form.
func (p serverPage) value(name string) string {
	for _, f := range fields(p.Groups) {
		if f.Name == name {
			return f.Value
		}
	}
	return ""
}

// Identifier returns the identifier that stands in the form; Target the mail server.
func (p serverPage) Identifier() string { return p.value("identifier") }

// Target returns the mail server that stands in the form, as server:port.
func (p serverPage) Target() string {
	port, _ := strconv.Atoi(p.value("port")) // one that is no number was refused before
	return server{Server: p.value("server"), Port: port}.Address()
}

// HasCodes reports whether the codes leave by the server that the form was made of.
func (p serverPage) HasCodes() bool { return !p.New && p.CodesBy == p.Identifier() }

// group is a part of a long form.
type group struct {
	Text   string // key of its legend
	Fields []field
}

// form returns the fields of an SMTP server in their groups: the original's, with its labels, and those of ours.
func (v *visit) form(s server, isNew bool, note string, forCodes bool) []group {
	text := func(name, value string, most int, more ...func(*field)) field {
		f := field{Name: name, Text: "server." + name, Type: "text", Value: value, Max: most}
		for _, change := range more {
			change(&f)
		}
		return f
	}
	box := func(name string, on bool) field {
		return field{Name: name, Text: "server." + name, Type: "checkbox", Checked: on}
	}
	required := func(f *field) { f.Required = true }
	hint := func(text string) func(*field) { return func(f *field) { f.Hint = text } }
	kind := func(name string) func(*field) { return func(f *field) { f.Type, f.Complete = name, "off" } }
	fixed := func(f *field) { f.Fixed = !isNew }
	queue, codes := box("enqueue_job", s.Queue), box("for_codes", forCodes)
	queue.Note = note
	codes.Fixed = !v.session.may("configwrite")
	return []group{
		{"server.group.what", []field{
			text("identifier", s.Identifier, 255, required, fixed, hint("mySmtpServer")), text("server", s.Server, 255, required, hint("mail.example.com")),
			text("port", number0(s.Port), 5, kind("number"), hint("25")), text("sender", s.Sender, 500, required, hint("otpost@example.com")),
			text("description", s.Description, 2000, kind("textarea"))}},
		{"server.group.queue", []field{queue, codes}},
		{"server.group.login", []field{text("username", s.Username, 255, func(f *field) { f.Complete = "off" }),
			text("password", s.Password, 255, func(f *field) { f.Type, f.Complete = "password", "new-password" })}},
		{"server.group.way", []field{box("tls", s.TLS), box("tls_verify", s.TLSVerify), text("ca_file", s.CAFile, 1000, hint("/etc/otpost/ca.pem")),
			text("ehlo_name", s.EHLOName, 255, hint("login.example.com")), text("timeout", number0(s.Timeout), 3, kind("number"), hint("10"))}},
		{"server.group.smime", []field{box("smime", s.SMIME), text("certificate", s.Certificate, 1000), text("private_key", s.PrivateKey, 1000),
			text("private_key_password", s.PrivateKeyPassword, 255, func(f *field) { f.Type, f.Complete = "password", "new-password" }),
			box("dont_send_on_error", s.DontSendOnError)}},
	}
}

// number0 returns a number, "" for 0.
func number0(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

// fields returns all fields of a form.
func fields(groups []group) []*field {
	var all []*field
	for i := range groups {
		for j := range groups[i].Fields {
			all = append(all, &groups[i].Fields[j])
		}
	}
	return all
}

// newServer shows an empty form: StartTLS and verification on, as the original's page has it, and the queue where
// there is one.
func (v *visit) newServer() error {
	q, err := v.queue()
	if err != nil {
		return err
	}
	forCodes, err := v.serverForCodes()
	if err != nil {
		return err
	}
	fresh := server{Port: 25, Timeout: 10, TLS: true, TLSVerify: true}
	v.showServer(http.StatusOK, serverPage{New: true, Revision: "0", CodesBy: forCodes, Groups: v.form(fresh, true, v.note(q), forCodes == "")})
	return nil
}

// server shows the form of a saved server.
func (v *visit) server() error {
	p, err := v.savedServer(v.r.PathValue("identifier"))
	if err != nil {
		return err
	}
	v.showServer(http.StatusOK, p)
	return nil
}

// savedServer reads a server into its form.
func (v *visit) savedServer(identifier string) (serverPage, error) {
	var p serverPage
	a, err := v.call(http.MethodGet, pathTo("smtpserver", identifier), nil)
	if err != nil {
		return p, err
	}
	if err := json.Unmarshal(a.Value, &p.Server); err != nil {
		return p, fmt.Errorf("read the SMTP server: %w", err)
	}
	if c := p.Server.SMIMECertificate; c != nil && c.Error != "" {
		is := a.about(0)
		c.Error = v.text.fault(is.key, is.args, c.Error)
	}
	q, err := v.queue()
	if err != nil {
		return p, err
	}
	forCodes, err := v.serverForCodes()
	p.Revision, p.CodesBy = strconv.FormatInt(p.Server.Revision, 10), forCodes
	p.Groups = v.form(p.Server, false, v.note(q), forCodes == identifier)
	return p, err
}

func (v *visit) showServer(status int, p serverPage) {
	if p.Recipient.Name == "" {
		p.Recipient = v.recipient()
	}
	v.show(status, "server", p)
}

// recipient returns the field of who gets the test mail.
func (v *visit) recipient() field {
	return field{Name: "recipient", Text: "server.recipient", Type: "text", Complete: "email", Hint: "you@example.com", Max: 254, Value: v.r.PostForm.Get("recipient")}
}

// typedServer returns the form as it was sent, over what is saved.
func (v *visit) typedServer() (serverPage, error) {
	form := v.r.PostForm
	p := serverPage{New: form.Get("revision") == "0", Revision: form.Get("revision"), CodesBy: form.Get("codes_by")}
	p.Server.Identifier = form.Get("identifier")
	q, err := v.queue()
	if err != nil {
		return p, err
	}
	p.Groups = v.form(server{}, p.New, v.note(q), false)
	for _, f := range fields(p.Groups) {
		if f.Name == "for_codes" && f.Fixed { // a browser sends nothing of it
			form.Del(f.Name)
			if p.CodesBy == p.Server.Identifier {
				form.Set(f.Name, "1")
			}
		}
	}
	fill(fields(p.Groups), form)
	return p, nil
}
