package config

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"go.starlark.net/resolve"
	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
)

// The bounds of one file. A line of a pi.cfg takes about 5 steps (measured on
// testdata/good/computed.cfg); the slowest source of the tests, a comprehension of
// list(range(maxRange)), ends after 0.7 s.
const (
	maxFile  = 64 << 10 // bytes
	maxSteps = 50_000
	maxText  = 64 << 10 // bytes of a text and elements of a list that an operator makes
	maxRange = 10_000   // elements of range(): list(range(n)) is one step for every n
	maxBits  = 4096     // of an integer
	// elements and bytes that a comparison or a hash walks, each counted as often as it is reached
	maxWalk = 1 << 18
	maxMade = 4 << 20 // elements and bytes of all values that one file makes

	// maxTime ends sources that the other bounds miss. The slowest source within them takes less.
	maxTime = 30 * time.Second
)

// evaluate runs a pi.cfg and returns its upper-case names, as Flask's from_pyfile does. It reads no
// file, opens no connection and starts no process: the source can use only what predeclared offers.
// It takes at most maxTime.
func evaluate(file string, source []byte, env map[string]string) (layer, error) {
	return within(file, func(thread *starlark.Thread) (layer, error) { return run(thread, file, source, env) })
}

// within returns the results of f, or an error after maxTime. It stops f between two steps of
// Starlark. A single step that does not end keeps running; the caller then ends the process.
func within(file string, f func(*starlark.Thread) (layer, error)) (layer, error) {
	type result struct {
		found layer
		err   error
	}
	thread := &starlark.Thread{Name: file, Print: func(*starlark.Thread, string) {}}
	thread.SetMaxExecutionSteps(maxSteps)
	done := make(chan result, 1)
	go func() {
		found, err := f(thread)
		done <- result{found, err}
	}()
	limit := time.NewTimer(maxTime)
	defer limit.Stop()
	select {
	case r := <-done:
		return r.found, r.err
	case <-limit.C:
		thread.Cancel("the time is up")
		message := fmt.Sprintf("the file takes longer than %d seconds", maxTime/time.Second)
		return nil, &Error{Position: Position{File: file}, Message: message, Hint: "write the values out"}
	}
}

// run evaluates the source in a thread.
func run(thread *starlark.Thread, file string, source []byte, env map[string]string) (layer, error) {
	code, places, err := prepass(file, source)
	if err != nil {
		return nil, err
	}
	options := &syntax.FileOptions{TopLevelControl: true, GlobalReassign: true}
	tree, err := options.Parse(file, code, 0)
	if err != nil {
		return nil, locate(err, places)
	}
	g := &guard{places: places, assigned: map[string]Position{}}
	if err := g.file(tree); err != nil {
		return nil, err
	}
	local := scope{starlark.StringDict{}}
	names := predeclared(file, env, local)
	program, err := starlark.FileProgram(tree, names.Has)
	if err != nil {
		return nil, locate(err, places)
	}
	globals, err := program.Init(thread, names)
	if err != nil {
		return nil, locate(err, places)
	}
	return g.settings(globals, local)
}

// settings converts the upper-case names of the file and of locals().
func (g *guard) settings(globals starlark.StringDict, local scope) (layer, error) {
	found, left := layer{}, maxMade
	for key, v := range globals {
		if isSetting(key) {
			found[key] = setting{value: fromStarlark(v, 0, &left), at: g.assigned[key]}
		}
	}
	for key, v := range local.values {
		if _, both := found[key]; both {
			return nil, &Error{
				Position: g.assigned[key],
				Key:      key,
				Message:  "is also assigned through locals()",
				Hint:     "keep one of the two",
			}
		}
		if isSetting(key) {
			found[key] = setting{value: fromStarlark(v, 0, &left), at: g.scoped}
		}
	}
	if left <= 0 {
		message := "the values of the file are too large together"
		return nil, &Error{Position: Position{File: g.places.file}, Message: message, Hint: "write shorter ones"}
	}
	return found, nil
}

// isSetting reports whether a name is upper-case.
func isSetting(key string) bool {
	return key == strings.ToUpper(key) && strings.ToLower(key) != key
}

// locate turns an error of Starlark into *Error, with the place in the source and a hint.
func locate(err error, places sourceMap) error {
	at, message := Position{File: places.file}, err.Error()
	var parse syntax.Error
	var resolved resolve.ErrorList
	var run *starlark.EvalError
	switch {
	case errors.As(err, &parse):
		at, message = places.source(int(parse.Pos.Line), int(parse.Pos.Col)), parse.Msg
	case errors.As(err, &resolved) && len(resolved) > 0:
		first := resolved[0]
		at, message = places.source(int(first.Pos.Line), int(first.Pos.Col)), first.Msg
	case errors.As(err, &run):
		message = run.Msg
		for i := range run.CallStack {
			// The innermost frame with a place in the file; built-in functions have no place.
			if pos := run.CallStack.At(i).Pos; pos.Filename() == places.file && pos.Line > 0 {
				at = places.source(int(pos.Line), int(pos.Col))
				break
			}
		}
	}
	message, hint := explain(message)
	return &Error{Position: at, Message: message, Hint: hint}
}

// explain rewrites an error of Starlark for administrators, without the values in it: they may be
// secrets.
func explain(message string) (text, hint string) {
	switch {
	case strings.Contains(message, "too many steps"):
		return "the file takes too many steps", "write the values out"
	case message == errEnd.Error():
		return message, "a condition above this line ends it: check which setting or " +
			"variable is missing"
	case message == refusalOf("open()").message:
		return message, refusalOf("open()").hint
	case strings.HasPrefix(message, "import: "):
		return strings.TrimPrefix(message, "import: "), writeOut
	case strings.HasPrefix(message, "undefined: "):
		return strings.TrimPrefix(message, "undefined: ") + " is not known here", "assign it on a line before, or " +
			writeOut
	case strings.HasPrefix(message, "global variable "):
		return message, "assign it on a line before"
	case strings.HasPrefix(message, "key ") && strings.HasSuffix(message, " not in os.environ"):
		variable := strings.Trim(strings.TrimSuffix(strings.TrimPrefix(message, "key "), " not in os.environ"), `"`)
		if !isSetting(variable) || strings.Trim(variable, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") != "" {
			variable = "NAME" // not a value that was used as a name
		}
		return "the variable " + variable + " is not set", "write os.environ.get('" + variable + "', 'default')"
	case strings.HasPrefix(message, "key ") && strings.Contains(message, " not in "):
		return "the dict has no such key", "add it, or write .get(key, 'default')"
	case strings.Contains(message, "invalid literal"), strings.Contains(message, "invalid float literal"):
		return "the text is not a number", "write the number"
	case strings.Contains(message, "is too large"):
		return message, "write a shorter one"
	case strings.Contains(message, "duplicate key"):
		return "a key occurs twice in a dict", "keep the last, as Python does"
	case strings.HasPrefix(message, "got ") || strings.Contains(message, ", want "):
		return "not understood: " + message, onlyAssignments
	}
	return message, ""
}
