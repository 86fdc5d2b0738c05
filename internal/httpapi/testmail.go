package httpapi

import (
	"fmt"
	"net/http"

	"otpost/internal/delivery"
	"otpost/internal/fault"
	"otpost/internal/mail"
)

// The test mail's texts, as recorded (smtpserver.json, "test inline ok").
const (
	testSubject = "Test Email from privacyIDEA"
	testBody    = "This is a test email from privacyIDEA. The configuration %s is working."
)

// testServer answers POST /smtpserver/send_test_email: whether the server took the mail; if not, and with report=1
// always, the story in detail: what to do about it, each attempt, each phase (the original answers 500).
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
		return fault.Wrong("recipient", "recipient", "it is no address that mail can be sent to")
	}
	report, err := p.Bool("report", false)
	if err != nil {
		return err
	}
	complete, err := s.Servers.Complete(r.Context(), form)
	if err != nil {
		return err
	}
	if !complete.TLSVerify {
		s.warnUnverified(complete)
	}
	d, err := s.Delivery.TestMail(r.Context(), complete, recipient, testSubject, fmt.Sprintf(testBody, identifier))
	if err != nil {
		return err
	}
	c := callOf(r)
	c.entry.Info, c.entry.DeliveryID = identifier+": "+string(d.State), d.ID
	accepted := d.State == delivery.Accepted
	if accepted && !report {
		return answer(w, r, true)
	}
	return succeed(w, r, success{value: accepted, detail: renderDiagnosed(d, complete)})
}

// renderDiagnosed renders a test mail with what is wrong and what to do.
func renderDiagnosed(d delivery.Record, server mail.Server) object {
	detail, code := renderTest(d), d.Diagnosis()
	sentence := server.Sentence(mail.Diagnosis(code), lastReply(d))
	if sentence != "" {
		detail["message"] = sentence + " " + detail["message"].(string) //nolint:forcetypeassert // a string
	}
	detail["diagnosis"] = object{"code": string(code), "sentence": sentence}
	return detail
}

// lastReply returns the reply that ended the last attempt of a message; empty: none was made.
func lastReply(d delivery.Record) string {
	if len(d.Attempts) == 0 {
		return ""
	}
	last := d.Attempts[len(d.Attempts)-1]
	return mail.Words(last.Code, last.Enhanced, last.Text)
}

// renderTest renders what became of a test mail. The recipient is masked and the replies are scrubbed already.
func renderTest(d delivery.Record) object {
	attempts := make([]object, len(d.Attempts))
	message := "The mail was not sent: "
	switch {
	case d.State == delivery.Accepted:
		message = "The mail was sent: "
	case d.State == delivery.Unknown:
		message = "The mail may have been sent: "
	case !d.State.Final():
		message = "Whether the mail is sent is not known yet: "
	}
	message += string(d.State)
	if d.Reason != "" {
		message += " (" + string(d.Reason) + ")"
	}
	for i, a := range d.Attempts {
		attempts[i] = renderAttempt(a)
		if d.State != delivery.Accepted && i == len(d.Attempts)-1 {
			message += ". Last try: " + a.Class + " at " + a.Phase
			if a.Code != 0 {
				message += fmt.Sprintf(", reply %d", a.Code)
			}
			if a.Text != "" {
				message += ": " + a.Text
			}
		}
	}
	return object{"message": message, "state": string(d.State), "reason": string(d.Reason), "via": string(d.Via),
		"recipient": d.Recipient, "id": d.ID.String(), "message_id": d.MessageID, "attempts": attempts}
}
