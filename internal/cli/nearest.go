package cli

import (
	"regexp"
	"strings"

	"github.com/alecthomas/kong"

	"otpost/internal/spelling"
)

var unknownFlag = regexp.MustCompile(`^unknown flag (--?)([^ ,]+)`) //nolint:gochecknoglobals // a constant pattern

// explain adds to the parser's word that an option is unknown what was meant: the command before its option, else the nearest
// option; for a letter that is like none it names them all.
func explain(text string, where *kong.Context, args []string) string {
	found := unknownFlag.FindStringSubmatch(text)
	if found == nil {
		return text
	}
	if command := commandFirst(where, args, found[2]); command != "" {
		return found[0] + ", write the command first: " + command
	}
	if where.Selected() == nil && len(where.Model.Children) > 0 {
		return found[0] + ", write the command before its options"
	}
	flags := where.Flags()
	if name := nearest(found[1], found[2], flags); name != "" {
		return found[0] + ", did you mean " + name + "?"
	}
	known := ""
	for _, f := range flags {
		if f.Short != 0 {
			known += " -" + string(f.Short)
		}
	}
	return found[0] + ", known are" + known
}

// commandFirst returns the command in args and its option of this name (long or short), as they should be typed. Empty: the
// command stands first already, or it has no such option.
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

// nearest returns the option that is most like a name: for a letter the same in the other case, or an option that begins with
// it; for a word one that begins with it, else the one with the fewest letters to change. Empty: nothing is like it.
func nearest(dashes, name string, flags []*kong.Flag) string {
	best, least := "", -1
	for _, f := range flags {
		switch {
		case f.Hidden:
		case dashes == "--":
			d := spelling.Distance(name, f.Name)
			if strings.HasPrefix(f.Name, name) {
				d = 0
			}
			if least < 0 || d < least {
				best, least = "--"+f.Name, d
			}
		case f.Short != 0 && strings.EqualFold(string(f.Short), name):
			return "-" + string(f.Short)
		case best == "" && strings.HasPrefix(f.Name, strings.ToLower(name)):
			best = "--" + f.Name
		}
	}
	return best
}
