package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"otpost/internal/queue"
	"otpost/internal/queue/redisq"
	"otpost/internal/queue/sqliteq"
	"otpost/internal/store"
)

// BenchOptions choose the measured queue.
type BenchOptions struct {
	Driver  string // redis, embedded, or embedded-normal: jobs are committed without a flush (synchronous=NORMAL)
	Redis   string // host:port
	Path    string // of the embedded queue's database
	LockDir string // for the locks of workers
	Reset   bool   // empty the queue first
	Log     *slog.Logger
}

// Bench is a queue of its own for `otpost bench`, with the drivers that the program uses.
type Bench struct {
	Driver queue.Driver
	// Enqueue stores jobs with the measured durability: that of Driver.Enqueue, except for
	// embedded-normal.
	Enqueue func(ctx context.Context, jobs ...queue.Job) error
	// Commit makes one durable commit of one small row, whose rate bounds Enqueue. nil: the queue
	// is in Redis.
	Commit func(ctx context.Context) error
	Close  func() error
}

// benchQueue is the name of the measured queue; the queues of an installation have other names.
const benchQueue = "otpost-bench"

// OpenBench opens the queue.
func OpenBench(ctx context.Context, o BenchOptions) (*Bench, error) {
	if o.Driver == "redis" {
		return openRedisBench(ctx, o)
	}
	if o.Reset {
		left, _ := filepath.Glob(o.Path + "*") //nolint:errcheck // a bad pattern matches nothing
		for _, name := range left {
			if err := os.Remove(name); err != nil {
				return nil, err
			}
		}
	}
	db, err := store.Open(ctx, store.Options{Path: o.Path, Migrate: o.Reset, Log: o.Log})
	if err != nil {
		return nil, err
	}
	driver, err := sqliteq.Open(db, sqliteq.Options{Queue: benchQueue, LockDir: o.LockDir, Log: o.Log})
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	b := &Bench{
		Driver:  driver,
		Enqueue: driver.Enqueue,
		Commit: func(ctx context.Context) error {
			return db.Write(ctx, func(tx *store.Tx) error {
				tx.Put(`INSERT INTO write_probe (id, content) VALUES (1, randomblob(150))
					ON CONFLICT (id) DO UPDATE SET content = excluded.content`)
				return nil
			})
		},
		Close: func() error { return errors.Join(driver.Close(), db.Close()) },
	}
	if o.Driver == "embedded-normal" {
		b.Enqueue = func(ctx context.Context, jobs ...queue.Job) error {
			return db.WriteLight(ctx, func(tx *store.Tx) error {
				driver.EnqueueTx(tx, jobs...)
				return nil
			})
		}
	}
	return b, nil
}

func openRedisBench(ctx context.Context, o BenchOptions) (*Bench, error) {
	driver, err := redisq.Open(redisq.Options{
		URL:     "redis://" + o.Redis + "/0",
		Queue:   benchQueue,
		LockDir: o.LockDir,
		Log:     o.Log,
	})
	if err != nil {
		return nil, err
	}
	if o.Reset {
		if err := driver.Purge(ctx); err != nil {
			return nil, errors.Join(fmt.Errorf("empty the queue: %w", err), driver.Close())
		}
	}
	return &Bench{Driver: driver, Enqueue: driver.Enqueue, Close: driver.Close}, nil
}
