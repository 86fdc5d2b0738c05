package mail

import (
	"bytes"
	"encoding/base64"
	"mime"
	"strings"
	"unicode"
	"unicode/utf8"
)

// letterhead is what a message's header is written from: everything is typed or goes through text, so that no value can begin
// a line of its own.
type letterhead struct {
	senderName string
	sender     Address
	recipient  Address
	replyTo    Address
	subject    string
}

const (
	lineWidth   = 76  // characters of a line of base64, RFC 2045 section 6.8
	headerWidth = 78  // characters of a header's line, RFC 5322 section 2.1.1
	longestWord = 500 // octets without a space in a header; the line's limit is 998
)

// compose returns header and body of m as they are sent: lines end in CRLF and have at most 998 octets, the body is UTF-8 in
// base64. The fields and their order are those of the recorded mails (testdata/mails.json), with a Message-ID and
// Auto-Submitted (RFC 3834 section 5) added.
func compose(h letterhead, m Message) []byte {
	var b bytes.Buffer
	subtype := "plain"
	if m.MIMEType == "html" {
		subtype = "html"
	}
	field := func(name, value string) { b.WriteString(fold(name+": "+value) + "\r\n") }
	field("Content-Type", "text/"+subtype+`; charset="utf-8"`)
	field("MIME-Version", "1.0")
	field("Content-Transfer-Encoding", "base64")
	field("Subject", text(h.subject))
	field("From", mailbox(h.senderName, h.sender))
	field("To", h.recipient.String())
	field("Date", m.Date.UTC().Format("Mon, 02 Jan 2006 15:04:05 -0700"))
	field("Reply-To", h.replyTo.String())
	if m.MessageID != "" {
		field("Message-ID", "<"+m.MessageID+">")
	}
	field("Auto-Submitted", "auto-generated")
	b.WriteString("\r\n")
	encoded := base64.StdEncoding.EncodeToString([]byte(m.Body))
	for len(encoded) > lineWidth {
		b.WriteString(encoded[:lineWidth] + "\r\n")
		encoded = encoded[lineWidth:]
	}
	b.WriteString(encoded + "\r\n")
	return b.Bytes()
}

// mailbox returns a display name and an address for a header (RFC 5322 section 3.4).
func mailbox(name string, a Address) string {
	switch {
	case name == "":
		return a.String()
	case plainText(name):
		return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(name) + `" <` + a.String() + ">"
	}
	return text(name) + " <" + a.String() + ">"
}

// text returns s for an unstructured header: as it stands when it is short printable ASCII that cannot be taken for an encoded
// word, else as encoded words (RFC 2047). A line break or another control character becomes a space.
func text(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == 0x2028 || r == 0x2029 {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
	if plainText(s) {
		return s
	}
	if encoded := mime.QEncoding.Encode("utf-8", s); encoded != s {
		return encoded
	}
	return encodeASCII(s)
}

// encodeASCII returns encoded words for what the standard library leaves as it is: words that are too long, spaces at the ends,
// and what only looks like an encoded word.
func encodeASCII(s string) string {
	const most = 45 // bytes, 60 characters of base64: a word has at most 75 with its marks (RFC 2047 section 2)
	var words []string
	for b := []byte(s); len(b) > 0; b = b[min(most, len(b)):] {
		words = append(words, "=?utf-8?b?"+base64.StdEncoding.EncodeToString(b[:min(most, len(b))])+"?=")
	}
	return strings.Join(words, " ")
}

// plainText reports whether s can stand in a header as it is.
func plainText(s string) bool {
	if strings.Contains(s, "=?") || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) {
		return false
	}
	for word := range strings.SplitSeq(s, " ") {
		if len(word) > longestWord {
			return false
		}
	}
	return s == strings.TrimSpace(s)
}

// fold breaks a header's line at spaces, where it is longer than headerWidth (RFC 5322 section 2.2.3).
func fold(line string) string {
	var b strings.Builder
	width := 0
	for i, word := range strings.Split(line, " ") {
		size := utf8.RuneCountInString(word)
		switch {
		case i == 0:
		case word != "" && width+1+size > headerWidth && width > 0 && !strings.HasSuffix(b.String(), ":"):
			b.WriteString("\r\n ")
			width = 1
		default:
			b.WriteByte(' ')
			width++
		}
		b.WriteString(word)
		width += size
	}
	return b.String()
}
