package model

import "fmt"

// This file is a second, small model: which of the ready jobs a worker process begins. The first model claims in
// any order and knows no time, so that it cannot show that one slow thing holds up the rest.

// Order are the rules of a worker's claims that can be switched off.
type Order struct {
	Share    bool // a route has a share of the handlers
	Later    bool // what is over the share comes back later, not at once
	Alone    bool // a suspect runs alone among suspects
	Short    bool // a suspect holds up other claims only until its first write
	PassOver bool // claims pass over jobs whose end is long past
}

// Where a job of the line is.
const (
	inLine   uint8 = iota
	later          // scheduled
	taken          // claimed, not begun
	opening        // before its first write to the network
	awaiting       // waits for the mail server
	gone
)

// lineJob is what does not change of a job.
type lineJob struct {
	silent  bool // its mail server says nothing until time passes
	suspect bool // its crashes make it a suspect
	stale   bool // its end is long past
}

// mostInLine is how many jobs a Line has room for.
const mostInLine = 5

// Line is a state of the second model: where each job is.
type Line [mostInLine]uint8

// lineConfig is a question to the second model: the jobs in the order of the line.
type lineConfig struct {
	name     string
	jobs     []lineJob
	handlers int
	share    int // how many handlers one mail server may hold
	rules    Order
}

func lineConfigs() []lineConfig {
	silent, healthy := lineJob{silent: true}, lineJob{}
	suspect, stale := lineJob{silent: true, suspect: true}, lineJob{stale: true}
	all := []lineConfig{
		{name: "a silent mail server", jobs: []lineJob{silent, silent, silent, silent, healthy}, handlers: 3, share: 2},
		{name: "suspects", jobs: []lineJob{suspect, suspect, healthy, suspect, healthy}, handlers: 3, share: 2},
		{name: "stale jobs", jobs: []lineJob{stale, stale, stale, healthy, stale}, handlers: 2, share: 2},
	}
	for i := range all {
		all[i].rules = Order{true, true, true, true, true}
	}
	return all
}

// next returns the steps from a state.
func (c *lineConfig) next(s *Line, naming bool) []step[Line] {
	var out []step[Line]
	add := func(i int, where uint8, k kind, broken, label string) {
		to := *s
		to[i] = where
		if naming {
			label = fmt.Sprintf("job %d: %s", i, label)
		}
		out = append(out, step[Line]{to: to, kind: k, label: label, broken: broken})
	}
	for i, j := range c.jobs {
		switch s[i] {
		case later:
			add(i, inLine, tick, "", "time: is due again")
		case taken:
			c.begin(s, i, add)
		case opening:
			add(i, awaiting, work, "", "first write to the network")
		case awaiting:
			if j.silent {
				add(i, gone, tick, "", "time: the silent mail server ends it")
			} else {
				add(i, gone, work, "", "sent")
			}
		}
	}
	if i, ok := c.first(s); ok {
		c.claim(s, i, add)
	}
	return out
}

// count returns how many jobs of the line are in one of the places and fit.
func (c *lineConfig) count(s *Line, fits func(lineJob) bool, places ...uint8) (n int) {
	for i, j := range c.jobs {
		for _, p := range places {
			if s[i] == p && fits(j) {
				n++
			}
		}
	}
	return n
}

func isSuspect(j lineJob) bool { return j.suspect }

// first returns the job that a claim would hand out, if the worker claims now.
func (c *lineConfig) first(s *Line) (int, bool) {
	if c.count(s, func(lineJob) bool { return true }, taken, opening, awaiting) >= c.handlers {
		return 0, false
	}
	holds := []uint8{taken, opening}
	if !c.rules.Short {
		holds = append(holds, awaiting)
	}
	if c.count(s, isSuspect, holds...) > 0 && c.rules.Alone {
		return 0, false
	}
	for i := range c.jobs {
		if s[i] == inLine {
			return i, true
		}
	}
	return 0, false
}

func (c *lineConfig) claim(s *Line, i int, add func(int, uint8, kind, string, string)) {
	fresh := c.count(s, func(j lineJob) bool { return !j.stale }, inLine) > 0
	switch {
	case c.jobs[i].stale && c.rules.PassOver:
		add(i, gone, claim|work, "", "is passed over")
	case c.jobs[i].stale && fresh:
		add(i, taken, claim|work, "O1 a handler gets a job that cannot be in time before one that can", "is claimed")
	default:
		add(i, taken, claim|work, "", "is claimed")
	}
}

// begin: a claimed job begins or goes back uncounted.
func (c *lineConfig) begin(s *Line, i int, add func(int, uint8, kind, string, string)) {
	j := c.jobs[i]
	back := later
	if !c.rules.Later {
		back = inLine
	}
	route := c.count(s, func(k lineJob) bool { return k.silent == j.silent }, opening, awaiting)
	suspects := c.count(s, isSuspect, opening, awaiting)
	broken := ""
	if j.suspect && c.count(s, isSuspect, opening) > 0 {
		broken = "O2 two suspects are before their first write at once"
	}
	switch {
	case c.rules.Share && route >= c.share, c.rules.Alone && j.suspect && suspects > 0:
		add(i, back, work, "", "goes back uncounted")
	default:
		add(i, opening, work, broken, "begins")
	}
}

// alive checks that a healthy, fresh job never waits for time to pass, and that no job turns in circles.
func (c *lineConfig) alive(g *graph[Line]) {
	for i, j := range c.jobs {
		if j != (lineJob{}) {
			continue
		}
		inTime := g.reaching(func(s *Line) bool { return s[i] == gone }, tick)
		for k := range g.states {
			if !inTime[k] && g.stuck(k, tick) {
				g.report("O3 a healthy job waits for another's mail server", func() []string { return g.trace(int32(k)) })
			}
		}
	}
	if circle := g.circle(); circle != nil {
		g.report("L4 handlers turn in circles without an event", func() []string { return circle })
	}
}
