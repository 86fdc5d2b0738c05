package config

import "fmt"

// Position is a place in a configuration file, or the environment variable of a value.
type Position struct {
	File   string // the given path, or the name of an environment variable
	Line   int    // from 1; 0 for a whole file or a variable
	Column int    // from 1, in Unicode code points; 0 for a whole line
}

// String returns "file:line:column", without the parts that are 0.
func (p Position) String() string {
	switch {
	case p.Line == 0:
		return p.File
	case p.Column == 0:
		return fmt.Sprintf("%s:%d", p.File, p.Line)
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// Error is the one sentence that stops a start. It never holds the value of a secret.
type Error struct {
	Position Position
	Key      string // the setting; empty when the file could not be parsed
	Message  string // what is wrong
	Hint     string // what to write instead; may be empty
}

// Error returns "position: key: message: hint", without the parts that are empty.
func (e *Error) Error() string {
	s := e.Position.String()
	for _, part := range []string{e.Key, e.Message, e.Hint} {
		if part == "" {
			continue
		}
		if s != "" {
			s += ": "
		}
		s += part
	}
	return s
}

// problem is an error about a value, still without its place.
type problem struct{ message, hint string }

// Error returns "message: hint".
func (p problem) Error() string { return p.message + ": " + p.hint }

var _ error = (*Error)(nil)
