package config

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.starlark.net/starlark"
)

const envPrefix = "PRIVACYIDEA_"

// environment returns NAME=value pairs as a map; the last value of a name counts.
func environment(pairs []string) map[string]string {
	env := make(map[string]string, len(pairs))
	for _, pair := range pairs {
		if key, v, ok := strings.Cut(pair, "="); ok {
			env[key] = v
		}
	}
	return env
}

// environmentLayer returns the settings of the PRIVACYIDEA_* variables as Flask's from_prefixed_env
// reads them: a JSON value is decoded, any other value is a text, and "__" in a name leads into a
// dict.
func environmentLayer(env map[string]string) layer {
	found := layer{}
	for _, variable := range slices.Sorted(maps.Keys(env)) {
		name, ok := strings.CutPrefix(variable, envPrefix)
		if !ok || name == "" {
			continue
		}
		path := strings.Split(name, "__")
		key, at := path[0], Position{File: variable}
		if !isSetting(key) {
			continue
		}
		v := fromJSON(env[variable])
		if len(path) == 1 {
			found[key] = setting{value: v, raw: env[variable], at: at}
			continue
		}
		top, ok := found[key].value.(map[string]any)
		if !ok {
			top = map[string]any{}
			found[key] = setting{value: top, at: at}
		}
		for _, step := range path[1 : len(path)-1] {
			next, ok := top[step].(map[string]any)
			if !ok {
				next = map[string]any{}
				top[step] = next
			}
			top = next
		}
		top[path[len(path)-1]] = v
	}
	return found
}

// fromJSON returns the value of a JSON text, or the text itself if it is not JSON. Numbers are
// int64 or float64.
func fromJSON(s string) any {
	if !json.Valid([]byte(s)) {
		return s
	}
	d := json.NewDecoder(strings.NewReader(s))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return s
	}
	return plain(v)
}

func plain(v any) any {
	switch v := v.(type) {
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		f, err := v.Float64()
		if err != nil {
			return opaque("number")
		}
		return f
	case []any:
		for i := range v {
			v[i] = plain(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = plain(v[k])
		}
	}
	return v
}

// environ is os.environ: a read-only mapping whose errors name the missing variable.
type environ struct{ vars map[string]string }

// Get returns the value of a variable and whether it is set.
func (e environ) Get(k starlark.Value) (starlark.Value, bool, error) {
	key, ok := starlark.AsString(k)
	if !ok {
		return nil, false, fmt.Errorf("os.environ wants a text, not %s", k.Type())
	}
	v, ok := e.vars[key]
	return starlark.String(v), ok, nil
}

// get is os.environ.get and os.getenv.
func (e environ) get(args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var key starlark.Value
	var otherwise starlark.Value = starlark.None
	if err := starlark.UnpackArgs("os.environ.get", args, kwargs, "key", &key, "default?", &otherwise); err != nil {
		return nil, err
	}
	if v, ok, err := e.Get(key); ok || err != nil {
		return v, err
	}
	return otherwise, nil
}

// list returns the result of of for each variable, by name.
func (e environ) list(of func(name, v starlark.String) starlark.Value) *starlark.List {
	var all []starlark.Value
	for _, name := range slices.Sorted(maps.Keys(e.vars)) {
		all = append(all, of(starlark.String(name), starlark.String(e.vars[name])))
	}
	return starlark.NewList(all)
}

// Iterate goes through the names.
func (e environ) Iterate() starlark.Iterator {
	return e.list(func(name, _ starlark.String) starlark.Value { return name }).Iterate()
}

// Attr returns the methods.
func (e environ) Attr(name string) (starlark.Value, error) {
	of := map[string]func(name, v starlark.String) starlark.Value{
		"items":  func(name, v starlark.String) starlark.Value { return starlark.Tuple{name, v} },
		"keys":   func(name, _ starlark.String) starlark.Value { return name },
		"values": func(_, v starlark.String) starlark.Value { return v },
	}[name]
	switch {
	case name == "get":
		return builtin("get", e.get), nil
	case of != nil:
		return builtin(name, func(starlark.Tuple, []starlark.Tuple) (starlark.Value, error) {
			return e.list(of), nil
		}), nil
	}
	return nil, nil
}

// AttrNames returns the names that Attr knows.
func (environ) AttrNames() []string { return []string{"get", "items", "keys", "values"} }

// String shows no variable.
func (environ) String() string { return "os.environ" }

// Type names the type in messages.
func (environ) Type() string { return "os.environ" }

// Freeze does nothing: the value is immutable.
func (environ) Freeze() {}

// Truth is true, also of an empty environment.
func (environ) Truth() starlark.Bool { return true }

// Hash fails: it cannot be a key, like a dict.
func (environ) Hash() (uint32, error) { return 0, fmt.Errorf("os.environ cannot be a key") }

var (
	_ starlark.Mapping  = environ{}
	_ starlark.HasAttrs = environ{}
)
