package model

// clock: what time alone brings.
func (m *model) clock(s *State) {
	if !s.over {
		n := *s
		n.over = true
		if m.redis {
			n.kept = n.queue
		}
		m.add(s, n, move{kind: tick}, "time: not_after passes")
	}
	for d := range m.messages {
		r := &s.rows[d]
		if r.state == deferred && !r.due {
			n := *s
			n.rows[d].due = true
			m.add(s, n, move{}, "time: next_try of m%d has come", d)
		}
		if r.state == sending && r.until && !m.owned(s, d) {
			n := *s
			n.rows[d].until = false
			m.add(s, n, move{}, "time: own_until of m%d passes", d)
		}
	}
}

// owned reports whether the owner of a dot is at work: it reports before own_until.
func (m *model) owned(s *State, d uint8) bool {
	for i := range s.handlers {
		h := &s.handlers[i]
		if h.message == d && h.phase >= atMail && h.phase <= replied && h.epoch == s.rows[d].epoch &&
			!s.workers[m.process(i)].paused {
			return true
		}
	}
	return false
}

// users: what users and administrators do to message d (rows 2 and 5).
func (m *model) users(s *State, d uint8) {
	r := &s.rows[d]
	waits := r.state == queued || r.state == deferred
	for k := range r.challenge {
		if s.left.answer > 0 && r.challenge[k] == 1 {
			n := *s
			n.left.answer--
			n.rows[d].challenge[k] = 2
			if waits && !wanted(&n.rows[d]) {
				m.end(&n, d, dropped)
			}
			m.add(s, n, move{kind: fault, event: 5}, "challenge %d of m%d is answered (other factor)", k+1, d)
		}
	}
	if s.left.coalesce > 0 && waits && r.challenge == [2]uint8{1, 0} && !s.over {
		n := *s
		n.left.coalesce--
		n.rows[d].challenge[1] = 1
		m.sync(&n, true)
		m.add(s, n, move{kind: fault, event: 2}, "second login shares m%d (row %s)", d, stateNames[r.state])
	}
	if s.left.cancel > 0 && waits {
		n := *s
		n.left.cancel--
		m.end(&n, d, dropped)
		m.add(s, n, move{kind: fault, event: 5}, "administrator cancels m%d", d)
	}
}

// serve: the login of message d (row 1) and the enqueue after its commit.
func (m *model) serve(s *State, d uint8) {
	switch s.server[d] {
	case 0:
		n := *s
		n.rows[d] = row{state: queued, challenge: [2]uint8{1, 0}}
		n.server[d] = 1
		if !m.redis {
			enqueue(&n, d)
			n.server[d] = 2
		}
		m.sync(&n, true)
		m.add(s, n, move{event: 1}, "server: commits challenge and m%d queued", d)
	case 1:
		n := *s
		enqueue(&n, d)
		n.server[d] = 2
		m.add(s, n, move{}, "server: enqueues m%d", d)
		if s.left.ambiguous > 0 && s.left.total > 0 {
			n := *s
			n.left.ambiguous--
			n.left.total--
			n.server[d] = 2
			n.fallback[d] = m.inline
			m.add(s, n, move{kind: fault}, "enqueue of m%d does not reach Redis, or the server dies", d)
			enqueue(&n, d)
			m.add(s, n, move{kind: fault}, "enqueue of m%d is stored, its answer lost", d)
		}
	}
}

// relay: what the relay finds at message d. It does nothing while a lease that lies too far ahead is believed.
func (m *model) relay(s *State, d uint8) {
	r := &s.rows[d]
	if s.ahead && !m.rules.FarLease || r.state == none || final(r.state) {
		return
	}
	overdue := r.state == queued ||
		m.rules.Relay && (r.state == deferred && r.due || r.state == sending && !r.until)
	if overdue && !s.relaying && s.server[d] > 0 {
		n := *s
		n.relaying, n.relayed = true, d
		if !m.redis { // one transaction
			n.relaying, n.relayed = false, 0
			enqueue(&n, d)
		}
		m.add(s, n, move{}, "relay: m%d (%s) is overdue", d, stateNames[r.state])
	}
	if !m.rules.FinalSQL || !s.over || r.state == sending && r.until {
		return
	}
	n := *s
	if r.state == sending {
		m.end(&n, d, unknown)
		m.add(s, n, move{event: 16}, "relay: m%d past not_after and own_until, sending -> unknown", d)
		return
	}
	m.end(&n, d, expired)
	m.add(s, n, move{event: 15}, "relay: m%d past not_after, %s -> %s", d,
		stateNames[r.state], stateNames[n.rows[d].state])
}

// enqueueOverdue: the relay's second half, for a queue outside of the database.
func (m *model) enqueueOverdue(s *State) {
	if !s.relaying {
		return
	}
	n := *s
	enqueue(&n, s.relayed)
	n.relaying, n.relayed = false, 0
	m.add(s, n, move{}, "relay: enqueues m%d if absent (it is %s)", s.relayed, jobNames[s.queue.jobs[s.relayed].state])
}

// lives reports whether a worker is a process that runs, and whether it is the present id of any process.
func (s *State) lives(id uint8) (runs, present bool) {
	for _, w := range s.workers {
		if w.id == id {
			return !w.paused, true
		}
	}
	return false, false
}

// leases: leases end, and sweeps take jobs back.
func (m *model) leases(s *State) {
	for id := uint8(1); id < s.nextID; id++ {
		runs, present := s.lives(id)
		if s.queue.lease&(1<<id) != 0 {
			if !runs && (!s.ahead || m.rules.FarLease) {
				n := *s
				n.queue.lease &^= 1 << id
				m.add(s, n, move{}, "time: the lease of worker %d ends", id)
			}
			continue
		}
		parted := !m.rules.Parting && !present // its lock is free, which is taken for its death
		own := m.rules.OwnWorker && m.oneProcess && present
		if s.quiet && !parted || own {
			continue
		}
		n := *s
		for d := range n.queue.jobs {
			j := &n.queue.jobs[d]
			if j.state == leased && j.owner == id {
				*j = job{state: ready, swept: id, crashes: j.crashes + 1, token: j.token}
			}
		}
		m.add(s, n, move{}, "sweep: the jobs of worker %d are ready again", id)
	}
	if s.quiet && m.settled(s) {
		n := *s
		n.quiet = false
		m.add(s, n, move{}, "time: the lease during which lapsed leases are left alone passes")
	}
}

// settled reports whether all living workers have beaten and no reply is awaited under an earlier id. The model
// takes it that a reply comes within one lease; a longer wait counts as a pause.
func (m *model) settled(s *State) bool {
	for i := range s.handlers {
		w := &s.workers[m.process(i)]
		if w.paused {
			continue
		}
		if w.lapsed || inDot(&s.handlers[i]) && s.handlers[i].worker != w.id {
			return false
		}
	}
	return true
}

// beats gives each running worker its lease.
func (s *State) beats() {
	for _, w := range s.workers {
		if !w.paused && w.id != 0 {
			s.queue.lease |= 1 << w.id
		}
	}
}
