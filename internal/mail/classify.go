package mail

import (
	"errors"

	"otpost/internal/smtp"
)

// classify returns the class for the end of a session or a transaction. The rows are those of
// docs/states.md.
//
//   - The journal refused: Unwanted. The caller that refused has decided about the message.
//   - The journal allowed the dot, and it was not written, because the message expired or the
//     connection broke before the end of the content was sent: Late. A server cannot have accepted a
//     message without its end.
//   - The dot may have been sent, and no valid reply came: Unknown.
//   - 2xx to the dot: Accepted.
//   - 4xx in any phase: Temporary.
//   - 5xx in any phase: Permanent. Also at greeting, EHLO, STARTTLS and AUTH: an administrator must
//     repair this, and further tries of one message do not help.
//   - The password would be sent unencrypted, no known AUTH mechanism, an address that needs SMTPUTF8
//     at a server without it: Permanent, because every further try fails, too.
//   - Everything else before the dot: Unreachable, because another address or a later try may succeed.
//     Examples are no address, no connection, a TLS error, no STARTTLS, silence, and a server that
//     breaks the protocol or sends an unexpected 2xx or 3xx.
func classify(o smtp.Outcome) Class {
	switch {
	case o.Refused:
		return Unwanted
	case o.Late:
		return Late
	case o.Accepted():
		return Accepted
	case o.Reply.Code/100 == 4:
		return Temporary
	case o.Reply.Code/100 == 5:
		return Permanent
	case o.DotWritten:
		return Unknown
	case errors.Is(o.Err, smtp.ErrPlaintext), errors.Is(o.Err, smtp.ErrNoAuth), errors.Is(o.Err, smtp.ErrUTF8),
		errors.Is(o.Err, smtp.ErrContent):
		return Permanent
	}
	return Unreachable
}
