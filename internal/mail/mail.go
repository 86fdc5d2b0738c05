// Package mail sends messages to mail servers.
//
// It keeps the servers' records, writes messages as MIME, and reads the replies of a server. It
// promises: a Result says exactly how far a message came and what the server replied; no text of a
// server leaves the package unscrubbed. delivery decides whether and when to try again.
package mail

import (
	"time"

	"otpost/internal/smtp"
)

// Phase is a step of a session, with time, reply and certificates, scrubbed.
type Phase = smtp.PhaseReport

// Write is the question to a Journal, under the name of this package.
type Write = smtp.Write

// Message is one message to one recipient, with the limits for its sending.
type Message struct {
	ID        string // the caller's ID, passed to the journal
	MessageID string // left@right, without brackets
	Recipient string
	Subject   string
	Body      string
	MIMEType  string // plain (also for "") or html
	Date      time.Time

	NotAfter time.Time        // the dot is written before it or not at all; no phase before the dot lasts longer
	ReplyBy  func() time.Time // called at the dot: the end of the wait for its reply
	Journal  smtp.Journal     // called before envelope and dot
	MayWrite func() error     // the last check, after the journal and before the dot; nil: none
	Secrets  []string         // removed from the server's texts, besides recipient and credentials
}

// Class is the class of a server's reply, or of its absence, for a message.
type Class string

// The classes.
const (
	Accepted    Class = "accepted"    // 2xx to the dot
	Temporary   Class = "temporary"   // 4xx
	Permanent   Class = "permanent"   // 5xx, or a message that this server can never send
	Unreachable Class = "unreachable" // no connection, a TLS error or no reply, before the dot was written
	Unknown     Class = "unknown"     // the dot may have been written, and no reply came
	Late        Class = "late"        // the journal allowed the dot, and it was not written: too late
	Unwanted    Class = "unwanted"    // the journal refused, and nothing was sent; Err is its error
)

// Result is the result of sending a message.
type Result struct {
	Class      Class
	Phase      smtp.Phase // where it ended
	Code       int        // of the reply; 0: none
	Enhanced   string     // RFC 3463
	Text       string     // of the reply or of the error, scrubbed
	DotWritten bool       // false: certainly no content reached the server
	Phases     []Phase
	Diagnosis  Diagnosis // the cause, for administrators; empty: none
	Err        error     // of Unwanted: the journal's; else nil
}
