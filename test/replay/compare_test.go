package replay

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

const absent = "(absent)"

// difference is one place where an answer is not as recorded. Paths of the body start with $; the others are status,
// content-type, allow, location, form (how the JSON is written) and mails.
type difference struct {
	path      string
	want, got any
}

// String shows the difference on one line.
func (d difference) String() string {
	return fmt.Sprintf("%s: recorded %s, got %s", d.path, short(d.want), short(d.got))
}

func short(v any) string {
	text, ok := v.(string)
	if !ok || text != absent {
		raw, err := json.Marshal(v)
		if text = string(raw); err != nil {
			text = fmt.Sprint(v)
		}
	}
	if len(text) > 160 {
		return text[:160] + "..."
	}
	return text
}

// comparer compares JSON values. Values at a volatile path are compared by shape: the same JSON
// type, arrays of the same length, texts of digits with as many digits.
type comparer struct {
	volatile func(path string) bool
	found    []difference
}

func compareJSON(want, got any, volatile func(path string) bool) []difference {
	c := comparer{volatile: volatile}
	c.value("$", want, got)
	return c.found
}

func (c *comparer) differ(path string, want, got any) {
	c.found = append(c.found, difference{path, want, got})
}

func (c *comparer) value(path string, want, got any) {
	if c.volatile(path) {
		if !sameShape(want, got) {
			c.differ(path, want, got)
		}
		return
	}
	switch w := want.(type) {
	case map[string]any:
		if g, ok := got.(map[string]any); ok {
			c.object(path, w, g)
			return
		}
	case []any:
		if g, ok := got.([]any); ok {
			c.array(path, w, g)
			return
		}
	case json.Number:
		if g, ok := got.(json.Number); ok && sameNumber(w, g) {
			return
		}
	case string:
		if g, ok := got.(string); ok && (w == g || path == "$.detail.message" && sameTexts(w, g)) {
			return
		}
	default: // true, false, null
		if want == got {
			return
		}
	}
	c.differ(path, want, got)
}

func (c *comparer) object(path string, want, got map[string]any) {
	for _, key := range slices.Sorted(maps.Keys(want)) {
		at := path + "." + key
		value, ok := got[key]
		switch {
		case ok:
			c.value(at, want[key], value)
		case !mayBeAbsent(at):
			c.differ(at, want[key], absent)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[key]; !ok {
			c.differ(path+"."+key, absent, got[key])
		}
	}
}

func (c *comparer) array(path string, want, got []any) {
	if path == "$.result.value.rights" || path == "$.result.value.menus" {
		c.set(path, want, got)
		return
	}
	for i := range max(len(want), len(got)) {
		at := fmt.Sprintf("%s[%d]", path, i)
		switch {
		case i >= len(got):
			c.differ(at, want[i], absent)
		case i >= len(want):
			c.differ(at, absent, got[i])
		default:
			c.value(at, want[i], got[i])
		}
	}
}

// set compares what the original answers in any order. Fewer members differ at the path itself,
// members that the original does not have at path+"(unknown)".
func (c *comparer) set(path string, want, got []any) {
	for _, member := range got {
		if !slices.Contains(want, member) {
			c.differ(path+"(unknown)", absent, member)
		}
	}
	for _, member := range want {
		if !slices.Contains(got, member) {
			c.differ(path, member, absent)
			return
		}
	}
}

var challengeAttributes = regexp.MustCompile(`^\$\.detail\.(multi_challenge\[\d+\]\.)?attributes$`)

// mayBeAbsent holds for what no answer of otpost has: a challenge's attributes (docs/compatibility.md, "Everywhere").
func mayBeAbsent(path string) bool { return challengeAttributes.MatchString(path) }

func sameNumber(a, b json.Number) bool {
	if a == b {
		return true
	}
	x, errX := a.Float64()
	y, errY := b.Float64()
	return errX == nil && errY == nil && x == y
}

// sameTexts compares detail.message of several challenges: the original joins a set of texts, in any order.
func sameTexts(a, b string) bool {
	x, y := strings.Split(a, ", "), strings.Split(b, ", ")
	slices.Sort(x)
	slices.Sort(y)
	return slices.Equal(x, y)
}

var digits = regexp.MustCompile(`^\d+$`)

func sameShape(want, got any) bool {
	switch w := want.(type) {
	case nil:
		return true // the recording says nothing about it
	case string:
		g, ok := got.(string)
		if ok && digits.MatchString(w) {
			return digits.MatchString(g) && len(g) == len(w)
		}
		return ok
	case bool:
		_, ok := got.(bool)
		return ok
	case json.Number:
		_, ok := got.(json.Number)
		return ok
	case []any:
		g, ok := got.([]any)
		if !ok || len(g) != len(w) {
			return false
		}
		for i := range w {
			if !sameShape(w[i], g[i]) {
				return false
			}
		}
		return true
	case map[string]any:
		g, ok := got.(map[string]any)
		return ok && slices.Equal(slices.Sorted(maps.Keys(w)), slices.Sorted(maps.Keys(g)))
	}
	return false
}

// within reports whether a path lies at or below one of the allowed ones. [*] in an allowed path
// matches any index.
func within(path string, allowed []string) bool {
	anyIndex := regexp.MustCompile(`\[\d+\]`).ReplaceAllString(path, "[*]")
	for _, a := range allowed {
		at := path
		if strings.Contains(a, "[*]") {
			at = anyIndex
		}
		if at == a || strings.HasPrefix(at, a+".") || strings.HasPrefix(at, a+"[") {
			return true
		}
	}
	return false
}
