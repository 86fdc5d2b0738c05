package config

import (
	"fmt"
	"slices"
	"strings"

	"go.starlark.net/starlark"
)

// layer holds the settings of one source by name.
type layer map[string]setting

// setting is one value and where it came from. The value is nil, bool, int64, float64, string,
// []byte, []any, map[string]any or opaque.
type setting struct {
	value any
	raw   string // of an environment variable: its text
	at    Position
}

// set reports whether the value is neither None nor empty; otherwise the default stays.
func (s setting) set() bool {
	switch v := s.value.(type) {
	case nil:
		return false
	case string:
		return v != ""
	case []byte:
		return len(v) > 0
	}
	return true
}

// opaque is the description of a value that no setting accepts.
type opaque string

// fromStarlark converts values that settings accept: two levels of lists and dicts, 1000 elements
// each. The bounds limit nested lists. left is how many values may still be converted; at 0 the
// result is incomplete.
func fromStarlark(v starlark.Value, depth int, left *int) any {
	if *left--; *left <= 0 {
		return nil
	}
	switch v := v.(type) {
	case starlark.NoneType:
		return nil
	case starlark.Bool:
		return bool(v)
	case starlark.String:
		return string(v)
	case starlark.Bytes:
		return []byte(v)
	case starlark.Float:
		return float64(v)
	case starlark.Int:
		if n, ok := v.Int64(); ok {
			return n
		}
	case *starlark.Dict:
		if depth > 1 || v.Len() > 1000 {
			break
		}
		m := make(map[string]any, v.Len())
		for _, item := range v.Items() {
			key, ok := starlark.AsString(item[0])
			if !ok {
				return opaque("dict whose keys are not texts")
			}
			m[key] = fromStarlark(item[1], depth+1, left)
		}
		return m
	case *starlark.List, starlark.Tuple:
		list := v.(starlark.Indexable)
		if depth > 1 || list.Len() > 1000 {
			break
		}
		out := make([]any, list.Len())
		for i := range out {
			out[i] = fromStarlark(list.Index(i), depth+1, left)
		}
		return out
	}
	return opaque(v.Type())
}

// describe names the type of a value for a message, never its content.
func describe(v any) string {
	switch v := v.(type) {
	case nil:
		return "None"
	case bool:
		return "True or False"
	case int64:
		return "an integer"
	case float64:
		return "a float"
	case string:
		return "a text"
	case []byte:
		return "bytes"
	case []any:
		return "a list"
	case map[string]any:
		return "a dict"
	case opaque:
		return "a " + string(v)
	}
	return "something else"
}

// value is the setting of a key, with readers that return *Error when it has another type.
type value struct {
	setting
	key string
}

func (v value) wrong(want, hint string) error {
	return v.fail(problem{fmt.Sprintf("is %s, not %s", describe(v.value), want), hint})
}

func (v value) fail(p problem) error {
	return &Error{Position: v.at, Key: v.key, Message: p.message, Hint: p.hint}
}

// text returns a text without NUL. A variable that is also a JSON number or word counts as the text
// that was written.
func (v value) text() (string, error) {
	s, ok := v.value.(string)
	if !ok {
		if s = v.raw; s == "" || slices.Contains([]string{"a list", "a dict"}, describe(v.value)) {
			return "", v.wrong("a text", "write '...'")
		}
	}
	if strings.ContainsRune(s, 0) {
		return "", v.fail(problem{"holds a NUL character", "remove it"})
	}
	return s, nil
}

// bytes returns a text or bytes as a Secret.
func (v value) bytes() (Secret, error) {
	if b, ok := v.value.([]byte); ok {
		return NewSecret(b), nil
	}
	s, err := v.text()
	return NewSecret([]byte(s)), err
}

func (v value) boolean() (bool, error) {
	b, ok := v.value.(bool)
	if !ok {
		return false, v.wrong("True or False", "write True or False (in a variable true or false)")
	}
	return b, nil
}

// texts returns a list of texts that are not empty.
func (v value) texts() ([]string, error) {
	const hint = `write ['one', 'two'] (in a variable ["one", "two"])`
	list, ok := v.value.([]any)
	if !ok {
		return nil, v.wrong("a list of texts", hint)
	}
	out := make([]string, 0, len(list))
	for _, e := range list {
		s, ok := e.(string)
		if !ok || s == "" || strings.ContainsRune(s, 0) {
			return nil, v.fail(problem{"has elements that are not texts", hint})
		}
		out = append(out, s)
	}
	return out, nil
}

// flat joins the names of nested dicts with "__", so that the variable
// PRIVACYIDEA_PI_HASH_ALGO_PARAMS__argon2__rounds gives the name argon2__rounds.
func (v value) flat() (map[string]any, error) {
	m, ok := v.value.(map[string]any)
	if !ok {
		return nil, v.wrong("a dict", "write {'name': 1}")
	}
	out := map[string]any{}
	flatten(out, "", m)
	return out, nil
}

func flatten(out map[string]any, prefix string, m map[string]any) {
	for name, v := range m {
		if inner, ok := v.(map[string]any); ok {
			flatten(out, prefix+name+"__", inner)
			continue
		}
		out[prefix+name] = v
	}
}
