package user

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"otpost/internal/pinhash"
	"otpost/internal/store"
)

// Options of a Directory.
type Options struct {
	Types    map[string]Type   // by the name that the REST API gives them, "passwdresolver"
	Verifier *pinhash.Verifier // spends the time of a password check for users that do not exist
}

// Directory keeps resolvers and realms and finds users through them. It is safe for concurrent use.
type Directory struct {
	db      *store.DB
	options Options

	mu     sync.Mutex
	cached *Catalogue
}

// New returns the directory of a database.
func New(db *store.DB, o Options) *Directory { return &Directory{db: db, options: o} }

// Catalogue holds all resolvers and realms at one moment; it is immutable and safe for concurrent use.
type Catalogue struct {
	generation int64      // of the settings from which it was made
	resolvers  []resolver // by id
	realms     []Realm    // by id
}

// resolver is a definition and its Resolver; err says why there is none.
type resolver struct {
	Definition
	reads Resolver
	err   error
}

// catalogue returns what is stored now, in a snapshot of its own.
func (d *Directory) catalogue(ctx context.Context) (c *Catalogue, err error) {
	err = d.db.Read(ctx, func(r store.Reader) (err error) {
		c, err = d.Catalogue(r)
		return err
	})
	return c, err
}

// Catalogue returns what the reader's snapshot holds. It is read again only after a setting was changed, of whatever
// package: while the result is the same pointer, no setting is another one.
func (d *Directory) Catalogue(r store.Reader) (*Catalogue, error) {
	d.mu.Lock()
	before := d.cached
	d.mu.Unlock()
	generation, err := readGeneration(r)
	if err == nil && before != nil && before.generation == generation {
		return before, nil
	}
	var current *Catalogue
	if err == nil {
		current, err = d.load(r, generation, before)
	}
	if err != nil {
		return nil, fmt.Errorf("read realms and resolvers: %w", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cached == nil || d.cached.generation < generation {
		d.cached = current
	}
	return current, nil
}

// load reads the catalogue and keeps the resolvers whose definitions are unchanged, because they
// may hold connections and contents.
func (d *Directory) load(r store.Reader, generation int64, before *Catalogue) (*Catalogue, error) {
	c := &Catalogue{generation: generation}
	definitions, err := readDefinitions(r)
	if err != nil {
		return nil, err
	}
	if c.realms, err = readRealms(r); err != nil {
		return nil, err
	}
	for _, definition := range definitions {
		c.resolvers = append(c.resolvers, d.open(definition, before))
	}
	return c, nil
}

func (d *Directory) open(definition stored, before *Catalogue) resolver {
	if before != nil {
		for _, old := range before.resolvers {
			if old.ID == definition.ID && old.Name == definition.Name && old.Type == definition.Type &&
				definition.damage == nil &&
				maps.Equal(old.Parameters, definition.Parameters) {
				return old
			}
		}
	}
	opened := resolver{Definition: definition.Definition, err: definition.damage}
	if definition.damage != nil {
		return opened
	}
	if open, ok := d.options.Types[definition.Type]; ok {
		opened.reads, opened.err = open(definition.Name, definition.Parameters)
	} else {
		opened.err = fmt.Errorf("%w: its type is not known to this version", store.ErrDamaged)
	}
	return opened
}

func (c *Catalogue) realm(name string) (Realm, bool) {
	i := slices.IndexFunc(c.realms, func(r Realm) bool { return r.Name == name })
	if i < 0 {
		return Realm{}, false
	}
	return c.realms[i], true
}

// resolver returns the Resolver of this name, or ErrNotFound.
func (c *Catalogue) resolver(name string) (Resolver, error) {
	for _, r := range c.resolvers {
		if r.Name == name {
			if errors.Is(r.err, store.ErrDamaged) {
				return nil, cannotRead(r.err, name, ": its row is damaged")
			}
			if r.err != nil {
				return nil, fmt.Errorf("open resolver %s: %w", name, r.err)
			}
			return r.reads, nil
		}
	}
	return nil, ErrNotFound
}

func (c *Catalogue) defaultRealm() string {
	for _, r := range c.realms {
		if r.Default {
			return r.Name
		}
	}
	return ""
}

// normal returns a realm's name as it is stored: lower case, "-" for spaces
// (testdata/rest/realm.json, "create bad name").
func normal(realm string) string {
	return strings.ReplaceAll(strings.ToLower(strings.TrimSpace(realm)), " ", "-")
}
