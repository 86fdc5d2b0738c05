package delivery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"otpost/internal/store"
)

// The periods of Statistics: that of the minutes, and that of the sums.
const (
	StatisticsMinutes = 60
	StatisticsOver    = 24 * time.Hour
)

// Statistics is what became of the messages, in figures.
type Statistics struct {
	Minutes  [StatisticsMinutes]Minute // the oldest first; the last one is under way
	Took     *Quantiles                // of the messages that these minutes saw accepted; nil: none was
	Waiting  int                       // messages that wait for their first or next try
	Oldest   time.Time                 // when the oldest of them was made; zero: none waits
	Servers  map[string]ServerResults  // by identifier: each that has sent anything
	Failures []ServerFailure           // of StatisticsOver, the most frequent first; never nil
}

// Minute counts the messages that ended in one minute, by their state.
type Minute struct {
	Begin                                       time.Time
	Accepted, Failed, Expired, Dropped, Unknown int
}

// Quantiles are times from request to acceptance. Of n times, the one that p % do not exceed stands at rank
// ceil(p n / 100).
type Quantiles struct {
	Count         int
	P50, P95, P99 time.Duration
}

// ServerResults are those of one route.
type ServerResults struct {
	Accepted int         // in StatisticsOver
	Failed   int         // in StatisticsOver: failed, expired or unknown
	Last     *LastResult // of a message that ended, or was put off; nil: none
}

// LastResult is the message of a server that changed last. Attempt is its last one; nil: it had none.
type LastResult struct {
	State   State
	At      time.Time
	Attempt *Attempt
}

// ServerFailure counts the messages of a server that failed, expired or are unknown, for one reason. A reason may
// be a rule of this program; the server's reply is in the last attempt.
type ServerFailure struct {
	Reason Reason
	Server string
	Count  int
	Last   *Attempt // of the newest of them; nil: none was made

	newest uuid.UUID
}

// Statistics reads the figures of these realms' messages; nil: of all.
func (s *Service) Statistics(ctx context.Context, realms []string) (Statistics, error) {
	var st Statistics
	err := s.DB.ReadInTurn(ctx, func(r store.Reader) error {
		c := &count{Reader: r, now: s.DB.Now(), realms: realms, newest: make(map[string]newest)}
		err := c.all()
		st = c.Statistics
		return err
	})
	if err != nil {
		return Statistics{}, fmt.Errorf("read statistics of deliveries: %w", err)
	}
	return st, nil
}

// count makes one Statistics. It reads by the index delivery_outcome, whose first columns are a key.
type count struct {
	store.Reader
	Statistics

	now    time.Time
	realms []string
	took   []int // ms
	newest map[string]newest
}

// key is how messages ended, and where.
type key struct {
	reason Reason
	state  State
	route  string
}

// newest is the message of a server that changed last.
type newest struct {
	id    uuid.UUID
	state State
	at    time.Time
}

func (c *count) all() error {
	c.Servers, c.Failures = make(map[string]ServerResults), []ServerFailure{}
	first := c.now.Truncate(time.Minute).Add(-(StatisticsMinutes - 1) * time.Minute)
	for i := range c.Minutes {
		c.Minutes[i].Begin = first.Add(time.Duration(i) * time.Minute)
	}
	for at := (keyPlace{"", "", ""}); ; {
		k, err := c.after(&at)
		if errors.Is(err, store.ErrNotFound) {
			break
		}
		if err == nil {
			err = c.one(k)
		}
		if err != nil {
			return err
		}
	}
	slices.SortFunc(c.Failures, func(a, b ServerFailure) int {
		return cmp.Or(b.Count-a.Count, cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Server, b.Server))
	})
	c.Took = quantiles(c.took)
	if err := c.lastResults(); err != nil {
		return err
	}
	return c.open()
}

// outcomes is the condition of the partial index delivery_outcome.
const outcomes = "state NOT IN ('queued', 'sending')"

// keyPlace is where a key stands in the index: with the types that the row has. A text in place of the bytes of a
// damaged row stands before it, and the walk would come to that row for ever.
type keyPlace [3]any

// after moves to the first key behind a place, or returns ErrNotFound. There are few keys and many messages:
// nothing is read in between. A damaged key comes as one that no message has.
func (c *count) after(at *keyPlace) (key, error) {
	err := c.Get([]any{&at[0], &at[1], &at[2]}, `SELECT reason, state, route FROM delivery
		WHERE (reason, state, route) > ($1, $2, $3) AND `+outcomes+` ORDER BY reason, state, route LIMIT 1`, at[0], at[1], at[2])
	return key{reason: Reason(fmt.Sprint(at[0])), state: State(fmt.Sprint(at[1])), route: fmt.Sprint(at[2])}, err
}

// where returns the condition of a key's messages that changed since a time, with its arguments. A time that lies
// ahead is from before the clock was set back: it would stand for the newest result until the clock gets there. A
// damaged row has no number there.
func (c *count) where(k key, since time.Time) (string, []any) {
	w := &conditions{}
	w.within(c.realms)
	w.add(outcomes+" AND reason = ? AND state = ? AND route = ? AND updated_ms >= ? AND updated_ms <= ?",
		string(k.reason), string(k.state), k.route, store.Millis(since), store.Millis(c.now.Add(clockSlack)))
	return w.where(), w.args
}

// one counts the messages of a key.
func (c *count) one(k key) error {
	if k.state == Queued || k.state == Sending || k.route == "" { // the last: test messages of unsaved values
		return nil
	}
	last, err := c.newestOf(k)
	if err != nil || k.state == Deferred {
		return err
	}
	n := 0
	where, args := c.where(k, c.now.Add(-StatisticsOver))
	if err := c.Get([]any{&n}, "SELECT count(*) FROM delivery"+where, args...); err != nil || n == 0 {
		return err
	}
	at := c.Servers[k.route]
	switch k.state {
	case Accepted:
		at.Accepted += n
	case Failed, Expired, Unknown:
		at.Failed += n
		c.Failures = append(c.Failures, ServerFailure{Reason: k.reason, Server: k.route, Count: n, newest: last.id})
	}
	c.Servers[k.route] = at
	return c.minutes(k)
}

// newestOf returns the message of a key that changed last, and remembers the one of each server. What was
// dropped says nothing of its server.
func (c *count) newestOf(k key) (last newest, err error) {
	if k.state == Dropped {
		return last, nil
	}
	last.state = k.state
	where, args := c.where(k, time.Time{})
	err = c.Get([]any{&last.id, store.NullTime{To: &last.at}}, "SELECT id, updated_ms FROM delivery"+where+
		" ORDER BY updated_ms DESC LIMIT 1", args...)
	if errors.Is(err, store.ErrNotFound) {
		return last, nil
	}
	if err == nil && !last.at.Before(c.newest[k.route].at) {
		c.newest[k.route] = last
	}
	return last, err
}

// lastResults reads the attempts of what newestOf has remembered.
func (c *count) lastResults() error {
	for route, last := range c.newest {
		at := c.Servers[route]
		at.Last = &LastResult{State: last.state, At: last.at}
		err := eachAttempt(c, []uuid.UUID{last.id}, func(_ uuid.UUID, a Attempt) { at.Last.Attempt = &a })
		if err != nil {
			return err
		}
		c.Servers[route] = at
	}
	for i, f := range c.Failures {
		err := eachAttempt(c, []uuid.UUID{f.newest}, func(_ uuid.UUID, a Attempt) { c.Failures[i].Last = &a })
		if err != nil {
			return err
		}
	}
	return nil
}

// mostTook bounds the time from request to acceptance, in ms: the digits that it has in minutes.
const mostTook = 10_000_000

// minutes counts the messages of a key minute by minute, and takes down how long they took. They come as one
// text of numbers, minute x mostTook + ms: reading 100,000 rows takes five times as long.
func (c *count) minutes(k key) error {
	first := c.Minutes[0].Begin
	where, args := c.where(k, first)
	args = append(args, store.Millis(first), mostTook)
	var numbers string
	err := c.Get([]any{&numbers}, fmt.Sprintf(`SELECT coalesce(string_agg(CAST((updated_ms - $%d) / 60000 * $%[2]d
			+ min(max(updated_ms - created_ms, 0), $%[2]d - 1) AS TEXT), ' '), '')
		FROM delivery`, len(args)-1, len(args))+where, args...)
	if err != nil {
		return err
	}
	for number := range strings.SplitSeq(numbers, " ") {
		n, err := strconv.Atoi(number)
		if err != nil || n < 0 {
			continue // the empty text of no message, or a damaged row
		}
		minute, took := n/mostTook, n%mostTook
		if minute < len(c.Minutes) { // else the clock was set back
			c.Minutes[minute].add(k.state)
		}
		if k.state == Accepted {
			c.took = append(c.took, took)
		}
	}
	return nil
}

func (m *Minute) add(s State) {
	switch s {
	case Accepted:
		m.Accepted++
	case Failed:
		m.Failed++
	case Expired:
		m.Expired++
	case Dropped:
		m.Dropped++
	case Unknown:
		m.Unknown++
	}
}

// quantiles returns those of times in ms; nil for none.
func quantiles(took []int) *Quantiles {
	n := len(took)
	if n == 0 {
		return nil
	}
	slices.Sort(took)
	at := func(percent int) time.Duration {
		return time.Duration(took[(n*percent+99)/100-1]) * time.Millisecond
	}
	return &Quantiles{Count: n, P50: at(50), P95: at(95), P99: at(99)}
}

// open counts what waits, by the partial index delivery_open, whose condition the query repeats.
func (c *count) open() error {
	w := &conditions{}
	w.within(c.realms)
	w.add("state IN ('queued', 'deferred', 'sending') AND state <> 'sending'")
	return c.Get([]any{&c.Waiting, store.NullTime{To: &c.Oldest}},
		"SELECT count(*), min(created_ms) FROM delivery"+w.where(), w.args...)
}
