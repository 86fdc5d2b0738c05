package mail

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"mime"
	"strings"
	"unicode"
	"unicode/utf8"
)

// header is the content of a message's header. Each value is typed or goes through text, so that no
// value can begin a new line.
type header struct {
	senderName string
	sender     Address
	recipient  Address
	subject    string
}

const (
	lineWidth   = 76  // characters of a line of base64, RFC 2045 section 6.8
	headerWidth = 78  // characters of a header's line, RFC 5322 section 2.1.1
	longestWord = 500 // octets without a space in a header; the line's limit is 998
)

// compose returns header and body of m in the form that is sent: lines end in CRLF and have at most
// 998 octets, the body is UTF-8 in base64. The fields and their order are those of the recorded
// mails (testdata/mails.json), with a Message-ID and Auto-Submitted (RFC 3834 section 5) added.
func compose(h header, m Message) []byte {
	var b bytes.Buffer
	field(&b, "Content-Type", contentType(m))
	field(&b, "MIME-Version", "1.0")
	field(&b, "Content-Transfer-Encoding", "base64")
	h.writeTo(&b, m)
	b.WriteString("\r\n" + inBase64([]byte(m.Body)) + "\r\n")
	return b.Bytes()
}

// composeSigned is compose with a detached signature: multipart/signed (RFC 1847, RFC 8551 section
// 3.5.3) of the text and its PKCS #7 signature. The line break before a boundary belongs to the
// boundary, so it is not signed. The message's own fields are outside of the signed part, where
// mail servers and programs read them.
func composeSigned(h header, m Message, s *signer) ([]byte, error) {
	var entity, b bytes.Buffer
	field(&entity, "Content-Type", contentType(m))
	field(&entity, "Content-Transfer-Encoding", "base64")
	entity.WriteString("\r\n" + inBase64([]byte(m.Body)))
	signature, err := s.sign(entity.Bytes())
	if err != nil {
		return nil, err
	}
	boundary := "signed-" + rand.Text() // base64 has no "-"
	field(&b, "Content-Type", `multipart/signed; protocol="application/pkcs7-signature"; micalg=sha-256; boundary="`+
		boundary+`"`)
	field(&b, "MIME-Version", "1.0")
	h.writeTo(&b, m)
	b.WriteString("\r\n--" + boundary + "\r\n")
	b.Write(entity.Bytes())
	b.WriteString("\r\n--" + boundary + "\r\n")
	field(&b, "Content-Type", `application/pkcs7-signature; name="smime.p7s"`)
	field(&b, "Content-Transfer-Encoding", "base64")
	field(&b, "Content-Disposition", `attachment; filename="smime.p7s"`)
	b.WriteString("\r\n" + inBase64(signature) + "\r\n--" + boundary + "--\r\n")
	return b.Bytes(), nil
}

// writeTo writes the fields of the message itself.
func (h header) writeTo(b *bytes.Buffer, m Message) {
	field(b, "Subject", text(h.subject))
	field(b, "From", mailbox(h.senderName, h.sender))
	field(b, "To", h.recipient.Wire())
	field(b, "Date", m.Date.UTC().Format("Mon, 02 Jan 2006 15:04:05 -0700"))
	field(b, "Reply-To", h.sender.Wire())
	if m.MessageID != "" {
		field(b, "Message-ID", "<"+m.MessageID+">")
	}
	field(b, "Auto-Submitted", "auto-generated")
}

func field(b *bytes.Buffer, name, value string) { b.WriteString(fold(name+": "+value) + "\r\n") }

func contentType(m Message) string {
	if m.MIMEType == "html" {
		return `text/html; charset="utf-8"`
	}
	return `text/plain; charset="utf-8"`
}

// inBase64 returns content in lines of base64 with CRLF between them, none at the end.
func inBase64(content []byte) string {
	var b strings.Builder
	encoded := base64.StdEncoding.EncodeToString(content)
	for len(encoded) > lineWidth {
		b.WriteString(encoded[:lineWidth] + "\r\n")
		encoded = encoded[lineWidth:]
	}
	b.WriteString(encoded)
	return b.String()
}

// mailbox returns a display name and an address for a header (RFC 5322 section 3.4). A name in the
// Q encoding may contain only letters and few signs (RFC 2047 section 5), so a name with other
// signs is in Base64.
func mailbox(name string, a Address) string {
	switch {
	case name == "":
		return a.Wire()
	case plainText(name):
		return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(name) + `" <` + a.Wire() + ">"
	case strings.ContainsAny(name, "\"#$%&'(),.:;<=>?@[\\]^_`{|}~"):
		return mime.BEncoding.Encode("utf-8", name) + " <" + a.Wire() + ">"
	}
	return text(name) + " <" + a.Wire() + ">"
}

// text returns s for an unstructured header: unchanged if it is short printable ASCII that does not
// look like an encoded word, else as encoded words (RFC 2047). A line break or another control
// character becomes a space.
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

// encodeASCII returns encoded words for texts that the standard library does not encode: words that
// are too long, spaces at the ends, and texts that look like encoded words.
func encodeASCII(s string) string {
	const most = 45 // bytes, 60 characters of base64: a word has at most 75 with its marks (RFC 2047 section 2)
	var words []string
	for b := []byte(s); len(b) > 0; b = b[min(most, len(b)):] {
		words = append(words, "=?utf-8?b?"+base64.StdEncoding.EncodeToString(b[:min(most, len(b))])+"?=")
	}
	return strings.Join(words, " ")
}

// plainText reports whether a header can contain s unchanged.
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

// fold breaks a header's line at spaces if it is longer than headerWidth (RFC 5322 section 2.2.3).
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
