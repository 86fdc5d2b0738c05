package config

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// text reads a string literal from its first quote on; prefix is in lower case. The value is
// decoded as Python does (The Python Language Reference, 2.4.1 String and Bytes literals), and an
// unknown escape keeps its backslash.
func (s *scanner) text(prefix string) token {
	at := s.at
	at.Column -= len(prefix)
	if strings.ContainsAny(prefix, "ft") {
		s.refuse(at, "f''")
	}
	raw, isBytes := strings.Contains(prefix, "r"), strings.Contains(prefix, "b")
	quote := s.take(1)
	if triple := strings.Repeat(quote, 2); s.starts(triple) {
		quote += s.take(2)
	}
	var b strings.Builder
	for !s.starts(quote) {
		switch c := s.peek(0); {
		case s.pos == len(s.src), c == '\n' && len(quote) == 1:
			s.fail(at, "the string is not closed", "end it with "+quote)
		case c == '\\' && raw:
			// Backslash and character stay together, so that \' does not end the string.
			b.WriteRune(s.next())
			if s.pos < len(s.src) {
				s.plain(&b, isBytes)
			}
		case c == '\\':
			s.escape(&b, isBytes)
		default:
			s.plain(&b, isBytes)
		}
	}
	s.take(len(quote))
	return token{kind: text, text: b.String(), bytes: isBytes, at: at}
}

func (s *scanner) plain(b *strings.Builder, isBytes bool) {
	if s.peek(0) >= utf8.RuneSelf && isBytes {
		s.fail(s.at, "b'...' holds ASCII only", `write \xhh for each byte`)
	}
	b.WriteRune(s.next())
}

func (s *scanner) escape(b *strings.Builder, isBytes bool) {
	at := s.at
	s.next()
	const simple, meaning = `\'"abfnrtv`, "\\'\"\a\b\f\n\r\t\v"
	c := s.peek(0)
	if i := strings.IndexRune(simple, c); c != 0 && i >= 0 {
		s.next()
		b.WriteByte(meaning[i])
		return
	}
	switch {
	case c == '\n':
		s.next()
	case c >= '0' && c <= '7':
		n := 1
		for n < 3 && s.peek(n) >= '0' && s.peek(n) <= '7' {
			n++
		}
		s.code(b, at, s.take(n), 8, isBytes)
	case c == 'x':
		s.hex(b, at, 2, isBytes)
	case c == 'u' && !isBytes:
		s.hex(b, at, 4, false)
	case c == 'U' && !isBytes:
		s.hex(b, at, 8, false)
	case c == 'N' && !isBytes:
		s.fail(at, `\N{...} is not allowed`, "write the character itself")
	default:
		b.WriteByte('\\')
	}
}

// hex reads the n digits of \x, \u or \U.
func (s *scanner) hex(b *strings.Builder, at Position, n int, isBytes bool) {
	letter := s.next()
	for i := range n {
		if !strings.ContainsRune("0123456789abcdefABCDEF", s.peek(i)) || s.peek(i) == 0 {
			s.fail(at, fmt.Sprintf(`\%c wants %d hexadecimal digits`, letter, n), `write \\ for a backslash`)
		}
	}
	s.code(b, at, s.take(n), 16, isBytes)
}

// code adds the character, or with isBytes the byte, of an escape's digits.
func (s *scanner) code(b *strings.Builder, at Position, digits string, base int, isBytes bool) {
	v, err := strconv.ParseUint(digits, base, 32)
	switch {
	case isBytes:
		b.WriteByte(byte(v))
	case err != nil || v > utf8.MaxRune || !utf8.ValidRune(rune(v)):
		s.fail(at, "the escape is not a character", "write the character itself")
	default:
		b.WriteRune(rune(v))
	}
}

// quote returns a Starlark literal in ASCII for a decoded text.
func quote(t token) string {
	var b strings.Builder
	if t.bytes {
		b.WriteString(`b"`)
		for i := range len(t.text) {
			fmt.Fprintf(&b, `\x%02x`, t.text[i])
		}
		return b.String() + `"`
	}
	b.WriteByte('"')
	for _, c := range t.text {
		switch {
		case c == '"' || c == '\\':
			b.WriteString(`\` + string(c))
		case c >= ' ' && c < 0x7f:
			b.WriteRune(c)
		case c < 0x80:
			fmt.Fprintf(&b, `\x%02x`, c)
		default:
			fmt.Fprintf(&b, `\U%08x`, c)
		}
	}
	return b.String() + `"`
}
