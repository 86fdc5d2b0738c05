// Package mail hands messages to mail servers.
//
// It knows the servers' records, writes messages as MIME, and reads what a server says to one. It promises: a Result says
// exactly how far a message came and how the server judged it; no text of a server leaves the package unscrubbed. It decides
// nothing: whether and when to try again is delivery's business.
package mail

import (
	"time"

	"otpost/internal/smtp"
)

// Phase is one step of a session, with time, reply and certificates, scrubbed.
type Phase = smtp.PhaseReport

// Write is what a Journal is asked about, under the name that callers of this package use.
type Write = smtp.Write

// Message is one message to one recipient, with everything that its sending must keep to.
type Message struct {
	ID        string // the caller's name for it, told to the journal
	MessageID string // left@right, without brackets
	Recipient string
	Subject   string
	Body      string
	MIMEType  string // plain (also for "") or html
	ReplyTo   string // empty: the sender
	Date      time.Time

	NotAfter time.Time        // the dot is written before it or not at all; no phase before the dot outlasts it
	ReplyBy  func() time.Time // asked at the dot: how long its reply is awaited
	Journal  smtp.Journal     // asked before envelope and dot
	MayWrite func() error     // asked once more between the journal's yes to the dot and its writing; nil: always
	Secrets  []string         // taken out of the server's texts, besides recipient and credentials
}

// Class is what a server, or its silence, says about a message.
type Class string

// The classes.
const (
	Accepted    Class = "accepted"    // 2xx to the dot
	Temporary   Class = "temporary"   // 4xx
	Permanent   Class = "permanent"   // 5xx, or a message that can never be sent by this server
	Unreachable Class = "unreachable" // no connection, TLS trouble or silence, before the dot was written
	Unknown     Class = "unknown"     // the dot may have been written, no reply came
	Late        Class = "late"        // the journal agreed to the dot, and it was not written: too late
	Unwanted    Class = "unwanted"    // the journal refused: nothing was sent; Err holds its error
)

// Result says what happened to a message.
type Result struct {
	Class      Class
	Phase      smtp.Phase // where it ended
	Code       int        // of the reply; 0: none
	Enhanced   string     // RFC 3463
	Text       string     // of the reply or of what went wrong, scrubbed
	DotWritten bool       // false: surely nothing of the content reached the server
	Phases     []Phase
	Diagnosis  Diagnosis // what an administrator should look at; empty: nothing
	Err        error     // of Unwanted: the journal's; else nil
}
