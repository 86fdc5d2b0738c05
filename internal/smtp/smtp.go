// Package smtp is an SMTP client that says how far a message came.
//
// It speaks RFC 5321: it opens a session (STARTTLS of RFC 3207 or TLS from the start, AUTH of RFC 4954) and sends one message
// after the other. It promises: nothing of a message's content is written before the journal has agreed to its dot; a result
// tells whether the dot may have reached the server; every text of the server leaves the package scrubbed. What it does not:
// decide whether or when to try again.
package smtp

import (
	"context"
	"fmt"
)

// Phase is a step of a session or a transaction, in this order.
type Phase string

// The phases.
const (
	PhaseDNS     Phase = "dns"
	PhaseConnect Phase = "connect" // up to the greeting
	PhaseTLS     Phase = "tls"
	PhaseEHLO    Phase = "ehlo"
	PhaseAuth    Phase = "auth"
	PhaseMail    Phase = "mail"
	PhaseRcpt    Phase = "rcpt"
	PhaseData    Phase = "data"  // up to the 354, and the writing of the content
	PhaseReply   Phase = "reply" // to the dot
)

// Journal is asked before each write that carries envelopes or dots. An error keeps the write back and closes the connection:
// nothing was sent.
type Journal interface {
	BeforeWrite(ctx context.Context, w Write) error
}

// Write names the messages, as the caller named them, whose envelopes (MAIL) and dots a write carries.
type Write struct{ Envelopes, Dots []string }

// Reply is a server's reply (RFC 5321 section 4.2). Its text cannot be had unscrubbed.
type Reply struct {
	Code     int    // 200 to 599
	Enhanced string // RFC 3463, such as 5.1.1; empty when the server gave none
	text     string // as it came, lines joined by \n
}

// Text returns the reply's text without the given strings and their Base64, without control characters, as valid UTF-8 of at
// most 256 bytes. Give it everything that must not be kept: code, recipient, credentials.
func (r Reply) Text(remove ...string) string {
	return Scrub(r.text, remove...)
}

// Error says in which phase a session or transaction ended, and by which reply (Code 0: none).
type Error struct {
	Phase Phase
	Reply Reply
	Err   error // when there is no reply: what went wrong
}

// Error tells phase and code, not the server's text.
func (e *Error) Error() string {
	if e.Reply.Code != 0 {
		return fmt.Sprintf("smtp %s: %d %s", e.Phase, e.Reply.Code, e.Reply.Enhanced)
	}
	return fmt.Sprintf("smtp %s: %v", e.Phase, e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }
