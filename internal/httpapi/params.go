package httpapi

import (
	"strconv"
	"strings"
	"time"

	"otpost/internal/fault"
	"otpost/internal/secret"
	"otpost/internal/system"
)

// Params are the parameters of a request, from path, query and body, every name once, in exact case. Texts are
// valid UTF-8 without NUL. A JSON null counts as absent. It is immutable.
type Params struct{ values map[string]value }

// value is a parameter: a text, or a list where the name may have one.
type value struct {
	text string
	list []string
	many bool
}

func (v value) same(o value) bool {
	return v.text == o.text && v.many == o.many && strings.Join(v.list, "\x00") == strings.Join(o.list, "\x00")
}

// listed are the parameters that JSON may give as a list; elsewhere a list is an error.
var listed = map[string]bool{"resolvers": true, "realms": true} //nolint:gochecknoglobals // a constant table

// Has reports whether a parameter was given, be it empty.
func (p Params) Has(name string) bool {
	_, ok := p.values[name]
	return ok
}

// Text returns a parameter as it was given; empty when it is absent. A JSON true reads True, as the original stores it.
func (p Params) Text(name string) string { return p.values[name].text }

// Secret returns a parameter that must not be printed.
func (p Params) Secret(name string) secret.Text { return secret.Text(p.values[name].text) }

// Required returns a parameter that must be there and not be empty; else the recorded fault 905.
func (p Params) Required(name string) (string, error) {
	if text := p.Text(name); text != "" {
		return text, nil
	}
	return "", fault.Missing(name)
}

// Bool returns a parameter of yes or no (system.Bool); absent or empty: the default. Else fault 905: a switch that
// is written in another way must not turn into the opposite.
func (p Params) Bool(name string, absent bool) (bool, error) {
	text := p.Text(name)
	if strings.TrimSpace(text) == "" {
		return absent, nil
	}
	yes, ok := system.Bool(text)
	if !ok {
		return false, fault.Wrong(name, "bool", "write true or false")
	}
	return yes, nil
}

// Int returns a parameter as a number from least to most; absent or empty: the default. Else fault 905.
func (p Params) Int(name string, absent, least, most int) (int, error) {
	text := strings.TrimSpace(p.Text(name))
	if text == "" {
		return absent, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most {
		return 0, fault.Wrong(name, "number", "write a number from %d to %d", least, most)
	}
	return n, nil
}

// Seconds is Int for a length of time.
func (p Params) Seconds(name string, absent, least, most time.Duration) (time.Duration, error) {
	n, err := p.Int(name, int(absent/time.Second), int(least/time.Second), int(most/time.Second))
	return time.Duration(n) * time.Second, err
}

// Time returns a parameter as a time (RFC 3339); absent or empty: the zero time. Else fault 905.
func (p Params) Time(name string) (time.Time, error) {
	text := strings.TrimSpace(p.Text(name))
	if text == "" {
		return time.Time{}, nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return at, fault.Wrong(name, "time", "write a time like 2026-11-24T12:00:00Z")
	}
	return at, nil
}

// List returns the elements of a parameter: a JSON list, or a text with commas. Spaces around them and empty ones
// are left out.
func (p Params) List(name string) []string {
	v := p.values[name]
	parts := v.list
	if !v.many {
		parts = strings.Split(v.text, ",")
	}
	list := make([]string, 0, len(parts))
	for _, part := range parts {
		if part = strings.TrimSpace(part); part != "" {
			list = append(list, part)
		}
	}
	return list
}

// All returns every parameter as a text, but those of the path; the map is the caller's.
func (p Params) All() map[string]string {
	all := make(map[string]string, len(p.values))
	for name, v := range p.values {
		all[name] = v.text
	}
	return all
}
