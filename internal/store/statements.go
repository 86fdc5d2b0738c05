package store

import (
	"container/list"
	"context"
	"database/sql"
)

// mostStatements bounds the prepared statements of one connection. The program has about 250 constant texts;
// filters of lists make any number, at about 10 KiB each.
const mostStatements = 256

// statements are the prepared statements of one connection. The one that was used longest ago makes room for a new
// one, so it must not be in the middle of its rows. For one goroutine at a time.
type statements struct {
	conn     *sql.Conn
	prepared func(query string) // Options.Prepared
	damages  *damages
	byText   map[string]*list.Element
	byUse    *list.List // of *statement, the last used first
}

type statement struct {
	text string
	stmt *sql.Stmt
}

func newStatements(conn *sql.Conn, prepared func(string), d *damages) *statements {
	return &statements{
		conn:     conn,
		prepared: prepared,
		damages:  d,
		byText:   make(map[string]*list.Element),
		byUse:    list.New(),
	}
}

// prepare returns the statement of a text.
func (s *statements) prepare(query string) (*sql.Stmt, error) {
	if e, ok := s.byText[query]; ok {
		s.byUse.MoveToFront(e)
		return e.Value.(*statement).stmt, nil
	}
	stmt, err := s.conn.PrepareContext(context.Background(), query)
	if err != nil {
		return nil, translate(err)
	}
	if s.prepared != nil {
		s.prepared(query)
	}
	if len(s.byText) == mostStatements {
		s.closeOldest()
	}
	s.byText[query] = s.byUse.PushFront(&statement{text: query, stmt: stmt})
	return stmt, nil
}

// exec runs a statement that has no parameters and no result.
func (s *statements) exec(query string) error {
	stmt, err := s.prepare(query)
	if err != nil {
		return err
	}
	_, err = stmt.ExecContext(context.Background())
	return translate(err)
}

// get is Reader.Get on this connection.
func (s *statements) get(ctx context.Context, dest []any, query string, args []any) error {
	rows, err := s.rows(ctx, query, args)
	if err != nil {
		return err
	}
	return s.damages.firstRow(dest, rows, query, args)
}

// query is Reader.Query on this connection.
func (s *statements) query(ctx context.Context, each func(Scan) error, query string, args []any) error {
	rows, err := s.rows(ctx, query, args)
	if err != nil {
		return err
	}
	return eachRow(rows, each)
}

func (s *statements) rows(ctx context.Context, query string, args []any) (*sql.Rows, error) {
	stmt, err := s.prepare(query)
	if err != nil {
		return nil, err
	}
	rows, err := stmt.QueryContext(ctx, args...)
	return rows, translate(err)
}

func (s *statements) closeOldest() {
	oldest := s.byUse.Remove(s.byUse.Back()).(*statement)
	delete(s.byText, oldest.text)
	oldest.stmt.Close() //nolint:errcheck // it only repeats the error of its last use
}

// close closes all statements and the connection.
func (s *statements) close() {
	for len(s.byText) > 0 {
		s.closeOldest()
	}
	s.conn.Close() //nolint:errcheck // nothing is buffered
}
