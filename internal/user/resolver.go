package user

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"otpost/internal/fault"
	"otpost/internal/store"
)

// Definition is a resolver as it is stored. Parameters are those of privacyIDEA's resolver of that
// type, none of them empty.
type Definition struct {
	ID         int64
	Name       string
	Type       string
	Parameters map[string]string
}

// Censored replaces a secret parameter in answers, and in forms that are sent back.
const Censored = "__CENSORED__"

// Secret reports whether a parameter of this name holds a secret, in any of privacyIDEA's types of resolvers
// (BINDPW, Password, client_secret): it can be written and never read back.
func Secret(parameter string) bool {
	name := strings.ToLower(parameter)
	return name == "bindpw" || strings.Contains(name, "password") || strings.Contains(name, "secret")
}

// Resolvers returns all definitions, by id; never nil.
func (d *Directory) Resolvers(ctx context.Context) ([]Definition, error) {
	c, err := d.catalogue(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]Definition, 0, len(c.resolvers))
	for _, r := range c.resolvers {
		copied := r.Definition
		copied.Parameters = maps.Clone(copied.Parameters)
		list = append(list, copied)
	}
	return list, nil
}

// SaveResolver makes or changes the resolver of this name and returns its id. A change keeps
// parameters that are not given and removes empty ones; it cannot change the type. Faults: 905.
func (d *Directory) SaveResolver(ctx context.Context, definition Definition) (id int64, err error) {
	if _, err := d.check(ctx, definition); err != nil {
		return 0, err
	}
	err = d.db.Write(ctx, func(tx *store.Tx) error {
		tx.RaiseGeneration()
		stored, err := readDefinition(tx, definition.Name)
		switch {
		case errors.Is(err, store.ErrNotFound):
			stored = Definition{Name: definition.Name, Type: definition.Type, Parameters: map[string]string{}}
			if stored.ID, err = tx.Next("resolver"); err != nil {
				return err
			}
		case err != nil:
			return err
		case stored.Type != definition.Type:
			return fault.Newf(fault.Parameter, "resolver_other_type",
				"ERR905: The resolver '%s' exists and is of another type.", definition.Name).About("type")
		}
		given := maps.Clone(definition.Parameters)
		// the stored one is kept
		maps.DeleteFunc(given, func(name, value string) bool { return Secret(name) && value == Censored })
		maps.Copy(stored.Parameters, given)
		maps.DeleteFunc(stored.Parameters, func(_, value string) bool { return value == "" })
		id = stored.ID
		return putDefinition(tx, stored)
	})
	if err != nil {
		return 0, fmt.Errorf("save resolver: %w", err)
	}
	return id, nil
}

// check returns the resolver of a definition, or fault 905 when the definition must not be stored.
func (d *Directory) check(ctx context.Context, definition Definition) (Resolver, error) {
	switch {
	case definition.Type == "":
		return nil, fault.Missing("type")
	case d.options.Types[definition.Type] == nil:
		return nil, fault.Newf(fault.Parameter, "resolver_no_type",
			"ERR905: There is no resolver type '%s'. This version has: %s.",
			clean(definition.Type), strings.Join(slices.Sorted(maps.Keys(d.options.Types)), ", ")).About("type")
	case !isName(definition.Name):
		return nil, fault.New(fault.Parameter, "resolver_name",
			"ERR905: The name of a resolver may hold the letters A to Z, digits, "+
				"'.', '_' and '-' alone.").About("resolver")
	}
	reads, err := d.options.Types[definition.Type](definition.Name, definition.Parameters)
	if err != nil {
		return nil, fault.Wrap(err, fault.Parameter, "resolver_parameters",
			"ERR905: The parameters of the resolver are wrong.")
	}
	if checked, ok := reads.(Checked); ok {
		if err := checked.Check(ctx); err != nil {
			return nil, fmt.Errorf("check resolver %s: %w", definition.Name, err)
		}
	}
	return reads, nil
}

// DeleteResolver removes a resolver and returns its id, or -1 for an unknown name (recorded). Fault
// 302 while a realm contains it.
func (d *Directory) DeleteResolver(ctx context.Context, name string) (id int64, err error) {
	err = d.db.Write(ctx, func(tx *store.Tx) error {
		tx.RaiseGeneration()
		stored, err := readDefinition(tx, name)
		if errors.Is(err, store.ErrNotFound) {
			id = -1
			return nil
		}
		if err != nil {
			return err
		}
		var realm string
		err = tx.Get([]any{&realm},
			`SELECT realm.name FROM realm JOIN realm_resolver ON realm_resolver.realm_id = realm.id
			WHERE realm_resolver.resolver_id = $1 ORDER BY realm.id LIMIT 1`, stored.ID)
		if err == nil {
			return fault.Newf(fault.Config, "resolver_in_use",
				"ERR302: The resolver '%s' is still contained in realm '%s'.", name, realm)
		}
		if !errors.Is(err, store.ErrNotFound) {
			return err
		}
		tx.Put(`DELETE FROM resolver WHERE id = $1`, stored.ID)
		id = stored.ID
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("delete resolver: %w", err)
	}
	return id, nil
}

// TestResolver reads the users of a definition, stored or not, and returns how many there are.
// Fault 905 says why it cannot.
func (d *Directory) TestResolver(ctx context.Context, definition Definition) (found int, err error) {
	if definition.Name == "" {
		definition.Name = "test"
	}
	reads, err := d.check(ctx, definition)
	if err != nil {
		return 0, err
	}
	_, found, err = reads.List(ctx, nil, 0)
	switch {
	case err == nil:
		return found, nil
	case errors.Is(err, fs.ErrNotExist):
		return 0, fault.Wrap(err, fault.Parameter, "resolver_no_file",
			"ERR905: The resolver does not work: there is no such file.")
	}
	return 0, fault.Wrap(err, fault.Parameter, "resolver_unread",
		"ERR905: The resolver does not work: its users cannot be read.")
}

// isName reports whether a name may be a resolver's or a realm's.
func isName(name string) bool {
	if name == "" || len(name) > 255 {
		return false
	}
	for _, c := range name {
		if !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-", c) {
			return false
		}
	}
	return true
}

// clean returns the part of a foreign word that an error sentence may repeat.
func clean(word string) string {
	if isName(word) {
		return word
	}
	return "?"
}
