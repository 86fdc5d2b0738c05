package mail

import (
	"errors"

	"otpost/internal/smtp"
)

// classify says what the end of a session or a transaction means for its message. The rows are those of docs/states.md.
//
//   - The journal refused: Unwanted. What becomes of the message was decided by whoever refused.
//   - The journal agreed to the dot, and it was not written (its time was over, or the connection broke before the end of the
//     content was out; a server cannot have taken a message without its end): Late.
//   - The dot may be out and no reply came, or what came was no reply: Unknown. Never anything better.
//   - 2xx to the dot: Accepted.
//   - 4xx, wherever it came: Temporary.
//   - 5xx, wherever it came: Permanent. At greeting, EHLO, STARTTLS and AUTH too: the server has refused us for good, which
//     an administrator mends, and the next tries of one message do not.
//   - The password would travel unencrypted, no known AUTH mechanism, an address that needs SMTPUTF8 at a server without it:
//     Permanent, for the same reason: every further try ends likewise.
//   - Everything else before the dot (no address, no connection, TLS trouble, STARTTLS missing, silence, a server that breaks the
//     protocol or answers 2xx or 3xx where it must not): Unreachable. Another address, another moment may help.
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
