package webui

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
)

// testRoute is what stands in the API's address of test mails where others have an identifier: none may be called so.
const testRoute = "send_test_email"

// saveServer saves the form. Of two administrators who change a server the second is told, and keeps what he typed.
// With ?test=1 a test mail is sent and nothing saved.
func (v *visit) saveServer() error {
	if v.r.URL.Query().Has("test") {
		return v.testServer()
	}
	p, err := v.typedServer()
	if err != nil {
		return err
	}
	form := v.r.PostForm
	identifier := form.Get("identifier")
	if key := unaddressable(identifier); key != "" {
		return v.serverRefused(p, v.wrongField("identifier", key))
	}
	codes := choice{identifier: identifier, loaded: p.CodesBy, ticked: form.Get("for_codes") != ""}
	if by, err := v.overtakenCodes(codes); err != nil || by != "" {
		return v.codesOvertaken(p, by, err)
	}
	asked := p.params(form)
	asked.Set("revision", p.Revision)
	asked.Set("check", "1")
	a, err := v.call(http.MethodPost, pathTo("smtpserver", identifier), asked)
	if err != nil {
		return v.serverRefused(p, err)
	}
	if err := v.chooseForCodes(codes); err != nil {
		return err
	}
	return v.serverSaved(identifier, a)
}

// unaddressable returns the key of the refusal of an identifier that the API cannot be asked for by its address;
// empty for all others.
func unaddressable(identifier string) string {
	switch {
	case identifier == "":
		return "missing"
	case identifier == testRoute:
		return "identifier_of_tests"
	case dots(identifier):
		return unusable
	}
	return ""
}

// codesOvertaken shows the form again when another administrator has chosen a server for the codes meanwhile.
// Nothing is saved. Saving again replaces that choice.
func (v *visit) codesOvertaken(p serverPage, by string, err error) error {
	if err != nil {
		return v.serverRefused(p, err)
	}
	p.CodesBy = by
	for _, f := range fields(p.Groups) {
		if f.Name == "for_codes" {
			f.Error = v.text.say("codes.overtaken", by)
		}
	}
	v.showServer(http.StatusConflict, p)
	return nil
}

// params returns the parameters of REST for the form.
func (p serverPage) params(form url.Values) url.Values {
	asked := params(fields(p.Groups), form)
	asked.Del("for_codes") // a setting
	return asked
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
	for i, w := range detail.Warnings {
		is := a.about(i)
		p.warn(w.Field, v.text.fault(is.key, is.args, w.Message))
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
	var e *refusal
	if errors.As(err, &e) && e.Status == http.StatusConflict {
		if !p.New {
			return v.overtaken(p, e)
		}
		e.Field = "identifier"
	}
	code := max(http.StatusBadRequest, status(err))
	if p.Above, err = v.blame(fields(p.Groups), err); err != nil {
		return err
	}
	v.showServer(code, p)
	return nil
}

// overtaken shows the form again when another administrator has saved the server meanwhile. What was typed stays, and
// the saved values are beside it. Saving again replaces them; a server that was deleted is then created.
func (v *visit) overtaken(p serverPage, e *refusal) error {
	now, err := v.savedServer(p.Server.Identifier)
	switch {
	case status(err) == http.StatusNotFound:
		p.Above, p.New, p.Revision = e.Message, true, "0"
		for _, f := range fields(p.Groups) {
			if f.Type == "password" && f.Value == censored {
				f.Value = ""
			}
			f.Fixed = false
		}
	case err != nil:
		return err
	default:
		p.Conflict, p.Revision, p.CodesBy, p.Server = true, now.Revision, now.CodesBy, now.Server
		saved := fields(now.Groups)
		for i, f := range fields(p.Groups) {
			f.Note = v.differs(*f, *saved[i])
		}
	}
	v.showServer(http.StatusConflict, p)
	return nil
}

// censored stands for a stored secret.
const censored = "__CENSORED__"

// differs returns what is saved where something else stands in the form, "" where both are the same.
func (v *visit) differs(typed, saved field) string {
	switch {
	case typed.Type == "password" || typed.Checked == saved.Checked && ofLines(typed.Value) == ofLines(saved.Value):
		return saved.Note
	case typed.Type == "checkbox" && saved.Checked:
		return v.text.say("server.saved.on")
	case typed.Type == "checkbox":
		return v.text.say("server.saved.off")
	case saved.Value == "":
		return v.text.say("server.saved.empty")
	}
	return v.text.say("server.saved", saved.Value)
}

// ofLines returns a text with the line ends that anybody but a browser writes.
func ofLines(s string) string { return strings.ReplaceAll(s, "\r\n", "\n") }
