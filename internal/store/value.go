package store

import (
	"fmt"
	"strings"
	"time"
)

// Millis returns t as it is stored: milliseconds since 1970, UTC.
func Millis(t time.Time) int64 { return t.UnixMilli() }

// Time is the inverse of Millis.
func Time(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

// NullTime scans a column *_ms that may be NULL, for Get and Scan: NULL sets To to the zero time.
type NullTime struct{ To *time.Time }

// Scan implements sql.Scanner.
func (m NullTime) Scan(value any) error {
	switch ms := value.(type) {
	case nil:
		*m.To = time.Time{}
	case int64:
		*m.To = Time(ms)
	default:
		return fmt.Errorf("a time is stored as %T, want milliseconds", value)
	}
	return nil
}

// Checked scans a text that must pass a check, for Get and Scan. A value of another type, or a text that Check refuses,
// counts as damaged and leaves To unchanged.
type Checked struct {
	To    *string
	Check func(text string) bool
}

// Scan implements sql.Scanner.
func (c Checked) Scan(value any) error {
	text, ok := value.(string)
	if !ok || !c.Check(text) {
		return errType
	}
	*c.To = text
	return nil
}

// Flag returns b as it is stored: 0 or 1.
func Flag(b bool) int {
	if b {
		return 1
	}
	return 0
}

// Pattern returns the operand of LIKE ... ESCAPE '\' for a text in which an asterisk stands for any characters.
func Pattern(text string) string {
	return strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`, `*`, `%`).Replace(text)
}
