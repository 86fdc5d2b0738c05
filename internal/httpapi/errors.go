package httpapi

import (
	"context"
	"errors"
	"net/http"

	"otpost/internal/fault"
)

// statuses is the one table of error number -> HTTP status (recorded in testdata/rest/errors.json and its neighbours;
// otpost adds 409, 413 and 503). A number that is missing here is answered as Internal.
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

// public returns what a client may know of an error, and its HTTP status. Each error that is no fault, and each
// fault with a number that is missing in statuses, is Internal with its fixed sentence.
func public(err error) (int, *fault.Error) {
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		err = fault.Newf(fault.TooLarge, "too_large", "The request is larger than %d bytes.", tooLarge.Limit)
	}
	var f *fault.Error
	if errors.As(err, &f) {
		if status, ok := statuses[f.Code]; ok && f.Code != fault.Internal {
			return status, f
		}
	}
	return http.StatusInternalServerError, fault.New(fault.Internal, "internal", fault.InternalMessage)
}

// gone reports whether the request failed because its client hung up.
func gone(ctx context.Context, err error) bool {
	return errors.Is(err, context.Canceled) && ctx.Err() != nil
}
