package store

import (
	"fmt"
	"time"
)

// Millis returns t as it is stored: milliseconds since 1970, UTC.
func Millis(t time.Time) int64 { return t.UnixMilli() }

// Time is the inverse of Millis.
func Time(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

// Moment is where the value of a column *_ms goes that may be NULL, for Get and Scan: To gets the zero time then.
type Moment struct{ To *time.Time }

// Scan implements sql.Scanner.
func (m Moment) Scan(value any) error {
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

// Checked is where a text goes that its reader must be able to use, for Get and Scan. A value that is no text, or that
// Check refuses, counts as damaged and leaves To as it is.
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
