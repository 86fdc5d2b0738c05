package smtp

import (
	"encoding/base64"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	longestText   = 256 // bytes of a reply that are kept
	shortestTrace = 6   // characters of Base64, or letters, that rule out a match by chance
	shortestPart  = 4   // characters that are searched inside words
	removed       = "***"
)

// trace is a string to remove, and how it is searched: as whole words or anywhere, with or without
// other characters between its own.
type trace struct {
	text    string
	word    bool
	between gap
	want    string // text, dense
}

// gap says what may be between the characters of a trace.
type gap int

const (
	nothing gap = iota
	spaces
	marks // everything except letters and digits
	gaps  // the number of gaps
)

func (g gap) holds(r rune) bool { return g == spaces && r == ' ' || g == marks && isMark(r) }

// scrubber removes the same strings from many texts.
type scrubber []trace

// Scrub does what Reply.Text does, for other texts from outside. ASCII case is ignored. A string is
// found across spaces, line ends and control characters too, and a string of digits across
// everything except letters and digits. A string of fewer than 4 characters is found only as a
// whole word, because half of all words contain it. The Base64 of a string is found at any place of
// a longer Base64 text.
func Scrub(text string, remove ...string) string { return newScrubber(remove).scrub(text) }

func newScrubber(remove []string) scrubber {
	var traces scrubber
	for _, s := range remove {
		traces = append(traces, plainTrace(printable(s)))
		for _, e := range encodings(s) {
			traces = append(traces, trace{text: e, word: len(e) < shortestTrace, between: spaces})
		}
	}
	for i, t := range traces {
		if t.word {
			traces[i].between = nothing
		}
		want, _ := dense(t.text, traces[i].between)
		traces[i].want = want
	}
	// the longest first: a string may contain another
	slices.SortFunc(traces, func(a, b trace) int { return len(b.text) - len(a.text) })
	return traces
}

func (s scrubber) scrub(text string) string {
	text = printable(text)
	var all [gaps]*string // text, dense; nil: not made yet
	for _, t := range s {
		if t.want == "" || len(text) < len(t.want) {
			continue
		}
		if all[t.between] == nil {
			packed, _ := dense(text, t.between)
			all[t.between] = &packed
		}
		if strings.Contains(*all[t.between], t.want) {
			text, all = t.cutFrom(text), [gaps]*string{}
		}
	}
	if len(text) > longestText {
		text = strings.ToValidUTF8(text[:longestText], "")
	}
	return text
}

// plainTrace returns the trace of a secret in plain text.
func plainTrace(s string) trace {
	t := trace{text: s, word: utf8.RuneCountInString(s) < shortestPart, between: spaces}
	switch {
	case !strings.ContainsFunc(s, func(r rune) bool { return r < '0' || r > '9' }):
		t.between = marks
	case len(s) < shortestTrace && !strings.ContainsFunc(s, isNoLetter):
		t.between = nothing // "tcp not" contains "cpno"
	}
	return t
}

func isMark(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }

func isNoLetter(r rune) bool { return !unicode.IsLetter(r) }

// printable returns s as valid UTF-8 in one line: a run of characters that do not print becomes one
// space.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, " "))
	return strings.Join(strings.Fields(s), " ")
}

// encodings returns the Base64 characters that s alone decides, for each of the three places in a
// group of three bytes at which s can begin. The Base64 of every text with s contains one of them.
func encodings(s string) []string {
	if s == "" {
		return nil
	}
	all := []string{base64.RawStdEncoding.EncodeToString([]byte(s))}
	for shift := range 3 {
		encoded := base64.RawStdEncoding.EncodeToString([]byte(strings.Repeat("x", shift) + s))
		first := (shift*8 + 5) / 6       // the first character without a bit of the text before s
		last := (shift*8 + len(s)*8) / 6 // the first character with a bit of the text after s
		if last-first >= shortestTrace {
			all = append(all, encoded[first:last])
		}
	}
	return all
}

// cutFrom returns text with a mark in the place of each trace.
func (t trace) cutFrom(text string) string {
	want := t.want
	all, at := dense(text, t.between)
	var b strings.Builder
	kept, from := 0, 0 // how much of text is in b, how much of all was searched
	for {
		i := strings.Index(all[from:], want)
		if i < 0 {
			return b.String() + text[kept:]
		}
		first, end := at[from+i], at[from+i+len(want)-1]+1
		from += i + len(want)
		if t.word && !isWord(text, first, end) {
			continue
		}
		b.WriteString(text[kept:first] + removed)
		kept = end
	}
}

// isWord reports whether no letter or digit is beside text[first:end].
func isWord(text string, first, end int) bool {
	before, _ := utf8.DecodeLastRuneInString(text[:first])
	after, _ := utf8.DecodeRuneInString(text[end:])
	return isMark(before) && isMark(after)
}

// dense returns s with ASCII letters in lower case and without the characters of the gap, and the
// place in s of each byte.
func dense(s string, between gap) (string, []int) {
	b, at := make([]byte, 0, len(s)), make([]int, 0, len(s))
	for i, r := range s {
		if between.holds(r) {
			continue
		}
		for j := range utf8.RuneLen(r) {
			c := s[i+j]
			if c >= 'A' && c <= 'Z' {
				c += 'a' - 'A'
			}
			b, at = append(b, c), append(at, i+j)
		}
	}
	return string(b), at
}
