package config

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxDepth bounds nested brackets, and so the recursion of the parsers behind.
const maxDepth = 100

type kind uint8

const (
	name kind = iota
	number
	text // a string literal, decoded
	operator
)

// token is one word of Python source (The Python Language Reference, 2 Lexical analysis).
type token struct {
	kind  kind
	text  string // as written; the value of a text
	bytes bool   // a text that is b'...'
	at    Position
}

func (t token) is(op string) bool       { return t.kind == operator && t.text == op }
func (t token) isName(n ...string) bool { return t.kind == name && slices.Contains(n, t.text) }

// line is one logical line, without comments, line ends inside brackets and escaped line ends.
type line struct {
	indent string // spaces and tabs before the first token
	tokens []token
}

// scanner cuts Python source into logical lines. A problem ends the scan by panicking with *Error, which scan recovers.
type scanner struct {
	src  []rune
	pos  int
	at   Position
	open []token // brackets that are still open
}

// scan returns the logical lines of source, or *Error at the first character outside of any token.
func scan(file string, source []byte) (lines []line, err error) {
	s := &scanner{at: Position{File: file, Line: 1, Column: 1}}
	defer func() {
		if e, ok := recover().(*Error); ok {
			err = e
		}
	}()
	s.src = s.decode(source)
	var cur line
	for s.pos < len(s.src) {
		if len(cur.tokens) == 0 {
			cur.indent = s.blank()
		} else {
			s.blank()
		}
		switch c := s.peek(0); {
		case c == 0:
		case c == '#':
			for s.pos < len(s.src) && s.peek(0) != '\n' {
				s.next()
			}
		case c == '\n':
			s.next()
			if len(s.open) == 0 && len(cur.tokens) > 0 {
				lines, cur = append(lines, cur), line{}
			}
		default:
			cur.tokens = append(cur.tokens, s.token())
		}
	}
	if len(s.open) > 0 {
		last := s.open[len(s.open)-1]
		s.fail(last.at, "the bracket "+last.text+" is never closed", "close it")
	}
	if len(cur.tokens) > 0 {
		lines = append(lines, cur)
	}
	return lines, nil
}

// decode returns the characters of source with line ends as \n. A byte order mark is removed.
func (s *scanner) decode(source []byte) []rune {
	str := strings.TrimPrefix(string(source), "\ufeff")
	str = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(str)
	for i, c := range str {
		at := func() Position {
			before := str[:i]
			start := strings.LastIndexByte(before, '\n') + 1
			return Position{s.at.File, strings.Count(before, "\n") + 1, utf8.RuneCountInString(before[start:]) + 1}
		}
		if c == 0 {
			s.fail(at(), "the file holds a NUL byte", "write text only")
		}
		if c == utf8.RuneError {
			if _, n := utf8.DecodeRuneInString(str[i:]); n == 1 {
				s.fail(at(), "the file is not UTF-8 here", "save it as UTF-8")
			}
		}
	}
	return []rune(str)
}

func (s *scanner) fail(at Position, message, hint string) {
	panic(&Error{Position: at, Message: message, Hint: hint})
}

func (s *scanner) refuse(at Position, what string) {
	r := refusalOf(what)
	s.fail(at, r.message, r.hint)
}

// peek returns the character n places ahead; 0 after the end.
func (s *scanner) peek(n int) rune {
	if s.pos+n >= len(s.src) {
		return 0
	}
	return s.src[s.pos+n]
}

func (s *scanner) next() rune {
	c := s.src[s.pos]
	s.pos++
	s.at.Column++
	if c == '\n' {
		s.at.Line++
		s.at.Column = 1
	}
	return c
}

func (s *scanner) take(n int) string {
	start := s.pos
	for range n {
		s.next()
	}
	return string(s.src[start:s.pos])
}

// blank skips white space and escaped line ends. It returns the skipped spaces and tabs.
func (s *scanner) blank() string {
	var b strings.Builder
	for {
		switch c := s.peek(0); {
		case c == ' ' || c == '\t':
			b.WriteRune(s.next())
		case c == '\f':
			s.next()
		case c == '\\' && s.peek(1) == '\n':
			s.take(2)
		default:
			return b.String()
		}
	}
}

func (s *scanner) token() token {
	at, c := s.at, s.peek(0)
	switch {
	case c == '"' || c == '\'':
		return s.text("")
	case isLetter(c):
		n := 1
		for isLetter(s.peek(n)) || isDigit(s.peek(n)) {
			n++
		}
		word := s.take(n)
		if q := s.peek(0); (q == '"' || q == '\'') && isPrefix(word) {
			t := s.text(strings.ToLower(word))
			t.at = at
			return t
		}
		return token{kind: name, text: word, at: at}
	case isDigit(c) || c == '.' && isDigit(s.peek(1)):
		return s.number()
	case unicode.IsLetter(c):
		s.fail(at, "names with other letters than A to Z are not allowed", "use A-Z, 0-9 and _")
	}
	return s.operator()
}

func (s *scanner) number() token {
	at, n := s.at, 0
	for {
		c := s.peek(n)
		exponent := n > 0 && (s.peek(n-1) == 'e' || s.peek(n-1) == 'E') && s.peek(1) != 'x' && s.peek(1) != 'X'
		if isDigit(c) || isLetter(c) || c == '.' || (c == '+' || c == '-') && exponent {
			n++
			continue
		}
		break
	}
	digits := s.take(n)
	if strings.Contains(digits, "_") {
		s.fail(at, refusalOf("1_000").message, "write "+strings.ReplaceAll(digits, "_", ""))
	}
	if last := digits[len(digits)-1]; (last == 'j' || last == 'J') && !strings.ContainsAny(digits, "xX") {
		s.fail(at, "complex numbers are not allowed", "write an integer")
	}
	return token{kind: number, text: digits, at: at}
}

func (s *scanner) operator() token {
	at := s.at
	for _, op := range operators {
		if s.starts(op) {
			t := token{kind: operator, text: s.take(len(op)), at: at}
			s.bracket(t)
			return t
		}
	}
	s.fail(at, "the character "+string([]rune{'\'', s.peek(0), '\''})+" has no meaning here", "remove it")
	panic("unreachable")
}

func (s *scanner) starts(op string) bool {
	for i, c := range op {
		if s.peek(i) != c {
			return false
		}
	}
	return true
}

func (s *scanner) bracket(t token) {
	const opening, closing = "([{", ")]}"
	if strings.Contains(opening, t.text) {
		if s.open = append(s.open, t); len(s.open) > maxDepth {
			s.fail(t.at, "the brackets are nested too deep", "write the value in parts")
		}
	}
	i := strings.Index(closing, t.text)
	if i < 0 {
		return
	}
	last := len(s.open) - 1
	if last < 0 || s.open[last].text != opening[i:i+1] {
		s.fail(t.at, "the bracket "+t.text+" closes no bracket", "remove it or open one before")
	}
	s.open = s.open[:last]
}

// operators are Python's operators and delimiters, a longer one before its prefix.
var operators = [...]string{ //nolint:gochecknoglobals // a constant table
	"**=", "//=", ">>=", "<<=", "...",
	"!=", "==", "<=", ">=", "->", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=", "@=", ":=", "**", "//", "<<", ">>",
	"+", "-", "*", "/", "%", "@", "&", "|", "^", "~", "<", ">", "(", ")", "[", "]", "{", "}", ",", ":", ".", ";", "=",
}

func isDigit(c rune) bool  { return c >= '0' && c <= '9' }
func isLetter(c rune) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' }

func isPrefix(word string) bool {
	switch strings.ToLower(word) {
	case "u", "r", "b", "f", "t", "br", "rb", "fr", "rf", "tr", "rt":
		return true
	}
	return false
}
