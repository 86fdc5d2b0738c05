package config

import (
	"fmt"
	"strings"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
)

// operate returns the operator as a function whose result is bounded.
func operate(op syntax.Token) function {
	return func(args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
		x, y := args[0], args[1]
		size := starlark.Len(x) + starlark.Len(y) // -1 for each that has no length
		if op == syntax.STAR {
			size = repeated(x, y)
		}
		if op == syntax.PERCENT {
			size = formatted(x, y)
		}
		if size > maxText {
			return nil, fmt.Errorf("the value is too large")
		}
		return starlark.Binary(op, x, y)
	}
}

// repeated returns the size of x * y, in bytes, elements or, where only that is large, bits.
func repeated(x, y starlark.Value) int {
	a, isInt := x.(starlark.Int)
	b, isInt2 := y.(starlark.Int)
	if isInt && isInt2 {
		if a.BigInt().BitLen()+b.BigInt().BitLen() > maxBits {
			return maxText + 1
		}
		return 0
	}
	if isInt {
		x, b = y, a
	}
	n, ok := b.Int64()
	if length := int64(starlark.Len(x)); length > 0 && (!ok || n > maxText/length) {
		return maxText + 1
	}
	return 0
}

// formatted returns a bound of the size of x % y.
func formatted(x, y starlark.Value) int {
	layout, ok := starlark.AsString(x)
	if !ok {
		return 0
	}
	if d, ok := y.(*starlark.Dict); ok {
		longest := 1
		for _, item := range d.Items() {
			longest = max(longest, weight(item[1]))
		}
		// %(name)s may stand many times: each takes at least 4 characters.
		return len(layout) + len(layout)/4*longest
	}
	return len(layout) + weight(y)
}

// weight returns about the length of a value as a text. It stops counting above maxText: a list may hold itself many times over
// (A = [A, A], line after line), and its text would never end.
func weight(v starlark.Value) int {
	total := 0
	var add func(v starlark.Value)
	add = func(v starlark.Value) {
		total++
		switch v := v.(type) {
		case starlark.String, starlark.Bytes:
			total += starlark.Len(v)
		case starlark.Int:
			total += v.BigInt().BitLen() / 3
		case *starlark.Dict:
			for _, item := range v.Items() {
				if add(item); total > maxText {
					return
				}
			}
		case starlark.Iterable:
			for e := range starlark.Elements(v) {
				if add(e); total > maxText {
					return
				}
			}
		}
	}
	add(v)
	return total
}

// str is Python's str(), of values that are not too large.
func str(args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	if weight(args) > maxText {
		return nil, fmt.Errorf("the value is too large")
	}
	return starlark.Call(&starlark.Thread{}, starlark.Universe["str"], args, kwargs)
}

// boundedRange is range() with at most maxRange elements.
func boundedRange(args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	v, err := starlark.Call(&starlark.Thread{}, starlark.Universe["range"], args, kwargs)
	if err == nil && starlark.Len(v) > maxRange {
		return nil, fmt.Errorf("the range is too large")
	}
	return v, err
}

// boundedMethod returns x.join, x.format or x.replace as a function that takes x first and whose result is bounded.
func boundedMethod(name string) starlark.Value {
	return starlark.NewBuiltin(name, func(thread *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
		x, args := args[0], args[1:]
		of, ok := x.(starlark.HasAttrs)
		if !ok {
			return nil, fmt.Errorf("%s has no .%s", x.Type(), name)
		}
		method, err := of.Attr(name)
		if err != nil || method == nil {
			return nil, fmt.Errorf("%s has no .%s", x.Type(), name)
		}
		if s, ok := starlark.AsString(x); ok && methodSize(name, s, args, kwargs) > maxText {
			return nil, fmt.Errorf("the value is too large")
		}
		return starlark.Call(thread, method, args, kwargs)
	})
}

// textAt returns the i-th argument; empty when it is no text.
func textAt(args starlark.Tuple, i int) string {
	if i >= len(args) {
		return ""
	}
	s, _ := starlark.AsString(args[i])
	return s
}

// methodSize returns a bound of the size of s.join(args), s.format(args) or s.replace(args).
func methodSize(name, s string, args starlark.Tuple, kwargs []starlark.Tuple) int {
	if name == "format" {
		longest := weight(args)
		for _, kv := range kwargs {
			longest = max(longest, weight(kv[1]))
		}
		// A place takes at least the two characters {}.
		return len(s) + len(s)/2*longest
	}
	if name == "replace" {
		if old, by := textAt(args, 0), textAt(args, 1); len(by) > len(old) {
			return len(s) + (strings.Count(s, old) * (len(by) - len(old)))
		}
		return len(s)
	}
	size := 0
	if len(args) > 0 {
		if parts, ok := args[0].(starlark.Iterable); ok {
			for part := range starlark.Elements(parts) {
				size += len(s) + max(0, starlark.Len(part))
			}
		}
	}
	return size
}
