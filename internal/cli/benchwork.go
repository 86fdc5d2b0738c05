package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"otpost/internal/app"
	"otpost/internal/queue"
	"otpost/internal/worker"
)

// benchWork is a worker that counts its jobs and stops after the last one.
type benchWork struct {
	most   int64
	record *os.File // nil: none
	done   atomic.Int64
	last   atomic.Int64 // when the last job ended, in nanoseconds of Unix time
	enough context.CancelFunc

	mu    sync.Mutex
	begun time.Time       // of the first handler
	waits []time.Duration // from before a job was enqueued to the start of its handler
}

// run is the handler.
func (w *benchWork) run(_ context.Context, c queue.Claimed) queue.Result {
	begun := time.Now()
	var p benchPayload
	if err := json.Unmarshal(c.Payload, &p); err != nil {
		return queue.Result{Action: queue.DeadLetter, Reason: "no payload of bench produce"}
	}
	w.write('S', p, begun)
	w.mu.Lock()
	if w.begun.IsZero() {
		w.begun = begun
	}
	w.waits = append(w.waits, begun.Sub(time.Unix(0, p.T)))
	w.mu.Unlock()
	if p.S > 0 {
		time.Sleep(time.Duration(p.S) * time.Millisecond) //nolint:forbidigo // the benchmark's contract asks for it
	}
	ended := time.Now()
	w.write('E', p, ended)
	if n := w.done.Add(1); n == w.most {
		w.last.Store(ended.UnixNano())
		w.enough()
	}
	return queue.Result{}
}

// write appends a line to the record in one write.
func (w *benchWork) write(what byte, p benchPayload, at time.Time) {
	if w.record != nil {
		fmt.Fprintf(w.record, "%c %d %d %d\n", what, p.I, p.T, at.UnixNano())
	}
}

// work runs the worker until the jobs are done and reported, or until the time-out.
func (f *benchFlags) work(ctx context.Context, s streams, b *app.Bench) (*benchWork, error) {
	ctx, enough := context.WithTimeout(ctx, time.Duration(f.TimeoutS)*time.Second)
	defer enough()
	w := &benchWork{most: int64(f.N), enough: enough}
	if f.Record != "" {
		file, err := os.OpenFile(f.Record, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return nil, err
		}
		defer file.Close() //nolint:errcheck // each line was written by its own call
		w.record = file
	}
	err := worker.New(worker.Options{
		Driver:   b.Driver,
		Kinds:    []worker.Kind{{Name: benchKind, Run: w.run}},
		Handlers: f.Concurrency,
		Log:      app.NewLog(s.err, slog.LevelWarn),
		Version:  app.Version,
	}).Run(ctx, context.Background())
	if w.last.Load() == 0 {
		w.last.Store(time.Now().UnixNano())
	}
	return w, err
}

type benchConsume struct{ benchFlags }

// Run implements the command.
func (c *benchConsume) Run(ctx context.Context, s streams) error {
	b, err := c.open(ctx, s, false)
	if err != nil {
		return err
	}
	w, err := c.work(ctx, s, b)
	if err = errors.Join(err, b.Close()); err != nil {
		return err
	}
	rate := benchRate{}
	if done := int(w.done.Load()); done > 0 {
		rate = rateOf(min(done, c.N), time.Unix(0, w.last.Load()).Sub(w.begun))
	}
	return printLine(s.out, rate)
}

type benchLatency struct{ benchFlags }

// idleTime is how long a worker without jobs runs before latency is measured.
const idleTime = 1500 * time.Millisecond

// Run implements the command.
func (c *benchLatency) Run(ctx context.Context, s streams) error {
	b, err := c.open(ctx, s, false)
	if err != nil {
		return err
	}
	var w *benchWork
	var worked error
	ended := make(chan struct{})
	go func() {
		w, worked = c.work(ctx, s, b)
		close(ended)
	}()
	select {
	case <-time.After(idleTime):
	case <-ended:
	}
	for at := range c.N {
		if err = c.call(ctx, b, at); err != nil {
			break
		}
	}
	<-ended
	if err := errors.Join(err, worked, b.Close()); err != nil {
		return err
	}
	return printLine(s.out, waitsOf(w.waits))
}

// benchWaits is the output of latency.
type benchWaits struct {
	N   int     `json:"n"`
	P50 float64 `json:"p50_ms"`
	P99 float64 `json:"p99_ms"`
	Max float64 `json:"max_ms"`
}

func waitsOf(waits []time.Duration) benchWaits {
	if len(waits) == 0 {
		return benchWaits{}
	}
	slices.Sort(waits)
	at := func(share float64) float64 {
		d := waits[min(int(share*float64(len(waits))), len(waits)-1)]
		return float64(d.Nanoseconds()) / float64(time.Millisecond)
	}
	return benchWaits{len(waits), at(0.5), at(0.99), at(1)}
}
