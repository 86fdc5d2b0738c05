package token_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"otpost/internal/store"
	"otpost/internal/token"
	"otpost/internal/user"
)

func TestSerialWithoutAWildcardIsFoundByItsIndex(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.enrol("ABC1")
	r.enrol("ABC2")
	for serial, want := range map[string]int{"ABC1": 1, "abc1": 1, "ABC": 0, "ABC*": 2, "AB_1": 0} {
		page, err := r.List(t.Context(), token.Filter{Serial: serial})
		if err != nil || page.Count != want || len(page.Tokens) != want {
			t.Errorf("%s: %d tokens, %v, want %d", serial, page.Count, err, want)
		}
	}
	err := r.db.Read(t.Context(), func(rd store.Reader) error {
		return rd.Query(func(scan store.Scan) error {
			var id, parent, unused int
			var plan string
			err := scan(&id, &parent, &unused, &plan)
			if !strings.Contains(plan, "token_serial_lower") {
				t.Errorf("plan: %s", plan)
			}
			return err
		}, `EXPLAIN QUERY PLAN SELECT count(*) FROM token WHERE 1 = 1 AND lower(serial) = lower($1)`, "ABC1")
	})
	if err != nil {
		t.Error(err)
	}
}

func TestListedTokensHaveTheirOwnRealmsAndProperties(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for n := range 5 {
		serial := fmt.Sprint("T", n)
		r.enrol(serial)
		if err := r.SetInfo(t.Context(), of(serial), "number", serial); err != nil {
			t.Fatal(err)
		}
		r.exec(`INSERT INTO token_realm (serial, realm) VALUES ($1, $2)`, serial, "realm of "+serial)
	}
	page, err := r.List(t.Context(), token.Filter{})
	if err != nil || len(page.Tokens) != 5 {
		t.Fatalf("%v, %v", page, err)
	}
	for _, one := range page.Tokens {
		last := one.Properties[len(one.Properties)-1]
		if len(one.Realms) != 1 || one.Realms[0] != "realm of "+one.Serial || last.Key != "number" ||
			last.Value != one.Serial {
			t.Errorf("%s: %v, %v", one.Serial, one.Realms, last)
		}
	}
}

// unread is a user store that cannot be read.
type unread struct{}

func (unread) ByUID(context.Context, string, string) (user.User, error) {
	return user.User{}, errors.New("the file is gone")
}

func TestListTellsTheLogOfAResolverThatCannotBeRead(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, serial := range []string{"A", "B"} {
		r.init(token.Enrolment{Type: "email", Serial: serial, Email: "alice@example.com", Owner: &r.alice})
	}
	var log bytes.Buffer
	options := r.Options
	options.Users, options.Log = unread{}, slog.New(slog.NewTextHandler(&log, nil))
	page, err := token.New(options).List(t.Context(), token.Filter{})
	if err != nil || len(page.Tokens) != 2 {
		t.Errorf("%v, %v", page, err)
	}
	if n := strings.Count(log.String(), "the file is gone"); n != 1 {
		t.Errorf("the log tells of it %d times: %s", n, &log)
	}
}
