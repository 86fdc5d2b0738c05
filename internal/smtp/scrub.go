package smtp

import (
	"encoding/base64"
	"slices"
	"strings"
	"unicode"
)

const (
	longestText   = 256 // bytes that are kept of a reply
	shortestTrace = 6   // characters of Base64 that still tell a string apart from chance
	removed       = "***"
)

// Scrub is what Reply.Text does, for other texts that come from outside. Letters are compared without regard to ASCII case. The
// Base64 of a string is found at the end, at the beginning and in the middle of a longer Base64 text too.
func Scrub(text string, remove ...string) string {
	text = printable(text)
	var traces []string
	for _, s := range remove {
		traces = append(traces, printable(s))
		traces = append(traces, encodings(s)...)
	}
	slices.SortFunc(traces, func(a, b string) int { return len(b) - len(a) }) // the longest first: one may hold another
	for _, s := range traces {
		text = replaceFold(text, s)
	}
	if len(text) > longestText {
		text = strings.ToValidUTF8(text[:longestText], "")
	}
	return text
}

// printable returns s as valid UTF-8 in one line: whatever does not print is a space, and there are no two of them.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, " "))
	return strings.Join(strings.Fields(s), " ")
}

// encodings returns what the Base64 of a text that holds s must hold, for the three places at which s can begin in a group of
// three bytes: the characters that s alone decides.
func encodings(s string) []string {
	if s == "" {
		return nil
	}
	all := []string{base64.RawStdEncoding.EncodeToString([]byte(s))}
	for shift := range 3 {
		encoded := base64.RawStdEncoding.EncodeToString([]byte(strings.Repeat("x", shift) + s))
		first := (shift*8 + 5) / 6       // the first character without a bit of what stands before s
		last := (shift*8 + len(s)*8) / 6 // and the first with a bit of what follows it
		if last-first >= shortestTrace {
			all = append(all, encoded[first:last])
		}
	}
	return all
}

// replaceFold replaces s in text whatever the case of its ASCII letters is.
func replaceFold(text, s string) string {
	if s == "" {
		return text
	}
	lower, want := lowerASCII(text), lowerASCII(s) // byte for byte, so that places in one are places in the other
	var b strings.Builder
	for {
		i := strings.Index(lower, want)
		if i < 0 {
			return b.String() + text
		}
		b.WriteString(text[:i] + removed)
		text, lower = text[i+len(want):], lower[i+len(want):]
	}
}

func lowerASCII(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}
