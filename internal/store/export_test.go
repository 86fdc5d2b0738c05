package store

import (
	"context"
	"time"
)

// MostReaders, MostStatements and MostCallers are bounds of a database.
const (
	MostReaders    = mostReaders
	MostStatements = mostStatements
	MostCallers    = mostCallers
)

// Within returns options with other bounds: how long a call waits for its turn, how often the files are looked at,
// and the size from which on the WAL is emptied. Zero: as in the program.
func Within(o Options, wait, every time.Duration, mostWAL int64) Options {
	o.wait, o.every, o.mostWAL = wait, every, mostWAL
	return o
}

// Statements returns how many statements are prepared on each connection that was used, the writer's
// first. No call may be under way.
func (db *DB) Statements() []int {
	all := []int{len(db.writer.byText)}
	for _, r := range db.readers.all {
		if r.statements != nil {
			all = append(all, len(r.byText))
		}
	}
	return all
}

// Path returns the database's file.
func (db *DB) Path() string { return db.options.Path }

// Callers returns how many calls wait for the writer or are in its transaction.
func (db *DB) Callers() int { return int(db.writer.callers.Load()) }

// WaitingCalls returns how many calls wait for the writer to take them.
func (db *DB) WaitingCalls() int { return len(db.writer.calls) }

// What bounds ReadInTurn.
const (
	QuickRead   = quickRead
	QuickShare  = quickShare
	CostlyShare = costlyShare
	ReadAhead   = readAhead
)

// Turns is what ReadInTurn waits in, without a database.
type Turns struct{ *turns }

// NewTurns returns turns in which a call waits so long.
func NewTurns(limit time.Duration) Turns { return Turns{newTurns(limit)} }

// Do is turns.do.
func (t Turns) Do(ctx context.Context, read func(ctx context.Context) (time.Duration, error)) error {
	return t.do(ctx, read)
}
