package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"otpost/internal/fault"
	"otpost/internal/system"
)

// statuses is the one table of error number -> HTTP status (recorded in testdata/rest/errors.json and its neighbours; 409, 413
// and 503 are ours). A number that is missing here is answered as Internal.
var statuses = map[fault.Code]int{ //nolint:gochecknoglobals // a constant table
	fault.TokenAdmin:     http.StatusBadRequest,
	fault.Config:         http.StatusBadRequest,
	fault.Policy:         http.StatusForbidden,
	fault.NotFound:       http.StatusNotFound,
	fault.Usage:          http.StatusBadRequest,
	fault.User:           http.StatusBadRequest,
	fault.Parameter:      http.StatusBadRequest,
	fault.TokenLocked:    http.StatusBadRequest,
	fault.Assigned:       http.StatusBadRequest,
	fault.BadCredentials: http.StatusUnauthorized,
	fault.MissingUser:    http.StatusUnauthorized,
	fault.MissingToken:   http.StatusUnauthorized,
	fault.InvalidToken:   http.StatusUnauthorized,
	fault.ExpiredToken:   http.StatusUnauthorized,
	fault.WrongRole:      http.StatusUnauthorized,
	fault.Conflict:       http.StatusConflict,
	fault.TooLarge:       http.StatusRequestEntityTooLarge,
	fault.Busy:           http.StatusServiceUnavailable,
	fault.Internal:       http.StatusInternalServerError,
}

// public returns what a client may know of an error: status, number and sentence. Everything that is no fault is Internal with
// its fixed sentence.
func public(err error) (status int, code fault.Code, message string) {
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		err = fault.Wrap(err, fault.TooLarge, fmt.Sprintf("The request is larger than %d bytes.", tooLarge.Limit))
	}
	var value *system.ValueError
	if errors.As(err, &value) {
		err = fault.Wrap(err, fault.Parameter, "ERR905: "+value.Error())
	}
	var f *fault.Error
	if errors.As(err, &f) {
		if status, ok := statuses[f.Code]; ok && f.Code != fault.Internal {
			return status, f.Code, f.Message
		}
	}
	return http.StatusInternalServerError, fault.Internal, fault.InternalMessage
}

// gone reports whether the request failed because its client hung up.
func gone(ctx context.Context, err error) bool {
	return errors.Is(err, context.Canceled) && ctx.Err() != nil
}

// wrong returns fault 905 for a parameter with a value that cannot be used. hint says what would do.
func wrong(parameter, hint string) error {
	return fault.Newf(fault.Parameter, "ERR905: Parameter %s: %s", parameter, hint)
}
