package webui

import "strings"

// checkDetail is the part of POST /validate/check's detail that a login page reads.
type checkDetail struct {
	Message       string
	TransactionID string `json:"transaction_id"`
	Serial        string
}

// saidKey returns the text that says a sentence of /validate/... in the visitor's language; "" where
// there is none.
func saidKey(message string) string {
	switch message {
	case "wrong otp pin":
		return "try.wrongpin"
	case "Response did not match the challenge.", "wrong otp value", "wrong otp value. previous otp used again":
		return "try.wrongcode"
	case "The user has no tokens assigned":
		return "try.notoken"
	case "Failcounter exceeded":
		return "try.locked"
	case "Token is disabled":
		return "try.disabled"
	case "The PIN was correct, but the EMail could not be sent!":
		return "try.unsent"
	}
	if strings.HasPrefix(message, "Response did not match for ") {
		return "try.wrongcode"
	}
	return ""
}

// said returns a sentence of /validate/... in the visitor's language, where there is one. The sample login tells nobody which users
// there are: one without a token gets the sentence of a wrong PIN.
func (v *visit) said(message string) string {
	key := saidKey(message)
	switch {
	case key == "":
		return message
	case key == "try.notoken" && v.r.URL.Path != pathTry:
		key = "try.wrongpin"
	}
	return v.text.say(key)
}
