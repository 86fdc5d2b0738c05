package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

const (
	// watchEvery is how often the files are looked at. It is also how long Reads that are under way when the WAL is
	// too long may go on before they are ended.
	watchEvery = time.Second
	// checkpointWaits is how long a checkpoint waits for the Reads of other processes, in units of watchEvery: each of
	// them looks within the first one, and has ended its Reads after the second one.
	checkpointWaits = 3
	// mostWAL is the size from which on the WAL is emptied at the next look. SQLite starts it anew by itself at a
	// moment without readers, which does not come while Reads overlap.
	mostWAL = 64 << 20
	// longestPause is the time between two attempts to empty a WAL that another program reads for long.
	longestPause = 32 * time.Second
)

// watch looks at the files of the database until the database is closed.
func (db *DB) watch() {
	defer close(db.watched)
	tick := time.NewTicker(db.options.every)
	defer tick.Stop()
	bound := walBound{db: db}
	for {
		select {
		case <-db.closing:
			return
		case <-tick.C:
		}
		if err := db.files.Load().checkAll(); err != nil {
			db.lost(err)
			return
		}
		if err := db.notifier.renew(); err != nil {
			db.options.Log.Warn("wake file not made again, other processes see commits up to a second late", "err", err)
		}
		if db.health.due() {
			db.trials.Go(db.tryWrite)
		}
		bound.look(time.Now())
	}
}

// Lost returns a channel that is closed when the files of the database were replaced, removed or overwritten, or
// are damaged. Every call fails with ErrReplaced or ErrCorrupt from then on, and the process should end: Err says
// why. Close closes the channel, too.
func (db *DB) Lost() <-chan struct{} { return db.life.Done() }

// Err returns the error of a database that is Lost, else nil.
func (db *DB) Err() error { return context.Cause(db.life) }

// usable is what each transaction asks before its begin.
func (db *DB) usable() error {
	if err := db.Err(); err != nil {
		return err
	}
	f := db.files.Load()
	if f == nil { // not open yet
		return nil
	}
	err := f.checkDatabase()
	if err != nil {
		db.lost(err)
	}
	return err
}

// walBound keeps the WAL from growing past its limit.
type walBound struct {
	db    *DB
	fails int       // attempts that failed since the last one that did not
	after time.Time // the next attempt
}

// look empties a WAL that is too long, unless an attempt failed just now.
func (b *walBound) look(now time.Time) {
	info, err := os.Stat(b.db.options.Path + "-wal")
	if err != nil || info.Size() < b.db.options.mostWAL || now.Before(b.after) {
		return
	}
	if err = b.db.emptyWAL(); err == nil {
		b.fails = 0
		return
	}
	if b.fails++; b.fails < 3 { // another process may have begun its own attempt
		return
	}
	pause := min(watchEvery<<min(b.fails-3, 5), longestPause)
	b.after = now.Add(pause)
	b.db.options.Log.Warn("WAL of the database not emptied, another program reads it for long",
		"size_bytes", info.Size(), "again_after", pause, "err", err)
}

// emptyWAL moves the WAL into the database and cuts it, in a moment in which no Read of this process runs.
func (db *DB) emptyWAL() error {
	release, ok := db.readers.hold(db.options.every)
	if !ok {
		return busy("a read does not end")
	}
	defer release()
	answer := make(chan error, 1)
	select {
	case db.writer.checkpoints <- answer:
		return <-answer
	case <-time.After(checkpointWaits * db.options.every):
		return errTurn
	}
}

// checkpoint does the writer's part of emptyWAL and answers.
func (w *writer) checkpoint(answer chan<- error) {
	if err := w.lock.take(w.grace); err != nil {
		answer <- err
		if errors.Is(err, ErrBusy) && w.take() == nil { // the lock is still asked for
			w.lock.release()
		}
		return
	}
	defer w.lock.release()
	err := w.check()
	if err == nil {
		err = w.truncateWAL()
	}
	answer <- err
}

func (w *writer) truncateWAL() error {
	if err := w.exec(fmt.Sprintf("PRAGMA busy_timeout(%d)", w.grace.Milliseconds())); err != nil {
		return err
	}
	var blocked, frames, moved int
	stmt, err := w.prepare("PRAGMA wal_checkpoint(TRUNCATE)")
	if err == nil {
		err = translate(stmt.QueryRowContext(context.Background()).Scan(&blocked, &frames, &moved))
	}
	err = errors.Join(err, w.exec(noBusyHandler))
	if err == nil && blocked != 0 {
		err = busy(fmt.Sprintf("a reader holds the WAL, %d of %d frames are moved", moved, frames))
	}
	return err
}
