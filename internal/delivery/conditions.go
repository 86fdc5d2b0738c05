package delivery

import (
	"fmt"
	"strings"

	"github.com/google/uuid"
)

// conditions collects the terms of a WHERE and their arguments.
type conditions struct {
	terms []string
	args  []any
}

// add adds a term; each ? in it takes the next of args.
func (c *conditions) add(term string, args ...any) {
	for _, arg := range args {
		c.args = append(c.args, arg)
		term = strings.Replace(term, "?", fmt.Sprintf("$%d", len(c.args)), 1)
	}
	c.terms = append(c.terms, term)
}

// within adds the realms that the asker may see: the first condition of every query that an administrator's
// realms bound.
func (c *conditions) within(realms []string) {
	if realms != nil {
		c.oneOf("realm", realms)
	}
}

// oneOf adds that a column has one of the values; without values nothing is left.
func (c *conditions) oneOf(column string, values []string) {
	if len(values) == 0 {
		c.add("1 = 0")
		return
	}
	args := make([]any, len(values))
	for i, value := range values {
		args[i] = value
	}
	c.add(column+" IN (?"+strings.Repeat(", ?", len(values)-1)+")", args...)
}

// where returns the WHERE clause, or nothing.
func (c *conditions) where() string {
	if len(c.terms) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(c.terms, " AND ")
}

// idsTogether is how many ids one statement takes.
const idsTogether = 50

// idPlaces returns the places of idsTogether ids: a statement has the same text for any number of them.
func idPlaces() string {
	places := make([]string, idsTogether)
	for i := range places {
		places[i] = fmt.Sprintf("$%d", i+1)
	}
	return strings.Join(places, ", ")
}

// idArgs returns the arguments of idPlaces for 1 to idsTogether ids; the last one fills the places that are left.
func idArgs(ids []uuid.UUID) []any {
	args := make([]any, idsTogether)
	for i := range args {
		args[i] = ids[min(i, len(ids)-1)][:]
	}
	return args
}
