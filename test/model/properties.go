package model

import "slices"

// The properties that the model checks:
//
//	I1 no dot is written after not_after
//	I2 no two handlers are between dot and outcome of one message, unless one was paused there
//	I3 copies <= 1 + faults that hit that window
//	I4 only the transitions of docs/states.md
//	I5 a final state does not change
//	I6 expired only after the end, dropped only when no challenge waits (or by an administrator)
//	I7 the state is true
//	I8 a dot is committed only while a challenge waits
//	I9 a final row has no job in the embedded queue
//	I10 a message gets a bounded number of dots without a reply
//	L1 each row can always become final without faults
//	L2 a valid, wanted message can still be sent before its end
//	L3 the same without a claim: the relay alone ends what is over
//	L4 handlers do not turn in circles without an event

// legal are the transitions of docs/states.md.
var legal = map[uint8][]uint8{
	none:     {queued},
	queued:   {sending, deferred, failed, expired, dropped},
	deferred: {sending, failed, expired, dropped, unknown},
	sending:  {accepted, deferred, failed, expired, unknown},
}

// check returns the invariant that one transition breaks, or nothing.
func (m *model) check(p, n *State) string {
	for d := range m.messages {
		if broken := m.checkRow(p, n, d); broken != "" {
			return broken
		}
	}
	a, b := &n.handlers[0], &n.handlers[1]
	if a.message == b.message && inDot(a) && inDot(b) && !n.stopped[a.message] {
		return "I2 two handlers are between dot and outcome of one message, and neither was paused"
	}
	return ""
}

func (m *model) checkRow(p, n *State, d uint8) string {
	before, after := p.rows[d].state, n.rows[d].state
	cancelled := p.left.cancel != n.left.cancel
	switch {
	case before != after && final(before):
		return "I5 a final state changes: " + stateNames[before] + " -> " + stateNames[after]
	case before != after && !slices.Contains(legal[before], after) && p.left.power == n.left.power:
		return "I4 illegal transition: " + stateNames[before] + " -> " + stateNames[after]
	case before != after && after == expired && !n.over:
		return "I6 expired before its end"
	case before != after && after == dropped && wanted(&n.rows[d]) && !cancelled:
		return "I6 dropped while a challenge waits"
	case n.copies[d] > 1+n.allowed[d]:
		return "I3 a copy that no fault between dot and outcome explains"
	case n.copies[d] > 0 && (after == expired || after == dropped || after == failed):
		return "I7 the row says " + stateNames[after] + ", the mail was accepted"
	case after == accepted && n.copies[d] == 0:
		return "I7 the row says accepted, no 250 came"
	case !m.redis && final(after) && n.queue.jobs[d].state != absent:
		return "I9 a final row has a job in the embedded queue"
	}
	return ""
}

// alive checks the properties of liveness on a whole graph.
func (m *model) alive(g *graph[State]) {
	for d := range m.messages {
		m.aliveRow(g, d)
	}
	if circle := g.circle(); circle != nil {
		g.report("L4 handlers turn in circles without an event", func() []string { return circle })
	}
}

func (m *model) aliveRow(g *graph[State], d uint8) {
	ended := func(s *State) bool { return final(s.rows[d].state) }
	// A message of another policy may end as failed or unknown in time too.
	sent := func(s *State) bool {
		return s.rows[d].state == accepted || s.rows[d].state == unknown || s.rows[d].state == failed
	}
	ends, inTime, alone := g.reaching(ended, 0), g.reaching(sent, tick), g.reaching(ended, claim)
	for k := range g.states {
		r := &g.states[k].rows[d]
		property := ""
		switch {
		case !ends[k]:
			property = "L1 the row stays " + stateNames[r.state] + " for ever"
		case r.state != none && !final(r.state) && !g.states[k].over && wanted(r) && !inTime[k]:
			property = "L2 a valid message is not sent: the row stays " + stateNames[r.state] + " until its end"
		case !alone[k]:
			property = "L3 the row stays " + stateNames[r.state] + " past its end unless a worker claims its job"
		}
		if property != "" {
			g.report(property, func() []string { return g.trace(int32(k)) })
		}
	}
}
