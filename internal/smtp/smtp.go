// Package smtp is an SMTP client that reports how far a message came.
//
// It speaks RFC 5321: it opens a session (STARTTLS of RFC 3207 or TLS from the start, AUTH of RFC
// 4954) and sends one message after the other. It promises: no content of a message is written
// before the journal has allowed its dot; an outcome says whether the dot may have reached the
// server; every text of the server leaves the package scrubbed. It does not decide whether or when
// to try again.
package smtp

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// Phase is a step of a session or a transaction, in this order.
type Phase string

// The phases.
const (
	PhaseDNS      Phase = "dns"
	PhaseConnect  Phase = "connect"  // TCP
	PhaseGreeting Phase = "greeting" // the server's first reply
	PhaseTLS      Phase = "tls"      // before the greeting for TLS from the start
	PhaseEHLO     Phase = "ehlo"
	PhaseAuth     Phase = "auth" // once for each mechanism that is tried
	PhaseMail     Phase = "mail"
	PhaseRcpt     Phase = "rcpt"
	PhaseData     Phase = "data"  // up to the 354, and the writing of the content
	PhaseReply    Phase = "reply" // to the dot
)

// Journal is called before the write of an envelope and before that of a dot. Its error prevents the write and closes
// the connection: nothing was sent.
type Journal interface {
	BeforeWrite(ctx context.Context, w Write) error
}

// Write is the envelope (MAIL) or the dot of a message.
type Write struct {
	ID  string // of the message
	Dot bool   // false: the envelope
}

// Reply is a server's reply (RFC 5321 section 4.2). Its text is available only scrubbed.
type Reply struct {
	Code     int    // 200 to 599
	Enhanced string // RFC 3463, such as 5.1.1; empty when the server gave none
	text     string // as it came, lines joined by \n
}

// Text returns the reply's text without the given strings and their Base64, without control
// characters, as valid UTF-8 of at most 256 bytes. Pass everything that must not be kept: code,
// recipient, credentials.
func (r Reply) Text(remove ...string) string {
	return Scrub(r.text, remove...)
}

// Mentions returns a function that reports whether one of the phrases begins at the begin of a word
// of the text: "greylist" is in "Greylisted by policy", "list" is not. Phrases are words of letters
// and digits in lower case. Text in angle brackets and words with an @ are skipped: they name hosts
// and people.
func (r Reply) Mentions() func(phrases ...string) bool {
	var b strings.Builder
	for _, word := range strings.Fields(strings.ToLower(r.text[:min(len(r.text), longestSearch)])) {
		if strings.HasPrefix(word, "<") || strings.Contains(word, "@") {
			continue
		}
		apart := func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }
		for _, part := range strings.FieldsFunc(word, apart) {
			b.WriteString(" " + part)
		}
	}
	text := b.String()
	return func(phrases ...string) bool {
		return slices.ContainsFunc(phrases, func(phrase string) bool { return strings.Contains(text, " "+phrase) })
	}
}

// longestSearch is how many bytes of a text are searched.
const longestSearch = 8 << 10

// Error says in which phase a session or transaction ended, and by which reply (Code 0: none).
type Error struct {
	Phase Phase
	Reply Reply
	Err   error // the cause when there is no reply
}

// Error returns phase and code, without the server's text.
func (e *Error) Error() string {
	if e.Reply.Code != 0 {
		return fmt.Sprintf("smtp %s: %d %s", e.Phase, e.Reply.Code, e.Reply.Enhanced)
	}
	return fmt.Sprintf("smtp %s: %v", e.Phase, e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }
