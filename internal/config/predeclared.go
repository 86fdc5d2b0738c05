package config

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"go.starlark.net/lib/time"
	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"
	"go.starlark.net/syntax"
)

// modules returns the modules that may be imported.
func modules() []string {
	return []string{"os", "os.path", "logging", "datetime", "sys", "socket", "urllib", "urllib.parse"}
}

// isOffered reports whether a pi.cfg may use a name, or a dotted name of a module, without
// assigning it.
func isOffered(dotted string) bool {
	switch dotted {
	case "None", "True", "False", "str", "int", "float", "bool", "len", "list", "tuple", "dict", "min", "max", "sorted",
		"print", "range", "getattr", "os", "logging", "datetime", "sys", "socket", "urllib", "timedelta", "__file__",
		"os.environ", "os.getenv", "os.path", "os.path.join", "os.path.dirname", "os.path.abspath", "os.path.basename",
		"os.path.exists", "os.path.isfile", "os.path.isdir", "logging.getLevelName", "datetime.timedelta",
		"sys.exit", "sys.stderr", "sys.stdout",
		"socket.gethostname", "socket.getfqdn", "urllib.parse", "urllib.parse.quote", "urllib.parse.quote_plus":
		return true
	}
	module, level, _ := strings.Cut(dotted, ".")
	_, ok := pythonLevel(level)
	return ok && module == "logging"
}

// isAttribute reports whether a name may follow a dot. Methods that change a value in place are
// refused.
func isAttribute(name string) bool {
	switch name {
	case "environ", "getenv", "path", "join", "dirname", "abspath", "basename", "exists", "isfile", "isdir",
		"timedelta",
		"getLevelName", "exit", "stderr", "stdout", "gethostname", "getfqdn", "parse", "quote", "quote_plus", "read",
		"get", "keys", "values", "items",
		"format", "replace", "isdigit", "lower", "upper", "title", "split", "rsplit", "strip", "lstrip", "rstrip",
		"startswith", "endswith", "removeprefix", "removesuffix":
		return true
	}
	_, ok := pythonLevel(name)
	return ok
}

// predeclared returns the names that a pi.cfg can use: modules, functions, __file__, the mapping
// behind locals(), and the bounded functions that guard writes instead of operators.
func predeclared(file string, env map[string]string, local scope) starlark.StringDict {
	levels := starlark.StringDict{"getLevelName": builtin("getLevelName", getLevelName)}
	for _, l := range pythonLevels() {
		levels[l.name] = starlark.MakeInt(l.value)
	}
	here := file
	if abs, err := filepath.Abs(file); err == nil {
		here = abs
	}
	duration := builtin("timedelta", timedelta)
	names := starlark.StringDict{
		"os": module("os", starlark.StringDict{
			"environ": environ{env},
			"getenv":  builtin("getenv", environ{env}.get),
			"path": module("os.path", starlark.StringDict{
				"join":    builtin("join", pathJoin),
				"dirname": builtin("dirname", onPath(pathDir)),
				"basename": builtin("basename", onPath(func(p string) string {
					return p[strings.LastIndexByte(p, '/')+1:]
				})),
				"abspath": builtin("abspath", onPath(pathAbs)),
				"exists":  builtin("exists", present(func(os.FileInfo) bool { return true })),
				"isfile":  builtin("isfile", present(func(i os.FileInfo) bool { return i.Mode().IsRegular() })),
				"isdir":   builtin("isdir", present(os.FileInfo.IsDir)),
			}),
		}),
		"logging":  module("logging", levels),
		"datetime": module("datetime", starlark.StringDict{"timedelta": duration}),
		"sys": module("sys", starlark.StringDict{
			"exit": builtin("exit", end), "stderr": starlark.None, "stdout": starlark.None,
		}),
		"socket": module("socket", starlark.StringDict{
			"gethostname": builtin("gethostname", hostname), "getfqdn": builtin("getfqdn", hostname),
		}),
		"urllib": module("urllib", starlark.StringDict{"parse": module("urllib.parse", starlark.StringDict{
			"quote": builtin("quote", quoted("/", false)), "quote_plus": builtin("quote_plus", quoted("", true)),
		})}),
		"timedelta": duration,
		"range":     builtin("range", boundedRange),
		"str":       builtin("str", str),
		"__file__":  starlark.String(here),
		"getattr":   builtin("getattr", getattr),
		"open":      builtin("open", opened),
		"print":     builtin("print", nothing),
		absentName:  builtin(absentName, newAbsent),
	}
	addBounded(names)
	for _, f := range []string{"locals", "globals", "vars"} {
		names[f] = builtin(f, func(starlark.Tuple, []starlark.Tuple) (starlark.Value, error) { return local, nil })
	}
	for _, f := range []string{"exit", "quit", endName} {
		names[f] = builtin(f, end)
	}
	return names
}

// addBounded adds the functions that guard writes instead of operators, calls and keys, and the
// functions of Starlark that walk over their arguments.
func addBounded(names starlark.StringDict) {
	values := &allowance{left: maxMade}
	names[madeName] = builtin(madeName, values.made)
	names[walkedName] = builtin(walkedName, walked)
	for _, op := range []syntax.Token{syntax.PLUS, syntax.STAR, syntax.PERCENT, syntax.PIPE, syntax.EQL, syntax.NEQ,
		syntax.LT, syntax.LE,
		syntax.GT, syntax.GE, syntax.IN, syntax.NOT_IN} {
		names[op.String()] = builtin(op.String(), values.operate(op))
	}
	for _, method := range []string{"join", "format", "replace", "get"} {
		names["."+method] = boundedMethod(method)
	}
	for _, name := range []string{"dict", "max", "min", "sorted"} {
		names[name] = walking(name)
	}
}

func module(name string, members starlark.StringDict) starlark.Value {
	return &starlarkstruct.Module{Name: name, Members: members}
}

// function is a Starlark function that needs no thread.
type function func(args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error)

func builtin(name string, f function) starlark.Value {
	return starlark.NewBuiltin(name,
		func(_ *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple,
			kwargs []starlark.Tuple) (starlark.Value, error) {
			return f(args, kwargs)
		})
}

// timedelta takes Python's arguments, each an integer, and returns a duration.
func timedelta(args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var days, seconds, micros, millis, minutes, hours, weeks int64
	err := starlark.UnpackArgs("timedelta", args, kwargs, "days?", &days, "seconds?", &seconds, "microseconds?",
		&micros,
		"milliseconds?", &millis, "minutes?", &minutes, "hours?", &hours, "weeks?", &weeks)
	seconds += 60*minutes + 3600*hours + 86400*(days+7*weeks)
	return time.Duration(seconds*1e9 + millis*1e6 + micros*1e3), err
}

func pathJoin(args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
	joined := ""
	for _, a := range args {
		part, ok := starlark.AsString(a)
		switch {
		case !ok:
			return nil, fmt.Errorf("os.path.join wants texts, not %s", a.Type())
		case strings.HasPrefix(part, "/") || joined == "":
			joined = part
		case strings.HasSuffix(joined, "/"):
			joined += part
		default:
			joined += "/" + part
		}
		if len(joined) > maxText {
			return nil, fmt.Errorf("the path is too long")
		}
	}
	return starlark.String(joined), nil
}

func onPath(f func(string) string) function {
	return func(args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
		var p string
		if err := starlark.UnpackPositionalArgs("os.path", args, kwargs, 1, &p); err != nil {
			return nil, err
		}
		return starlark.String(f(p)), nil
	}
}

// pathDir is Python's: the part before the last slash, so that "/a/b/" gives "/a/b".
func pathDir(p string) string {
	head := p[:strings.LastIndexByte(p, '/')+1]
	if trimmed := strings.TrimRight(head, "/"); trimmed != "" {
		return trimmed
	}
	return head
}

func pathAbs(p string) string {
	if abs, err := filepath.Abs(p); err == nil {
		return abs
	}
	return path.Clean(p)
}
