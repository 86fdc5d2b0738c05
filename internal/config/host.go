package config

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"go.starlark.net/starlark"
)

// The names that the prepass writes instead of statements. They give a source that uses them no
// advantage.
const (
	absentName = "__absent__" // an imported module or member that is not offered
	endName    = "__end__"    // raise

	madeName   = ".made"   // subtracts the size of a new value; no source can write it
	walkedName = ".walked" // bounds a value that is hashed
)

// writeOut is the hint for a function that is not offered.
const writeOut = "write the value out, or os.environ.get('NAME', 'default') for one that comes from a variable"

// errEnd is the error of a file that ends itself.
var errEnd = errors.New("the file ends itself here")

// end is sys.exit, exit, quit and raise. Its arguments are not shown, because they may hold a
// secret.
func end(starlark.Tuple, []starlark.Tuple) (starlark.Value, error) { return nil, errEnd }

// opened is open(). It is refused when it runs, so that a file may have it under a false condition.
func opened(starlark.Tuple, []starlark.Tuple) (starlark.Value, error) {
	return nil, errors.New(refusalOf("open()").message)
}

// nothing is print().
func nothing(starlark.Tuple, []starlark.Tuple) (starlark.Value, error) { return starlark.None, nil }

// present is os.path.exists, isfile and isdir. A source learns only whether a file exists.
func present(is func(os.FileInfo) bool) function {
	return func(args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
		var path string
		if err := starlark.UnpackPositionalArgs("os.path", args, kwargs, 1, &path); err != nil {
			return nil, err
		}
		info, err := os.Stat(path)
		return starlark.Bool(err == nil && is(info)), nil
	}
}

// hostname is socket.gethostname and getfqdn: the kernel's name of this host, without a lookup.
func hostname(starlark.Tuple, []starlark.Tuple) (starlark.Value, error) {
	name, err := os.Hostname()
	return starlark.String(name), err
}

// getLevelName is logging's: the number of a name, the name of a number ("logging.getLevelName" in
// Python's manual). It also accepts small letters and a number as a text, because variables have
// them.
func getLevelName(args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var level starlark.Value
	if err := starlark.UnpackPositionalArgs("logging.getLevelName", args, kwargs, 1, &level); err != nil {
		return nil, err
	}
	if text, ok := starlark.AsString(level); ok {
		if n, ok := pythonLevel(strings.ToUpper(strings.TrimSpace(text))); ok {
			return starlark.MakeInt(n), nil
		}
		n, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil {
			return starlark.String("Level " + text), nil
		}
		return starlark.MakeInt(n), nil
	}
	n, err := starlark.AsInt32(level)
	if err != nil {
		return nil, fmt.Errorf("logging.getLevelName wants a text or a number, not %s", level.Type())
	}
	for _, l := range pythonLevels() {
		if l.value == n {
			return starlark.String(l.name), nil
		}
	}
	return starlark.String(fmt.Sprintf("Level %d", n)), nil
}

// getattr reads a level of logging by its name; other attributes are refused.
func getattr(args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var of starlark.Value
	var name string
	var otherwise starlark.Value
	if err := starlark.UnpackPositionalArgs("getattr", args, kwargs, 2, &of, &name, &otherwise); err != nil {
		return nil, err
	}
	n, ok := pythonLevel(name)
	switch {
	case of.String() != "<module \"logging\">":
		return nil, errors.New("getattr reads the levels of logging only")
	case ok:
		return starlark.MakeInt(n), nil
	case otherwise != nil:
		return otherwise, nil
	}
	return nil, errors.New("logging has no such level")
}

// quoted is urllib.parse.quote and quote_plus: each byte of UTF-8 except A-Z, a-z, 0-9, "_.-~" and
// the safe ones becomes %XX. With plus, a space becomes +.
func quoted(safe string, plus bool) function {
	return func(args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
		safe, text := safe, ""
		if err := starlark.UnpackArgs("quote", args, kwargs, "string", &text, "safe?", &safe); err != nil {
			return nil, err
		}
		var b strings.Builder
		for i := range len(text) {
			switch c := text[i]; {
			case c < 0x80 && (isLetter(rune(c)) || isDigit(rune(c)) || strings.IndexByte(".-~"+safe, c) >= 0):
				b.WriteByte(c)
			case c == ' ' && plus:
				b.WriteByte('+')
			default:
				fmt.Fprintf(&b, "%%%02X", c)
			}
		}
		if b.Len() > maxText {
			return nil, fmt.Errorf("the value is too large")
		}
		return starlark.String(b.String()), nil
	}
}

// absent is an imported name that is not offered. Only its use is an error, not the import.
type absent struct{ name string }

// newAbsent is __absent__(name).
func newAbsent(args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var name string
	err := starlark.UnpackPositionalArgs(absentName, args, kwargs, 1, &name)
	return absent{name}, err
}

func (a absent) refused() error { return fmt.Errorf("import: %s is not offered here", a.name) }

// Attr refuses.
func (a absent) Attr(string) (starlark.Value, error) { return nil, a.refused() }

// AttrNames is empty.
func (absent) AttrNames() []string { return nil }

// CallInternal refuses.
func (a absent) CallInternal(*starlark.Thread, starlark.Tuple, []starlark.Tuple) (starlark.Value, error) {
	return nil, a.refused()
}

// Name returns the imported name.
func (a absent) Name() string { return a.name }

// String returns the imported name.
func (a absent) String() string { return a.name }

// Type names the type in messages.
func (absent) Type() string { return "import" }

// Freeze does nothing: the value is immutable.
func (absent) Freeze() {}

// Truth is true, as for a module.
func (absent) Truth() starlark.Bool { return true }

// Hash refuses.
func (a absent) Hash() (uint32, error) { return 0, a.refused() }

// scope is locals(), globals() and vars(): a write-only mapping whose assignments are settings.
type scope struct{ values starlark.StringDict }

// Get refuses: the mapping does not have the values of ordinary assignments.
func (scope) Get(starlark.Value) (starlark.Value, bool, error) {
	return nil, false, errors.New("locals() cannot be read here")
}

// SetKey assigns a name.
func (s scope) SetKey(k, v starlark.Value) error {
	name, ok := starlark.AsString(k)
	if !ok || len(s.values) >= maxRange {
		return errors.New("locals() takes names only")
	}
	s.values[name] = v
	return nil
}

// String shows no value.
func (scope) String() string { return "locals()" }

// Type names the type in messages.
func (scope) Type() string { return "locals" }

// Freeze does nothing: it lives as long as the run.
func (scope) Freeze() {}

// Truth is true.
func (scope) Truth() starlark.Bool { return true }

// Hash refuses.
func (scope) Hash() (uint32, error) { return 0, errors.New("locals() cannot be a key") }

var (
	_ starlark.Callable  = absent{}
	_ starlark.HasAttrs  = absent{}
	_ starlark.HasSetKey = scope{}
)
