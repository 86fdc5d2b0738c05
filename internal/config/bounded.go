package config

import (
	"errors"
	"fmt"
	"strings"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
)

// errLarge refuses a value.
var errLarge = errors.New("the value is too large")

// allowance is the size that all values of one file may still have, in elements and bytes.
type allowance struct{ left int }

// made returns its argument, the new value of a call or a slice, and subtracts its size. A range
// needs no memory.
func (a *allowance) made(args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
	if v := args[0]; v.Type() != "range" {
		if a.left -= max(0, starlark.Len(v)); a.left < 0 {
			return nil, errors.New("all values together are too large")
		}
	}
	return args[0], nil
}

// operate returns the operator as a function with a bounded result and a bounded walk over its
// operands.
func (a *allowance) operate(op syntax.Token) function {
	return func(args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
		x, y := args[0], args[1]
		size := starlark.Len(x) + starlark.Len(y) // -1 for each operand without a length
		switch op {
		case syntax.PLUS, syntax.PIPE:
		case syntax.STAR:
			size = repeated(x, y)
		case syntax.PERCENT:
			size = formatted(x, y)
		default:
			return compare(op, x, y)
		}
		if size > maxText {
			return nil, errLarge
		}
		v, err := starlark.Binary(op, x, y)
		if err != nil {
			return nil, err
		}
		return a.made(starlark.Tuple{v}, nil)
	}
}

// compare returns x op y for an operator that walks over both operands.
func compare(op syntax.Token, x, y starlark.Value) (starlark.Value, error) {
	if weight(x, maxWalk)+weight(y, maxWalk) > maxWalk {
		return nil, errLarge
	}
	if op == syntax.IN || op == syntax.NOT_IN {
		found, err := starlark.Binary(syntax.IN, x, y)
		if err == nil && op == syntax.NOT_IN {
			found = !found.Truth()
		}
		return found, err
	}
	is, err := starlark.Compare(op, x, y)
	return starlark.Bool(is), err
}

// walked returns its argument, which is about to be hashed, if its size is bounded. A hash walks a
// value each time it reaches it.
func walked(args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
	if weight(args[0], maxText) > maxText {
		return nil, errLarge
	}
	return args[0], nil
}

// walking returns a function of Starlark that walks over its arguments, with bounded arguments.
func walking(name string) starlark.Value {
	return starlark.NewBuiltin(name, func(thread *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple,
		kwargs []starlark.Tuple) (starlark.Value, error) {
		if heavy(args, kwargs, maxWalk) {
			return nil, errLarge
		}
		return starlark.Call(thread, starlark.Universe[name], args, kwargs)
	})
}

// heavy reports whether the arguments together weigh more than limit.
func heavy(args starlark.Tuple, kwargs []starlark.Tuple, limit int) bool {
	total := weight(args, limit)
	for _, kv := range kwargs {
		total += weight(kv, limit)
	}
	return total > limit
}

// repeated returns the size of x * y in bytes or elements, or in bits for an integer.
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
			longest = max(longest, weight(item[1], maxText))
		}
		// %(name)s may occur many times; each takes at least 4 characters.
		return len(layout) + len(layout)/4*longest
	}
	return len(layout) + weight(y, maxText)
}

// weight returns about the length of a value as a text, which is also about the cost of a
// comparison or a hash. It stops above limit: a list may contain another list many times (A = [A,
// A], line after line), and its text would not end.
func weight(v starlark.Value, limit int) int {
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
				if add(item); total > limit {
					return
				}
			}
		case starlark.Iterable:
			for e := range starlark.Elements(v) {
				if add(e); total > limit {
					return
				}
			}
		}
	}
	add(v)
	return total
}

// str is Python's str() with a bounded argument.
func str(args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	if heavy(args, kwargs, maxText) {
		return nil, errLarge
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

// boundedMethod returns x.join, x.format, x.replace or x.get as a bounded function with x as first
// argument.
func boundedMethod(name string) starlark.Value {
	return starlark.NewBuiltin(name, func(thread *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple,
		kwargs []starlark.Tuple) (starlark.Value, error) {
		x, args := args[0], args[1:]
		of, ok := x.(starlark.HasAttrs)
		if !ok {
			return nil, fmt.Errorf("%s has no .%s", x.Type(), name)
		}
		method, err := of.Attr(name)
		if err != nil || method == nil {
			return nil, fmt.Errorf("%s has no .%s", x.Type(), name)
		}
		if name == "get" && heavy(args, kwargs, maxText) {
			return nil, errLarge
		}
		if s, ok := starlark.AsString(x); ok && methodSize(name, s, args, kwargs) > maxText {
			return nil, errLarge
		}
		return starlark.Call(thread, method, args, kwargs)
	})
}

// textAt returns the i-th argument; empty when it is not a text.
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
		longest := weight(args, maxText)
		for _, kv := range kwargs {
			longest = max(longest, weight(kv[1], maxText))
		}
		// A placeholder has at least the two characters {}.
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
