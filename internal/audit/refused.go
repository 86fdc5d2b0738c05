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

// The bounds of Refused in one process: 172,800 rows a day at most, whatever is asked.
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
	networks map[string]*refused // those with a row in this window: mostOfNetworks at most
	others   int                 // left out of networks without a row
}

// refused counts the requests of one network.
type refused struct{ written, left int }

// Refused records the entry of a refused request whose client has not proved who it is: any client can send any
// number of them. In each minute it writes a bounded number of rows for a network and for all together;
// the rest is counted, and one row for each network says how many were left out. written reports
// whether the entry was within the bounds.
func (j *Journal) Refused(ctx context.Context, network string, e Entry) (written bool, err error) {
	written, over := j.refusals.take(j.db.Now(), network)
	err = j.recordAll(ctx, over)
	if written {
		err = errors.Join(err, j.Record(ctx, e))
	}
	return written, err
}

// TellLeftOut writes the rows of a window that is over. Refused does so too, with the first request of the next window.
func (j *Journal) TellLeftOut(ctx context.Context) error {
	return j.recordAll(ctx, j.refusals.over(j.db.Now()))
}

func (j *Journal) recordAll(ctx context.Context, all []Entry) error {
	var errs []error
	for _, e := range all {
		errs = append(errs, j.Record(ctx, e))
	}
	return errors.Join(errs...)
}

// take counts a request and reports whether it may be written, with the entries of the window before, if that is over.
func (r *refusals) take(now time.Time, network string) (write bool, over []Entry) {
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

// over returns the entries of the window, if it is over.
func (r *refusals) over(now time.Time) []Entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.end(now)
}

// end ends the window, if it is over, and returns an entry for each network of which requests were left out. A window
// that began after now began before the clock was set back: it is over.
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

// leftOut is the entry that stands for n requests.
func leftOut(begun time.Time, network string, n int) Entry {
	who := "this network"
	if network == "" {
		who = "further networks"
	}
	return Entry{Action: "refused requests left out", Client: network,
		Info: fmt.Sprintf("%d refused requests of %s have no row of their own, in the minute from %s",
			n, who, begun.UTC().Format(time.RFC3339))}
}
