package challenge

import (
	"context"
	"fmt"
	"time"

	"otpost/internal/store"
)

// Filter chooses what List returns. Empty strings choose all; an asterisk in a text stands for any characters.
type Filter struct {
	Serial        string
	TransactionID string
	SortBy        string // timestamp (default), serial, transaction_id, expiration
	Descending    bool
	Page          int // from 1; below: 1
	PageSize      int // below 1: DefaultPageSize; at most MostPageSize
}

// Sizes of a page: the default of the recorded lists, and what one answer may cost.
const (
	DefaultPageSize = 15
	MostPageSize    = 1000
)

// Page is one page of challenges.
type Page struct {
	Challenges []Challenge // never nil
	Count      int         // on all pages
	Current    int
	Next, Prev int // 0: there is none
}

// List returns the challenges that are open now, a page of them.
func List(ctx context.Context, db *store.DB, f Filter) (Page, error) {
	f.Page = max(f.Page, 1)
	if f.PageSize < 1 {
		f.PageSize = DefaultPageSize
	}
	f.PageSize = min(f.PageSize, MostPageSize)
	where, args := f.where(db.Now())
	var page Page
	err := db.ReadInTurn(ctx, func(r store.Reader) error {
		page = Page{Challenges: []Challenge{}, Current: f.Page}
		if err := r.Get([]any{&page.Count}, `SELECT count(*) FROM challenge WHERE `+where, args...); err != nil {
			return err
		}
		found, err := read(r, fmt.Sprintf(`SELECT %s FROM challenge WHERE %s ORDER BY %s LIMIT $%d OFFSET $%d`,
			columns, where, f.order(), len(args)+1, len(args)+2), append(args, f.PageSize, (f.Page-1)*f.PageSize)...)
		page.Challenges = append(page.Challenges, found...)
		return err
	})
	if err != nil {
		return Page{}, fmt.Errorf("list challenges: %w", err)
	}
	if f.Page*f.PageSize < page.Count {
		page.Next = f.Page + 1
	}
	page.Prev = f.Page - 1
	return page, nil
}

func (f Filter) where(now time.Time) (string, []any) {
	where, args := `state = 0 AND valid_until_ms > $1`, []any{store.Millis(now)}
	for _, one := range []struct{ column, text string }{{"serial", f.Serial}, {"transaction_id", f.TransactionID}} {
		if one.text == "" {
			continue
		}
		args = append(args, store.Pattern(one.text))
		where += fmt.Sprintf(` AND lower(%s) LIKE lower($%d) ESCAPE '\'`, one.column, len(args))
	}
	return where, args
}

func (f Filter) order() string {
	column := "created_ms"
	switch f.SortBy {
	case "serial", "transaction_id":
		column = f.SortBy
	case "expiration":
		column = "valid_until_ms"
	}
	if f.Descending {
		return column + " DESC, id DESC"
	}
	return column + ", id"
}
