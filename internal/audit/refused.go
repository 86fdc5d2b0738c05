package audit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// The bounds of Refused in one process: at most 172,800 rows a day.
const (
	refusalWindow  = time.Minute
	mostOfNetwork  = 30  // rows of one network in a window
	mostOfNetworks = 120 // rows of all networks in a window
)

// refusals counts what Refused has written and left out since a window began.
type refusals struct {
	mu       sync.Mutex
	begun    time.Time
	written  int
	networks map[string]*refused // networks with a row in this window: at most mostOfNetworks
	others   int                 // requests left out, of networks without a row
}

// refused counts the requests of one network.
type refused struct{ written, left int }

// Refused records the entry of a refused request of an unauthenticated client, which can send any
// number of them. In each minute it writes a bounded number of rows for each network and for all
// networks. It counts the rest, and one row for each network says how many were left out. written
// reports whether the entry was within the bounds.
func (j *Journal) Refused(ctx context.Context, network string, e Entry) (written bool, err error) {
	written, over := j.refusals.count(j.db.Now(), network)
	err = j.recordAll(ctx, over)
	if written {
		err = errors.Join(err, j.Record(ctx, e))
	}
	return written, err
}

// RecordLeftOut writes the counting rows of a window that has ended. Refused does the same with the
// first request of the next window.
func (j *Journal) RecordLeftOut(ctx context.Context) error {
	return j.recordAll(ctx, j.refusals.over(j.db.Now()))
}

func (j *Journal) recordAll(ctx context.Context, all []Entry) error {
	var errs []error
	for _, e := range all {
		errs = append(errs, j.Record(ctx, e))
	}
	return errors.Join(errs...)
}

// count counts a request and reports whether it may be written. over holds the entries of the
// window before, when that has ended.
func (r *refusals) count(now time.Time, network string) (write bool, over []Entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	over = r.end(now)
	if r.networks == nil {
		r.begun, r.networks = now, make(map[string]*refused)
	}
	one := r.networks[network]
	switch {
	case one == nil && r.written == mostOfNetworks:
		r.others++
		return false, over
	case one == nil:
		one = &refused{}
		r.networks[network] = one
	case one.written == mostOfNetwork || r.written == mostOfNetworks:
		one.left++
		return false, over
	}
	one.written++
	r.written++
	return true, over
}

// over returns the entries of the window if it has ended.
func (r *refusals) over(now time.Time) []Entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.end(now)
}

// end closes a window that has ended, and returns an entry for each network with requests that were
// left out. A window that began after now began before the clock was set back: it is over.
func (r *refusals) end(now time.Time) (entries []Entry) {
	if age := now.Sub(r.begun); r.networks == nil || age >= 0 && age < refusalWindow {
		return nil
	}
	for network, one := range r.networks {
		if one.left > 0 {
			entries = append(entries, leftOut(r.begun, network, one.left))
		}
	}
	slices.SortFunc(entries, func(a, b Entry) int { return cmp.Compare(a.Client, b.Client) })
	if r.others > 0 {
		entries = append(entries, leftOut(r.begun, "", r.others))
	}
	r.networks, r.written, r.others = nil, 0, 0
	return entries
}

// leftOut returns the entry for n requests that were left out.
func leftOut(begun time.Time, network string, n int) Entry {
	who := "this network"
	if network == "" {
		who = "further networks"
	}
	return Entry{Action: "refused requests left out", Client: network,
		Info: fmt.Sprintf("%d refused requests of %s have no row of their own, in the minute from %s",
			n, who, begun.UTC().Format(time.RFC3339))}
}
