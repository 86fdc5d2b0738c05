package cli

import (
	"regexp"

	"github.com/alecthomas/kong"
)

var unknownFlag = regexp.MustCompile(`^unknown flag --?([^ ,]+)`) //nolint:gochecknoglobals // a constant pattern

// explain names the command before which an unknown option was typed, if a command has the option.
// Otherwise it returns text, in which the parser suggests options with a similar name.
func explain(text string, where *kong.Context, args []string) string {
	found := unknownFlag.FindStringSubmatch(text)
	if found == nil {
		return text
	}
	if command := commandFirst(where, args, found[1]); command != "" {
		return found[0] + ", write the command first: " + command
	}
	if where.Selected() == nil && len(where.Model.Children) > 0 {
		return found[0] + ", write the command before its options"
	}
	return text
}

// commandFirst returns the command in args with its option of this name (long or short), as they
// should be typed. It returns "" when the command comes first already, or has no such option.
func commandFirst(where *kong.Context, args []string, option string) string {
	node := where.Model.Node
	for _, arg := range args {
		for _, child := range node.Children {
			if child.Name == arg {
				node = child
				break
			}
		}
	}
	if node == where.Selected() {
		return ""
	}
	for _, f := range node.Flags {
		if !f.Hidden && (f.Name == option || f.Short != 0 && string(f.Short) == option) {
			typed := "--" + f.Name
			if !f.IsBool() {
				typed += " " + f.FormatPlaceHolder()
			}
			return node.FullPath() + " " + typed
		}
	}
	return ""
}
