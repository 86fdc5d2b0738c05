package webui

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
)

// refusal says why something was not done: a refusal of the REST API, or of a page itself.
type refusal struct {
	Status  int    // HTTP
	Code    int    // privacyIDEA's number; 0: of a page
	Message string // for people, without its number
	Field   string // the parameter that it is about; ''
	Ours    bool   // the message is in the visitor's language
}

// Error implements error.
func (e *refusal) Error() string { return fmt.Sprintf("%s (%d)", e.Message, e.Code) }

// refusal returns a page's own, in the visitor's language.
func (v *visit) refusal(status int, key string, values ...any) *refusal {
	return &refusal{Status: status, Message: v.text.say(key, values...), Ours: true}
}

// speak puts a refusal of the API into a language. What is wrong inside it is told by a sentence of the pages: the API's begins
// with HTTP's words.
func (e *refusal) speak(l *language) {
	if e.Status == http.StatusInternalServerError {
		e.Message, e.Ours = l.say("error.internal"), true
		return
	}
	e.Message, e.Ours = l.translate(e.Message)
}

// missing is what to do about a field that must not be empty.
const missing = "Fill in this field"

// What refusals of a parameter look like (fault.Missing and httpapi's wrong; compatibility.md).
var (
	aboutParameter = regexp.MustCompile(`(?s)^Parameter ([\w.]+): (.*)$`)
	aboutMissing   = regexp.MustCompile(`^Missing parameter: '?([\w.]+)'?$`)
	number         = regexp.MustCompile(`^ERR\d+: `)
)

// newRefusal reads which field a refusal is about.
func newRefusal(status, code int, message string) *refusal {
	e := &refusal{Status: status, Code: code, Message: number.ReplaceAllString(message, "")}
	if m := aboutParameter.FindStringSubmatch(e.Message); m != nil {
		e.Field, e.Message = m[1], m[2]
	}
	if m := aboutMissing.FindStringSubmatch(e.Message); m != nil {
		e.Field, e.Message = m[1], missing
	}
	e.Message = sentence(e.Message)
	return e
}

// sentence begins a text with a capital letter.
func sentence(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// status returns the HTTP status of a refusal, 0 for every other error.
func status(err error) int {
	var e *refusal
	if errors.As(err, &e) {
		return e.Status
	}
	return 0
}
