package user

import (
	"encoding/json"
	"errors"
	"fmt"

	"otpost/internal/fault"
	"otpost/internal/store"
)

func readGeneration(r store.Reader) (generation int64, err error) {
	err = r.Get([]any{&generation}, `SELECT CAST(generation AS BIGINT) FROM instance`)
	return generation, err
}

// stored is a definition as it is stored in its row.
type stored struct {
	Definition
	damage error // why the row cannot be read; nil: it can be read
}

func readDefinitions(r store.Reader) (list []stored, err error) {
	err = store.List(r, func(scan store.Scan) error {
		one, err := scanDefinition(scan)
		if err != nil && !errors.Is(err, store.ErrDamaged) {
			return err
		}
		list = append(list, stored{one, err}) // this resolver cannot be opened; the list goes on
		return nil
	}, `SELECT id, name, type, data FROM resolver ORDER BY id`)
	return list, err
}

// readDefinition returns the definition of this name, or store.ErrNotFound.
func readDefinition(r store.Reader, name string) (Definition, error) {
	return scanDefinition(func(dest ...any) error {
		return r.Get(dest, `SELECT id, name, type, data FROM resolver WHERE name = $1`, name)
	})
}

func scanDefinition(scan store.Scan) (one Definition, err error) {
	var data string
	err = scan(&one.ID, &one.Name, &one.Type, store.Checked{To: &data, Check: func(text string) bool {
		return json.Unmarshal([]byte(text), &one.Parameters) == nil
	}})
	if one.Parameters == nil {
		one.Parameters = map[string]string{}
	}
	return one, err
}

func putDefinition(tx *store.Tx, one Definition) error {
	data, err := json.Marshal(one.Parameters)
	if err != nil {
		return fmt.Errorf("encode parameters: %w", err)
	}
	tx.Put(`INSERT INTO resolver (id, name, type, data) VALUES ($1, $2, $3, $4)
		ON CONFLICT (id) DO UPDATE SET data = excluded.data`, one.ID, one.Name, one.Type, string(data))
	return nil
}

func readRealms(r store.Reader) (list []Realm, err error) {
	places := make(map[int64]int)
	err = store.List(r, func(scan store.Scan) error {
		one := Realm{Resolvers: []Member{}}
		var isDefault int64
		if err := scan(&one.ID, &one.Name, &isDefault); err != nil && !errors.Is(err, store.ErrDamaged) {
			return err
		}
		if !isName(one.Name) {
			return fmt.Errorf("%w: name of realm %d", store.ErrDamaged, one.ID)
		}
		one.Default = isDefault == 1
		places[one.ID] = len(list)
		list = append(list, one)
		return nil
	}, `SELECT id, name, is_default FROM realm ORDER BY id`)
	if err != nil {
		return nil, err
	}
	err = store.List(r, func(scan store.Scan) error {
		var realm int64
		var m Member
		// A damaged member stays in the list, last: without it, a user of the same name in another
		// resolver would take the place of its user.
		if err := scan(&realm, &m.Name, &m.Type, &m.Priority); err != nil && !errors.Is(err, store.ErrDamaged) {
			return err
		}
		if place, ok := places[realm]; ok {
			list[place].Resolvers = append(list[place].Resolvers, m)
		}
		return nil
	}, `SELECT realm_resolver.realm_id, resolver.name, resolver.type, realm_resolver.priority
		FROM realm_resolver JOIN resolver ON resolver.id = realm_resolver.resolver_id
		ORDER BY realm_resolver.priority NULLS LAST, resolver.id`)
	return list, err
}

// putRealm makes the realm if it is missing and replaces its members by those that have an id.
func putRealm(tx *store.Tx, name string, members []Member, ids map[string]int64) error {
	id, err := realmID(tx, name)
	if fault.CodeOf(err) == fault.NotFound {
		var others int64
		if err := tx.Get([]any{&others}, `SELECT COUNT(*) FROM realm`); err != nil {
			return err
		}
		if id, err = tx.Next("realm"); err != nil {
			return err
		}
		first := 0
		if others == 0 {
			first = 1
		}
		tx.Put(`INSERT INTO realm (id, name, is_default) VALUES ($1, $2, $3)`, id, name, first)
	} else if err != nil {
		return err
	}
	tx.Put(`DELETE FROM realm_resolver WHERE realm_id = $1`, id)
	for _, m := range members {
		if resolver, ok := ids[m.Name]; ok {
			tx.Put(`INSERT INTO realm_resolver (realm_id, resolver_id, priority) VALUES ($1, $2, $3)
				ON CONFLICT (realm_id, resolver_id) DO UPDATE SET priority = excluded.priority`, id, resolver,
				m.Priority)
		}
	}
	return nil
}
