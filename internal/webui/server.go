package webui

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// serverPage is the data of the form of an SMTP server.
type serverPage struct {
	New       bool
	Server    server // as it is saved
	Revision  string
	Groups    []group
	Above     string // what is wrong with the form as a whole
	Saved     bool
	Conflict  bool // somebody else was faster
	Warnings  []string
	Recipient field
	Report    *report // of a test mail
}

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
	queue := box("enqueue_job", s.Queue)
	queue.Note = note
	return []group{
		{"server.group.what", []field{
			text("identifier", s.Identifier, 255, required, fixed, hint("mySmtpServer")), text("server", s.Server, 255, required, hint("mail.example.com")),
			text("port", number0(s.Port), 5, kind("number"), hint("25")), text("sender", s.Sender, 255, required, hint("otpost@example.com")),
			text("description", s.Description, 255)}},
		{"server.group.queue", []field{queue, box("for_codes", forCodes)}},
		{"server.group.login", []field{text("username", s.Username, 255, func(f *field) { f.Complete = "off" }),
			text("password", s.Password, 255, func(f *field) { f.Type, f.Complete = "password", "new-password" })}},
		{"server.group.way", []field{box("tls", s.TLS), box("tls_verify", s.TLSVerify), text("ca_file", s.CAFile, 255, hint("/etc/otpost/ca.pem")),
			text("ehlo_name", s.EHLOName, 255, hint("login.example.com")), text("timeout", number0(s.Timeout), 3, kind("number"), hint("10"))}},
		{"server.group.smime", []field{box("smime", s.SMIME), text("certificate", s.Certificate, 255), text("private_key", s.PrivateKey, 255),
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

// newServer shows an empty form: StartTLS and verification on, as the original's page has it, and the queue where there is one.
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
	v.showServer(http.StatusOK, serverPage{New: true, Revision: "0", Groups: v.form(fresh, true, v.note(q), forCodes == "")})
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
	if err := v.get(pathTo("smtpserver", identifier), nil, &p.Server); err != nil {
		return p, err
	}
	q, err := v.queue()
	if err != nil {
		return p, err
	}
	forCodes, err := v.serverForCodes()
	p.Revision = strconv.FormatInt(p.Server.Revision, 10)
	p.Groups = v.form(p.Server, false, v.note(q), forCodes == identifier)
	return p, err
}

func (v *visit) showServer(status int, p serverPage) {
	if p.Recipient.Name == "" {
		p.Recipient = field{Name: "recipient", Text: "server.recipient", Type: "email", Complete: "email", Max: 254, Value: v.r.PostForm.Get("recipient")}
	}
	v.show(status, "server", p)
}

// typedServer returns the form as it was sent, over what is saved.
func (v *visit) typedServer() (serverPage, error) {
	form := v.r.PostForm
	p := serverPage{New: form.Get("revision") == "0", Revision: form.Get("revision")}
	q, err := v.queue()
	if err != nil {
		return p, err
	}
	p.Groups = v.form(server{}, p.New, v.note(q), false)
	fill(fields(p.Groups), form)
	return p, nil
}

// saveServer saves the form. Of two administrators who change a server the second is told, and keeps what he typed.
func (v *visit) saveServer() error {
	p, err := v.typedServer()
	if err != nil {
		return err
	}
	form := v.r.PostForm
	identifier := form.Get("identifier")
	if identifier == "" {
		return v.serverRefused(p, newAPIError(http.StatusBadRequest, 0, "ERR905: Missing parameter: identifier"))
	}
	asked := p.params(form)
	asked.Set("revision", p.Revision)
	asked.Set("check", "1")
	a, err := v.call(http.MethodPost, pathTo("smtpserver", identifier), asked)
	if err != nil {
		return v.serverRefused(p, err)
	}
	if err := v.chooseForCodes(identifier, form.Get("for_codes") != ""); err != nil {
		return err
	}
	return v.serverSaved(identifier, a)
}

// params returns the parameters of REST for the form.
func (p serverPage) params(form url.Values) url.Values {
	asked := params(fields(p.Groups), form)
	asked.Del("for_codes") // a setting
	return asked
}

// chooseForCodes writes or takes back that the codes of e-mail tokens leave by this server.
func (v *visit) chooseForCodes(identifier string, chosen bool) error {
	if !v.session.may("configwrite") {
		return nil
	}
	now, err := v.serverForCodes()
	switch {
	case err != nil:
		return err
	case chosen && now != identifier:
		_, err = v.call(http.MethodPost, "/system/setConfig", url.Values{codesSetting: {identifier}})
	case !chosen && now == identifier && v.session.may("configdelete"):
		_, err = v.call(http.MethodDelete, pathTo("system", codesSetting), nil)
	}
	return err
}

// serverSaved goes back to the list, or stays with what the API warns of.
func (v *visit) serverSaved(identifier string, a answer) error {
	var detail struct {
		Cleared  bool `json:"secret_cleared"`
		Warnings []struct{ Field, Message string }
	}
	if len(a.Detail) > 0 {
		if err := json.Unmarshal(a.Detail, &detail); err != nil {
			return err
		}
	}
	if !detail.Cleared && len(detail.Warnings) == 0 {
		return v.redirect("/ui/servers", "server_saved")
	}
	p, err := v.savedServer(identifier)
	if err != nil {
		return err
	}
	p.Saved = true
	if detail.Cleared {
		p.Warnings = append(p.Warnings, v.text.say("server.cleared"))
	}
	for _, w := range detail.Warnings {
		p.warn(w.Field, w.Message)
	}
	v.showServer(http.StatusOK, p)
	return nil
}

// warn puts a warning beside its field.
func (p *serverPage) warn(name, message string) {
	for _, f := range fields(p.Groups) {
		if f.Name == name {
			f.Note = message
			return
		}
	}
	p.Warnings = append(p.Warnings, message)
}

// serverRefused shows the form again, with what is wrong beside its field.
func (v *visit) serverRefused(p serverPage, err error) error {
	p.Conflict = status(err) == http.StatusConflict && !p.New
	above, other := v.blame(fields(p.Groups), err)
	if other != nil {
		return other
	}
	p.Above = above
	v.showServer(max(http.StatusBadRequest, status(err)), p)
	return nil
}

// report is what POST /smtpserver/send_test_email tells with report=1.
type report struct {
	Accepted  bool
	Message   string
	State     string
	Via       string
	Diagnosis struct{ Code, Sentence string }
	Attempts  []attempt
	At        time.Time
}

// testServer sends a test mail by what the form says, saved or not, and shows it step by step.
func (v *visit) testServer() error {
	p, err := v.typedServer()
	if err != nil {
		return err
	}
	asked := p.params(v.r.PostForm)
	asked.Set("recipient", v.r.PostForm.Get("recipient"))
	asked.Set("report", "1")
	p.Recipient = field{Name: "recipient", Text: "server.recipient", Type: "email", Complete: "email", Max: 254, Value: v.r.PostForm.Get("recipient")}
	a, err := v.call(http.MethodPost, "/smtpserver/send_test_email", asked)
	if err != nil {
		above, other := v.blame(append(fields(p.Groups), &p.Recipient), err)
		if other != nil {
			return other
		}
		p.Above = above
		v.showServer(http.StatusBadRequest, p)
		return nil
	}
	p.Report = &report{At: v.site.options.Now()}
	if err := json.Unmarshal(a.Detail, p.Report); err != nil {
		return err
	}
	if err := json.Unmarshal(a.Value, &p.Report.Accepted); err != nil {
		return err
	}
	v.showServer(http.StatusOK, p)
	return nil
}
