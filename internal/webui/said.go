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

// saidOfPIN returns a sentence of /validate/... about name and PIN in the visitor's language, where there is one. The sample login
// tells strangers neither which users there are nor how their tokens stand: until the PIN is right there is one sentence for all.
func (v *visit) saidOfPIN(message string) string {
	key := saidKey(message)
	switch {
	case v.stranger() && key != "try.unsent":
		key = "try.wrongpin"
	case key == "":
		return message
	}
	return v.text.say(key)
}

// saidOfCode is saidOfPIN for the step of the code. That a token is locked is told: ten wrong codes lead there.
func (v *visit) saidOfCode(message string) string {
	key := saidKey(message)
	switch {
	case v.stranger() && key != "try.locked":
		key = "try.wrongcode"
	case key == "":
		return message
	}
	return v.text.say(key)
}

// stranger reports whether the page is the sample login, which everybody may open.
func (v *visit) stranger() bool { return v.r.URL.Path == pathLogin }
