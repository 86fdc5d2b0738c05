package smtp

import (
	"encoding/base64"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	longestText   = 256 // bytes that are kept of a reply
	shortestTrace = 6   // characters of Base64, or letters, that still tell a string apart from chance
	shortestPart  = 4   // characters that are looked for inside of words
	removed       = "***"
)

// trace is a string that must not be seen, and how it is looked for: as words of their own, or anywhere, with or without
// something between its characters.
type trace struct {
	text    string
	word    bool
	between gap
	want    string // text, dense
}

// gap says what may stand between the characters of a trace.
type gap int

const (
	nothing gap = iota
	spaces
	marks // whatever is no letter and no digit
	gaps  // how many there are
)

func (g gap) holds(r rune) bool { return g == spaces && r == ' ' || g == marks && isMark(r) }

// scrubber takes the same strings out of many texts.
type scrubber []trace

// Scrub is what Reply.Text does, for other texts that come from outside. Letters are compared without regard to ASCII case. A
// string is found across spaces, line ends and control characters too, and one of digits across everything that is no letter or
// digit; one of fewer than 4 characters only as a word of its own, for it is in half of all words. The Base64 of a string is
// found at the end, at the beginning and in the middle of a longer Base64 text too.
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
	slices.SortFunc(traces, func(a, b trace) int { return len(b.text) - len(a.text) }) // the longest first: one may hold another
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

// plainTrace says how a secret is looked for that stands as it is.
func plainTrace(s string) trace {
	t := trace{text: s, word: utf8.RuneCountInString(s) < shortestPart, between: spaces}
	switch {
	case !strings.ContainsFunc(s, func(r rune) bool { return r < '0' || r > '9' }):
		t.between = marks
	case len(s) < shortestTrace && !strings.ContainsFunc(s, isNoLetter):
		t.between = nothing // "tcp not" holds "cpno"
	}
	return t
}

func isMark(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }

func isNoLetter(r rune) bool { return !unicode.IsLetter(r) }

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

// cutFrom returns text with a sign in the place of each trace.
func (t trace) cutFrom(text string) string {
	want := t.want
	all, at := dense(text, t.between)
	var b strings.Builder
	kept, from := 0, 0 // so much of text is in b, so much of all was searched
	for {
		i := strings.Index(all[from:], want)
		if i < 0 {
			return b.String() + text[kept:]
		}
		first, end := at[from+i], at[from+i+len(want)-1]+1
		from += i + len(want)
		if t.word && !alone(text, first, end) {
			continue
		}
		b.WriteString(text[kept:first] + removed)
		kept = end
	}
}

// alone reports whether text[first:end] has no letter or digit beside it.
func alone(text string, first, end int) bool {
	before, _ := utf8.DecodeLastRuneInString(text[:first])
	after, _ := utf8.DecodeRuneInString(text[end:])
	return isMark(before) && isMark(after)
}

// dense returns s with ASCII letters in lower case and without what stands between, and where in s each of its bytes was.
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
