package cli

import (
	"regexp"
	"strings"

	"github.com/alecthomas/kong"

	"otpost/internal/spelling"
)

var unknownFlag = regexp.MustCompile(`^unknown flag (--?)([^ ,]+)`) //nolint:gochecknoglobals // a constant pattern

// withNearest puts the nearest option to the parser's word that one is unknown; for a letter that is like none it names them all.
func withNearest(err error, flags []*kong.Flag) string {
	text := err.Error()
	found := unknownFlag.FindStringSubmatch(text)
	if found == nil {
		return text
	}
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
