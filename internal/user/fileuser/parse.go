package fileuser

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"otpost/internal/pinhash"
	"otpost/internal/user"
)

// content is the parsed content of a file; it is immutable.
type content struct {
	stamp          stamp
	settled        bool // the file was old enough when it was read
	entries        []entry
	byLogin, byUID map[string]int // place in entries
	costliest      string         // the hash that takes longest to check; empty: none
	malformed      int            // lines that were skipped
	problems       []string       // the reasons of the first of them, without their content
	sharedUIDs     int            // users with the UID of another user
	sharing        []string       // the first of them: "login and login"
	unknownHashes  int
}

type entry struct {
	user user.User
	hash string // empty: no hash that can be checked
}

func (c *content) pick(places map[string]int, key string) (user.User, error) {
	i, ok := places[key]
	if !ok {
		return user.User{}, user.ErrNotFound
	}
	return c.entries[i].user, nil
}

// parse reads a file in UTF-8, with or without a byte order mark. White space around a line and
// around its fields counts for nothing, as in privacyIDEA. Empty lines and lines that begin with #
// are ignored. A line needs five fields, a unique login and a UID.
func parse(raw []byte) *content {
	c := &content{byLogin: make(map[string]int), byUID: make(map[string]int)}
	highest := time.Duration(-1)
	for number, line := range strings.Split(strings.TrimPrefix(string(raw), "\ufeff"), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		e, problem := parseLine(line)
		if _, taken := c.byLogin[e.user.Login]; taken && problem == "" {
			problem = "the name occurs twice"
		}
		if problem != "" {
			if c.malformed++; len(c.problems) < mostProblems {
				c.problems = append(c.problems, fmt.Sprintf("line %d: %s", number+1, problem))
			}
			continue
		}
		cost, err := pinhash.Cost(e.hash)
		switch {
		case err != nil:
			if strings.Trim(e.hash, "x*!") != "" { // those mean "no password here"
				c.unknownHashes++
			}
			e.hash = ""
		case cost > highest:
			highest, c.costliest = cost, e.hash
		}
		c.add(e)
	}
	return c
}

func (c *content) add(e entry) {
	place := len(c.entries)
	c.entries = append(c.entries, e)
	c.byLogin[e.user.Login] = place
	first, taken := c.byUID[e.user.UID]
	if !taken {
		c.byUID[e.user.UID] = place
		return
	}
	if c.sharedUIDs++; len(c.sharing) < mostProblems {
		c.sharing = append(c.sharing, c.entries[first].user.Login+" and "+e.user.Login)
	}
}

// mostProblems is how many lines a warning names.
const mostProblems = 3

// parseLine reads one line, or says what is wrong with it.
func parseLine(line string) (e entry, problem string) {
	fields := trimmed(strings.Split(line, ":"))
	switch {
	case !utf8.ValidString(line):
		return e, "not UTF-8 (save the file as UTF-8)"
	case strings.ContainsRune(line, 0):
		return e, "a NUL byte"
	case len(fields) < 5:
		return e, fmt.Sprintf("%d of 7 fields", len(fields))
	case fields[0] == "":
		return e, "no name (field 1)"
	case fields[2] == "":
		return e, "no uid (field 3)"
	}
	gecos := fields[4]
	parts := append(trimmed(strings.Split(gecos, ",")), "", "", "", "") // at least five
	given, surname, _ := strings.Cut(parts[0], " ")
	email := ""
	for _, part := range parts[4:] { // privacyIDEA searches the address after the fourth comma
		if email == "" && strings.Contains(part, "@") {
			email = part
		}
	}
	return entry{hash: fields[1], user: user.User{
		Login:       fields[0],
		UID:         fields[2],
		Description: gecos,
		Givenname:   given,
		Surname:     strings.TrimSpace(surname),
		Mobile:      parts[2],
		Phone:       parts[3],
		Email:       email,
	}}, ""
}

// trimmed takes the white space off each field.
func trimmed(fields []string) []string {
	for i := range fields {
		fields[i] = strings.TrimSpace(fields[i])
	}
	return fields
}
