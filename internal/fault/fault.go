// Package fault is the error that a client may read.
//
// It joins a privacyIDEA error number and a public sentence with a private cause. The sentence goes into the
// answer, the cause into the log alone. Every other error that reaches the HTTP edge becomes 500 with one fixed
// sentence.
package fault

import (
	"errors"
	"fmt"
)

// Code is an error number of privacyIDEA's REST API (recorded in testdata/rest/errors.json and its neighbours).
type Code int

// The numbers that otpost answers with.
const (
	TokenAdmin      Code = 301  // an administrative act on a token is impossible
	Config          Code = 302  // a configuration object is in use or contradicts another
	Policy          Code = 303  // the caller lacks the right
	NotFound        Code = 601  // the named object does not exist
	Usage           Code = 77   // a call without any parameter that it understands
	User            Code = 904  // the user does not exist
	Parameter       Code = 905  // a parameter is missing, contradicts another or has a wrong value
	TokenLocked     Code = 1007 // the token is revoked or locked
	Assigned        Code = 1103 // the token belongs to another user
	BadCredentials  Code = 4031 // wrong user name or password
	MissingUser     Code = 4032 // no user name was given
	MissingToken    Code = 4033 // no Authorization header was given
	InvalidToken    Code = 4304 // the session token cannot be read or is not ours
	ExpiredToken    Code = 4305 // the session token is too old
	WrongRole       Code = 4306 // the session token is of a role that may not call this
	Conflict        Code = 4009 // the object is in a state that forbids the act (ours; answers 409)
	TooLarge        Code = 4013 // the request is larger than we take (ours; answers 413)
	Busy            Code = 5003 // out of hashing slots or of another bounded resource (ours; answers 503)
	Internal        Code = -500 // anything unforeseen
	InternalMessage      = "500 Internal Server Error: The server encountered an internal error and was unable to complete your request. The log of the server has the cause."
)

// Error is an error with a number and a sentence for the client and a cause for the log.
type Error struct {
	Code    Code
	Field   string // the parameter at fault, as REST names it; empty when the fault is about none
	Key     string // names the sentence in every language: the pages' text fault.<Key>
	Args    []any  // texts and numbers that the sentence contains, in the order of Message. No secret is among them
	Message string // what a client may read, in English, as recorded
	Err     error  // the cause, for the log alone; may be nil
}

// New returns an Error without a cause.
func New(code Code, key, message string) *Error {
	return &Error{Code: code, Key: key, Message: message}
}

// Newf is New with a formatted sentence. No secret may be among the arguments.
func Newf(code Code, key, format string, args ...any) *Error {
	return &Error{Code: code, Key: key, Args: args, Message: fmt.Sprintf(format, args...)}
}

// Wrap returns an Error that hides err behind a public sentence.
func Wrap(err error, code Code, key, message string) *Error {
	return &Error{Code: code, Key: key, Message: message, Err: err}
}

// Wrong returns fault 905 about a parameter. The hint, formatted with args, says which value it takes.
func Wrong(parameter, key, hint string, args ...any) *Error {
	return &Error{
		Code:    Parameter,
		Field:   parameter,
		Key:     key,
		Args:    args,
		Message: "ERR905: Parameter " + parameter + ": " + fmt.Sprintf(hint, args...),
	}
}

// Missing returns the recorded error for a parameter that was not given.
func Missing(parameter string) *Error {
	e := New(Parameter, "missing", "ERR905: Missing parameter: "+parameter)
	return e.About(parameter)
}

// About names the parameter at fault and returns e.
func (e *Error) About(parameter string) *Error {
	e.Field = parameter
	return e
}

// Because names the cause and returns e.
func (e *Error) Because(cause error) *Error {
	e.Err = cause
	return e
}

// NoSlot returns the error for a request that found no hashing slot in time: nothing was counted, and the client
// may try again. The caller decides which error of a package means that.
func NoSlot(cause error) *Error {
	return Wrap(cause, Busy, "busy", "The server is busy. Please try again.")
}

// Error returns number, sentence and cause, for the log.
func (e *Error) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("%s (%d)", e.Message, e.Code)
	}
	return fmt.Sprintf("%s (%d): %v", e.Message, e.Code, e.Err)
}

// Unwrap returns the cause or nil.
func (e *Error) Unwrap() error { return e.Err }

// CodeOf returns the number of the first Error in err's chain, and Internal when there is none.
func CodeOf(err error) Code {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return Internal
}
