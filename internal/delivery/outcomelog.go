package delivery

import (
	"context"
	"log/slog"
)

// advice says what to do about an end that no server has caused; "" for any other.
func (why Reason) advice() string {
	switch why {
	case NoSecret:
		return "type the password at the SMTP server again and save it, or put its key file (PI_ENCFILE) back"
	case NoRoute:
		return "define the SMTP server again, or choose another one in email.identifier"
	case Unreadable:
		return "put the key file (PI_ENCFILE) of this message back; without it the user starts a new login"
	case Damaged:
		return "restore the row from a backup, or let the user start a new login; the key file is the right one"
	case NoServer:
		return "text= has the database's error: mend it; the lines of the same time say more"
	case NoWorker:
		return "start a worker: otpost worker"
	case Interrupted:
		return "read the lines before this one: " +
			"the database or the SMTP server's definition could not be read or written"
	}
	return ""
}

// logOutcome writes the one log line of an outcome: ERROR when the mail will not be sent, WARN when it is
// tried again, INFO when it was accepted, its code was answered or no waiter is left. The writer of the state
// calls it.
func (s *Service) logOutcome(log *slog.Logger, d row, c change) {
	level, message := slog.LevelError, "not sent"
	switch c.state {
	case Accepted:
		level, message = slog.LevelInfo, "accepted"
	case Dropped:
		level, message = slog.LevelInfo, "dropped"
	case Deferred:
		level, message = slog.LevelWarn, "deferred"
	case Unknown:
		message = "may not have been sent"
		if c.reason == Answered {
			level, message = slog.LevelInfo, "sent, for its code was answered"
		}
	}
	args := []any{
		"state", string(c.state), "server", d.route, "recipient", d.recipient, "serial", d.serial,
		"delivery", d.id, "attempt", c.attempts,
	}
	if c.reason != "" {
		args = append(args, "reason", c.reason.String())
	}
	if todo := c.reason.advice(); todo != "" {
		args = append(args, "advice", todo)
	}
	var r Result
	if c.met != nil {
		r = *c.met
	}
	if r.Phase != "" {
		args = append(args, "phase", r.Phase)
	}
	if r.Code != 0 {
		args = append(args, "code", r.Code, "enhanced", r.Enhanced)
	}
	if r.Text != "" {
		args = append(args, "text", r.Text)
	}
	if c.state == Deferred {
		args = append(args, "next_try", c.nextTry, "valid_until", d.notAfter)
	}
	log.Log(context.Background(), level, d.channel+" "+message, args...)
}
