package delivery

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"otpost/internal/store"
)

// The size of a page of deliveries.
const (
	DefaultPageSize = 50
	MostPageSize    = 200
)

// ErrNotFound says that there is no delivery of an id, or none that the asker may see.
var ErrNotFound = errors.New("no such delivery")

// Filter says which deliveries to list. The zero value means the newest DefaultPageSize of all.
type Filter struct {
	Realms        []string // of which the asker may see the deliveries; nil: of all, and those without a realm
	States        []State  // nil: any; none: nothing is listed
	Server        string   // identifier of the route; empty: any
	Serial        string
	TransactionID string
	Since, Until  time.Time // made from Since on, before Until; zero: no bound
	Before        uuid.UUID // only older ones than this: the Next of the page before
	PageSize      int       // 1 to MostPageSize; 0: DefaultPageSize
}

// Page is a part of a list, the newest first.
type Page struct {
	Deliveries []Record
	Next       uuid.UUID // the Before of the next page; zero: this is the last one
}

// Record is a delivery as an administrator may read it: no content, and the recipient is masked. It has as
// many fields as there is to tell.
type Record struct {
	ID        uuid.UUID
	Channel   string
	State     State
	Reason    Reason
	Via       Via
	Server    string
	Serial    string // empty: a test message
	Realm     string // of the token's owner when it was made; empty: none
	Recipient string // masked
	MessageID string
	Created   time.Time
	Updated   time.Time
	NotAfter  time.Time
	NextTry   time.Time // zero: none is planned
	Attempts  []Attempt // never nil
	Waiters   []Waiter  // never nil
}

const recordColumns = `id, channel, state, reason, via, route, serial, realm, recipient, message_id,
	created_ms, updated_ms, not_after_ms, next_try_ms`

func (d *Record) columns() []any {
	return []any{
		&d.ID, &d.Channel, &d.State, &d.Reason, &d.Via, &d.Server, &d.Serial, &d.Realm, &d.Recipient, &d.MessageID,
		store.NullTime{To: &d.Created}, store.NullTime{To: &d.Updated}, store.NullTime{To: &d.NotAfter},
		store.NullTime{To: &d.NextTry},
	}
}

// conditions returns those of the filter, without its states.
func (f Filter) conditions() *conditions {
	c := &conditions{}
	c.within(f.Realms)
	if f.Server != "" {
		c.add("route = ?", f.Server)
	}
	if f.Serial != "" {
		c.add("serial = ?", f.Serial)
	}
	if f.TransactionID != "" {
		c.add("id IN (SELECT delivery_id FROM waiter WHERE transaction_id = ?)", f.TransactionID)
	}
	if !f.Since.IsZero() {
		c.add("created_ms >= ?", store.Millis(f.Since))
	}
	if !f.Until.IsZero() {
		c.add("created_ms < ?", store.Millis(f.Until))
	}
	if f.Before != uuid.Nil {
		c.add("id < ?", f.Before[:])
	}
	return c
}

// query returns the query of the records to show, at most most, and its arguments. It reads indexes alone until it
// knows their ids, however little fits. Each state is asked for by itself, because the indexes differ.
func (f Filter) query(most int) (string, []any) {
	c := f.conditions()
	c.args = append(c.args, most)
	end := fmt.Sprintf(" ORDER BY id DESC LIMIT $%d", len(c.args))
	var ids []string
	if f.States == nil {
		ids = append(ids, "SELECT id FROM delivery"+c.where()+end)
	}
	others := len(c.terms)
	for _, state := range States() {
		if !slices.Contains(f.States, state) {
			continue
		}
		c.terms = c.terms[:others]
		c.add("state = ?", string(state))
		switch {
		case !state.Final(): // no older row is open; the + keeps min from walking all ids
			c.terms = append(c.terms, "id >= (SELECT min(+id) FROM delivery WHERE state IN ('queued', 'deferred', 'sending'))")
		case state != Accepted && f.Serial == "": // the condition of the index delivery_not_accepted; a token has fewer rows
			c.terms = append(c.terms, "state IN ('failed', 'expired', 'dropped', 'unknown')")
		}
		ids = append(ids, "SELECT id FROM (SELECT id FROM delivery"+c.where()+end+")")
	}
	among := strings.Join(ids, " UNION ALL ")
	return `SELECT ` + recordColumns + ` FROM delivery WHERE id IN (` + among + `)` + end, c.args
}

// List returns a page of deliveries, the newest first. Ids rise with time, so a page stays what it is while
// new ones are made.
func (s *Service) List(ctx context.Context, f Filter) (Page, error) {
	if f.PageSize == 0 {
		f.PageSize = DefaultPageSize
	}
	if f.States != nil && len(f.States) == 0 {
		return Page{}, nil
	}
	query, args := f.query(f.PageSize + 1) // one more tells whether there is another page
	var page Page
	err := s.DB.ReadInTurn(ctx, func(r store.Reader) error {
		page = Page{}
		var all []Record
		err := store.List(r, func(scan store.Scan) error {
			var d Record
			if err := scan(d.columns()...); err != nil && (d.ID == uuid.Nil || !errors.Is(err, store.ErrDamaged)) {
				return err
			}
			all = append(all, d)
			return nil
		}, query, args...)
		if err != nil {
			return err
		}
		if len(all) > f.PageSize {
			all = all[:f.PageSize]
			page.Next = all[f.PageSize-1].ID
		}
		page.Deliveries = all
		return complete(r, all)
	})
	if err != nil {
		return Page{}, fmt.Errorf("list deliveries: %w", err)
	}
	return page, nil
}

// complete reads what stands in other tables, with the same few statements for any number of records.
func complete(r store.Reader, all []Record) error {
	at := make(map[uuid.UUID]*Record, len(all))
	ids := make([]uuid.UUID, len(all))
	for i := range all {
		d := &all[i]
		if d.State != Deferred {
			d.NextTry = time.Time{}
		}
		d.Attempts, d.Waiters = []Attempt{}, []Waiter{}
		at[d.ID], ids[i] = d, d.ID
	}
	for some := range slices.Chunk(ids, idsTogether) {
		err := eachAttempt(r, some, func(id uuid.UUID, a Attempt) { at[id].Attempts = append(at[id].Attempts, a) })
		if err == nil {
			err = eachWaiter(r, some, func(id uuid.UUID, w Waiter) { at[id].Waiters = append(at[id].Waiters, w) })
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// eachWaiter reads who waits for deliveries, for each of them in the order in which they came.
func eachWaiter(r store.Reader, ids []uuid.UUID, each func(id uuid.UUID, w Waiter)) error {
	err := store.List(r, func(scan store.Scan) error {
		var id uuid.UUID
		var w Waiter
		if err := scan(&id, &w.TransactionID, &w.Serial, &w.ChallengeID, &w.Ended); err != nil {
			return err
		}
		each(id, w)
		return nil
	}, `SELECT delivery_id, transaction_id, serial, challenge_id, ended FROM waiter WHERE delivery_id IN (`+idPlaces()+`)
		ORDER BY delivery_id, challenge_id`, idArgs(ids)...)
	if err != nil {
		return fmt.Errorf("read waiters: %w", err)
	}
	return nil
}

// Record returns one delivery. The error is ErrNotFound when there is none, or none of these realms (nil: of all).
func (s *Service) Record(ctx context.Context, id uuid.UUID, realms []string) (Record, error) {
	var d Record
	c := &conditions{}
	c.within(realms)
	c.add("id = ?", id[:])
	err := s.DB.Read(ctx, func(r store.Reader) error {
		if err := r.Get(d.columns(), "SELECT "+recordColumns+" FROM delivery"+c.where(), c.args...); err != nil {
			return err
		}
		one := []Record{d}
		err := complete(r, one)
		d = one[0]
		return err
	})
	switch {
	case errors.Is(err, store.ErrNotFound):
		return d, ErrNotFound
	case err != nil:
		return d, fmt.Errorf("read delivery %s: %w", id, err)
	}
	return d, nil
}

// Recipient returns the address that a delivery goes to, unmasked; it is masked once the content is erased,
// or does not open with this key file. Errors are those of Record.
func (s *Service) Recipient(ctx context.Context, id uuid.UUID, realms []string) (string, error) {
	var d row
	err := s.DB.Read(ctx, func(r store.Reader) (err error) {
		d, err = visible(r, id, realms)
		return err
	})
	if err != nil {
		return "", err
	}
	if d.sealed == nil {
		return d.recipient, nil
	}
	if plain, err := s.open(d); err == nil {
		return plain.Recipient, nil
	}
	return d.recipient, nil
}

// visible loads a delivery of these realms (nil: of all), or returns ErrNotFound.
func visible(r store.Reader, id uuid.UUID, realms []string) (row, error) {
	c := &conditions{}
	c.within(realms)
	c.add("id = ?", id[:])
	var n int
	if err := r.Get([]any{&n}, "SELECT count(*) FROM delivery"+c.where(), c.args...); err != nil {
		return row{}, fmt.Errorf("look for delivery %s: %w", id, err)
	}
	if n == 0 {
		return row{}, ErrNotFound
	}
	return load(r, id)
}
