package model

// outcomes names for each reply the row of the table in docs/states.md that follows.
var outcomes = [...]uint8{
	noReply:    12,
	reply250:   9,
	reply451:   10,
	reply554:   11,
	notWritten: 13,
	early451:   7,
	early554:   8,
}

// outcome: the handler commits what became of its attempt (rows 7 to 13). When the row is no longer its own, the
// reply goes into the attempt alone (row 18).
func (m *model) outcome(s *State, i int) {
	n := *s
	h, d := &s.handlers[i], s.handlers[i].message
	r := &n.rows[d]
	early := h.reply >= early451
	current := !final(r.state)
	if m.rules.Fence {
		current = current && r.epoch == h.epoch && (r.state == sending) != early
	}
	if !current {
		n.finish(i, retry)
		if final(r.state) {
			n.finish(i, done)
		}
		m.add(s, n, move{kind: work, event: 18}, "h%d: the row of m%d (%s) refuses the outcome", i, d, stateNames[r.state])
		return
	}
	switch h.reply {
	case reply250:
		m.endWith(&n, i, accepted)
	case reply554, early554:
		m.endWith(&n, i, failed)
	case noReply:
		r.silent = min(r.silent+1, mostSilent)
		m.again(&n, i, unknown)
	default:
		m.again(&n, i, expired)
	}
	m.add(s, n, move{kind: work, event: outcomes[h.reply]}, "h%d: commits the outcome of m%d: %s", i, d,
		stateNames[n.rows[d].state])
}

// endWith writes a final state and reports the job as done.
func (m *model) endWith(n *State, i int, state uint8) {
	m.end(n, n.handlers[i].message, state)
	m.sync(n, n.handlers[i].reply < early451)
	n.finish(i, done)
}

// again defers the message when there is time and the policy allows it, and else ends it.
func (m *model) again(n *State, i int, otherwise uint8) {
	h := &n.handlers[i]
	r := &n.rows[h.message]
	if n.over || !m.retryUnsure && r.silent > 0 || m.exhausted(r) {
		m.endWith(n, i, otherwise)
		return
	}
	r.state, r.due, r.until, r.owner = deferred, false, false, 0
	m.bump(r)
	m.sync(n, h.reply < early451)
	n.finish(i, retry)
}

// report: the handler reports its job. The queue refuses it when the claim no longer stands.
func (m *model) report(s *State, i int) {
	n := *s
	h := &s.handlers[i]
	j := &n.queue.jobs[h.message]
	if !h.inline && holdsClaim(s, i) {
		switch h.report {
		case done:
			*j = job{}
		case retry:
			j.state, j.owner, j.swept = scheduled, 0, 0
		case release:
			j.state, j.owner = ready, 0
		}
	}
	n.handlers[i] = handler{}
	m.add(s, n, move{kind: work}, "h%d: reports m%d (%s)", i, h.message, [...]string{"done", "retry", "release"}[h.report])
}

// give: the handler ends a message without an attempt (rows 5, 6 and 8).
func (m *model) give(s *State, i int) {
	n := *s
	h := &s.handlers[i]
	r := &n.rows[h.message]
	event := [...]uint8{5, 6, 8}[h.phase-dropping]
	switch {
	case final(r.state):
		n.finish(i, done)
	case m.rules.Fence && r.epoch != h.epoch:
		n.finish(i, retry)
	default:
		m.end(&n, h.message, [...]uint8{dropped, expired, failed}[h.phase-dropping])
		n.finish(i, done)
	}
	if r.state == s.rows[h.message].state {
		event = 18
	}
	m.add(s, n, move{kind: work, event: event}, "h%d: writes m%d %s", i, h.message, stateNames[n.rows[h.message].state])
}
