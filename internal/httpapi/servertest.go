package httpapi

import (
	"fmt"
	"net/http"
	"time"

	"otpost/internal/delivery"
	"otpost/internal/mail"
)

// The test mail's texts, as recorded (smtpserver.json, "test inline ok").
const (
	testSubject = "Test Email from privacyIDEA"
	testBody    = "This is a test email from privacyIDEA. The configuration %s is working."
)

// testServer answers POST /smtpserver/send_test_email: whether the server took the mail; if not, and with report=1 always, the
// story in detail: what to do about it, each attempt, each phase (the original answers 500).
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
	story, err := s.Delivery.Test(r.Context(), complete, recipient, testSubject, fmt.Sprintf(testBody, identifier))
	if err != nil {
		return err
	}
	c := callOf(r)
	c.entry.Info, c.entry.DeliveryID = identifier+": "+string(story.State), story.ID
	accepted := story.State == delivery.Accepted
	if accepted && !report {
		return answer(w, r, true)
	}
	return succeed(w, r, success{value: accepted, detail: diagnosed(story, complete)})
}

// diagnosed renders the story with what is wrong and what to do.
func diagnosed(story delivery.Story, server mail.Server) object {
	detail, code := storyOf(story), story.Diagnosis()
	sentence := server.Sentence(code)
	if sentence != "" {
		detail["message"] = sentence + " " + detail["message"].(string) //nolint:forcetypeassert // storyOf's
	}
	detail["diagnosis"] = object{"code": string(code), "sentence": sentence}
	return detail
}

// storyOf renders what became of a message. The recipient is masked and the replies are scrubbed already.
func storyOf(story delivery.Story) object {
	attempts := make([]object, len(story.Attempts))
	message := "The mail was not sent: "
	switch {
	case story.State == delivery.Accepted:
		message = "The mail was sent: "
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
		attempts[i] = renderAttempt(a)
		if story.State != delivery.Accepted && i == len(story.Attempts)-1 {
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
		"recipient": story.Recipient, "id": story.ID.String(), "message_id": story.MessageID, "attempts": attempts}
}

// optionalStamp returns null for a time that is not there.
func optionalStamp(t *time.Time) any {
	if t == nil {
		return nil
	}
	return stamp(*t)
}
