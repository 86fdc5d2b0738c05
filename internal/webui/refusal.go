package webui

import (
	"errors"
	"fmt"
	"net/http"
)

// refusal is why something was not done: a refusal of the REST API, or of a page itself.
type refusal struct {
	Status  int    // HTTP
	Code    int    // privacyIDEA's number; 0: the page refuses
	Key     string // names the sentence: its text is fault.<Key>; empty for a page's own
	Field   string // the parameter at fault; empty when the refusal is about none
	Message string // the sentence in the visitor's language
}

// Error implements error.
func (e *refusal) Error() string { return fmt.Sprintf("%s (%d)", e.Message, e.Code) }

// refusal returns a page's own, in the visitor's language.
func (v *visit) refusal(status int, key string, values ...any) *refusal {
	return &refusal{Status: status, Message: v.text.say(key, values...)}
}

// wrongField returns a page's refusal of a field, with the sentence that the API would answer.
func (v *visit) wrongField(field, key string) *refusal {
	return &refusal{Status: http.StatusBadRequest, Key: key, Field: field, Message: v.text.fault(key, nil, "")}
}

// status returns the HTTP status of a refusal, 0 for every other error.
func status(err error) int {
	var e *refusal
	if errors.As(err, &e) {
		return e.Status
	}
	return 0
}
