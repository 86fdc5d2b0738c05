package user

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"otpost/internal/fault"
	"otpost/internal/store"
)

// Realm is a named list of resolvers.
type Realm struct {
	ID        int64
	Name      string // lower case
	Default   bool
	Resolvers []Member // in the order in which they are asked
}

// Member is a resolver's place in a realm.
type Member struct {
	Name     string
	Type     string
	Priority *int64 // lowest first; nil: last
}

// Realms returns all realms, by id; never nil.
func (d *Directory) Realms(ctx context.Context) ([]Realm, error) {
	c, err := d.catalogue(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]Realm, 0, len(c.realms))
	for _, r := range c.realms {
		r.Resolvers = slices.Clone(r.Resolvers)
		list = append(list, r)
	}
	return list, nil
}

// SaveRealm makes the realm or replaces its resolvers; only name and priority of a member count. It
// returns the names of the resolvers that are in it now and of those that do not exist; both never
// nil. When no resolver exists, nothing is changed. The first realm becomes the default realm
// (recorded). Faults: 905.
func (d *Directory) SaveRealm(ctx context.Context, name string, members []Member) (added, failed []string, err error) {
	name = normal(name)
	switch {
	case len(members) == 0:
		return nil, nil, fault.Missing("resolvers")
	case !isName(name):
		return nil, nil, fault.New(fault.Parameter, "realm_name",
			"ERR905: The name of a realm may hold the letters A to Z, digits, '.', '_' and '-' alone.").About("realm")
	}
	err = d.db.Write(ctx, func(tx *store.Tx) error {
		tx.RaiseGeneration()
		ids := make(map[string]int64)
		found, missing := []string{}, []string{}
		for _, m := range members {
			stored, err := readDefinition(tx, m.Name)
			switch {
			case errors.Is(err, store.ErrNotFound):
				missing = append(missing, m.Name)
			case err != nil:
				return err
			case !slices.Contains(found, m.Name):
				found = append(found, m.Name)
				ids[m.Name] = stored.ID
			}
		}
		added, failed = found, missing
		if len(found) == 0 {
			return nil
		}
		return putRealm(tx, name, members, ids)
	})
	if err != nil {
		return nil, nil, fmt.Errorf("save realm: %w", err)
	}
	return added, failed, nil
}

// DeleteRealm removes a realm and returns its id. Fault 601: unknown name.
func (d *Directory) DeleteRealm(ctx context.Context, name string) (id int64, err error) {
	err = d.db.Write(ctx, func(tx *store.Tx) (err error) {
		if id, err = realmID(tx, name); err != nil {
			return err
		}
		tx.Put(`DELETE FROM realm_resolver WHERE realm_id = $1`, id)
		tx.Put(`DELETE FROM realm WHERE id = $1`, id)
		tx.RaiseGeneration()
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("delete realm: %w", err)
	}
	return id, nil
}

// SetDefaultRealm makes a realm the default realm and returns its id. Fault 601: unknown name.
func (d *Directory) SetDefaultRealm(ctx context.Context, name string) (id int64, err error) {
	err = d.db.Write(ctx, func(tx *store.Tx) (err error) {
		if id, err = realmID(tx, name); err != nil {
			return err
		}
		tx.Put(`UPDATE realm SET is_default = CASE WHEN id = $1 THEN 1 ELSE 0 END`, id)
		tx.RaiseGeneration()
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("set default realm: %w", err)
	}
	return id, nil
}

// ClearDefaultRealm removes the default realm and returns the id of the realm that was it, or 0.
func (d *Directory) ClearDefaultRealm(ctx context.Context) (id int64, err error) {
	err = d.db.Write(ctx, func(tx *store.Tx) error {
		err := tx.Get([]any{&id}, `UPDATE realm SET is_default = 0 WHERE is_default = 1 RETURNING id`)
		if errors.Is(err, store.ErrNotFound) {
			id = 0
			return nil
		}
		tx.RaiseGeneration()
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("clear default realm: %w", err)
	}
	return id, nil
}

// realmID returns the id of a realm. Fault 601: unknown name.
func realmID(r store.Reader, name string) (id int64, err error) {
	err = r.Get([]any{&id}, `SELECT id FROM realm WHERE name = $1`, normal(name))
	if errors.Is(err, store.ErrNotFound) {
		return 0, fault.New(fault.NotFound, "no_realm", "The requested Realm could not be found.")
	}
	return id, err
}
