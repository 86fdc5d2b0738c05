package model

// processes: what happens to worker processes.
func (m *model) processes(s *State) {
	for k := range m.workers() {
		w := s.workers[k]
		if s.left.kill > 0 && s.left.total > 0 && m.busy(s, k) {
			n := *s
			n.left.kill--
			n.left.total--
			m.kill(&n, k)
			m.add(s, n, move{kind: fault}, "kill -9 of worker %d at %s", w.id, m.where(s, k))
		}
		if s.left.pause > 0 && s.left.total > 0 && !w.paused && m.busy(s, k) {
			m.pause(s, k)
		}
		switch {
		case w.paused:
			n := *s
			n.workers[k].paused = false
			if s.queue.lease&(1<<w.id) == 0 {
				n.renew(k)
			}
			m.add(s, n, move{}, "worker %d resumes as %d", w.id, n.workers[k].id)
		case w.lapsed:
			m.beat(s, k)
		case m.rules.Reconcile:
			m.state(s, k)
		}
	}
	m.lapse(s)
}

// renew gives a worker process a new id.
func (s *State) renew(k int) {
	s.workers[k] = worker{id: s.nextID}
	s.nextID++
}

// pause stops a process for longer than its lease.
func (m *model) pause(s *State, k int) {
	n := *s
	n.left.pause--
	n.left.total--
	n.workers[k].paused, n.workers[k].lapsed = true, false
	for i := range n.handlers {
		if m.process(i) == k && inDot(&n.handlers[i]) {
			m.allow(&n, n.handlers[i].message, true)
		}
	}
	m.add(s, n, move{kind: fault}, "worker %d is paused at %s", s.workers[k].id, m.where(s, k))
}

// beat: a living worker learns that its lease had lapsed. In a gap of all sweeps it takes a new id. A worker whose
// own beats stalled gets its lease back when no sweep has seen it.
func (m *model) beat(s *State, k int) {
	n := *s
	if s.left.stall < m.left.stall {
		n.workers[k].lapsed = false
		n.beats()
		m.add(s, n, move{}, "worker %d beats again", s.workers[k].id)
		return
	}
	n.renew(k)
	m.add(s, n, move{}, "beat of worker %d is refused, it goes on as %d", s.workers[k].id, n.workers[k].id)
}

// state: a worker states what it holds; the rest under its name goes back uncounted.
func (m *model) state(s *State, k int) {
	n := *s
	for d := range n.queue.jobs {
		j := &n.queue.jobs[d]
		if j.state == leased && j.owner == s.workers[k].id && !m.holds(s, k, uint8(d)) {
			j.state, j.owner = ready, 0
		}
	}
	m.add(s, n, move{}, "worker %d gives back what it does not hold", s.workers[k].id)
}

func (m *model) holds(s *State, k int, d uint8) bool {
	for i := range s.handlers {
		if m.process(i) == k && s.handlers[i].phase != idle && s.handlers[i].message == d && holdsClaim(s, i) {
			return true
		}
	}
	return false
}

// holdsClaim reports whether the job of handler i is still claimed by it.
func holdsClaim(s *State, i int) bool {
	h := &s.handlers[i]
	j := &s.queue.jobs[h.message]
	return j.state == leased && j.owner == h.worker && j.token == h.token
}

// lapse: leases of living workers lapse.
func (m *model) lapse(s *State) {
	if s.left.total == 0 || s.queue.lease == 0 {
		return
	}
	if s.left.silence > 0 {
		n := *s
		n.left.silence--
		n.left.total--
		n.queue.lease, n.quiet = 0, m.rules.Gap
		for k := range m.workers() {
			n.workers[k].lapsed = !n.workers[k].paused
		}
		m.add(s, n, move{kind: fault}, "no lease is renewed for a lease (Redis is silent, or the clock steps forward)")
	}
	if s.left.stall > 0 && !s.workers[0].paused && !s.workers[0].lapsed {
		n := *s
		n.left.stall--
		n.left.total--
		n.queue.lease &^= 1 << n.workers[0].id
		n.workers[0].lapsed = true
		m.add(s, n, move{kind: fault}, "the beats of worker %d stall for a lease", s.workers[0].id)
	}
	if s.left.back > 0 {
		n := *s
		n.left.back--
		n.left.total--
		n.ahead = true
		m.add(s, n, move{kind: fault}, "the clock is set back: the leases of the dead lie an hour ahead")
	}
}

// storeFaults: what happens to what is stored.
func (m *model) storeFaults(s *State) {
	if m.redis && s.left.loss > 0 && s.kept != s.queue {
		n := *s
		n.kept = n.queue
		m.add(s, n, move{kind: fault}, "Redis: fsync of its journal")
	}
	if m.redis && s.left.loss > 0 && s.left.total > 0 {
		n := *s
		n.left.loss--
		n.left.total--
		n.queue, n.kept = store{}, store{}
		n.beats()
		m.add(s, n, move{kind: fault}, "Redis loses everything")
		if s.kept != s.queue {
			n.queue, n.kept = s.kept, s.kept
			n.beats()
			m.add(s, n, move{kind: fault}, "Redis restarts without its last second")
		}
	}
	if !m.redis && s.left.power > 0 && s.left.total > 0 {
		n := *s
		n.left.power--
		n.left.total--
		n.rows, n.queue = s.synced, s.kept
		for k := range m.workers() {
			m.kill(&n, k)
		}
		m.add(s, n, move{kind: fault}, "power cut: commits without fsync are lost, all processes restart")
	}
}

func (m *model) busy(s *State, k int) bool {
	for i := range s.handlers {
		if m.process(i) == k && s.handlers[i].phase != idle {
			return true
		}
	}
	return false
}

// where names the phases of a process's handlers, for a label.
func (m *model) where(s *State, k int) string {
	text := ""
	for i := range s.handlers {
		if m.process(i) == k && s.handlers[i].phase != idle {
			text += phaseNames[s.handlers[i].phase] + " "
		}
	}
	return text
}

// kill ends a process; another starts in its place.
func (m *model) kill(n *State, k int) {
	for i := range n.handlers {
		if m.process(i) == k && n.handlers[i].phase != idle {
			if inDot(&n.handlers[i]) {
				m.allow(n, n.handlers[i].message, false)
			}
			n.handlers[i] = handler{}
		}
	}
	n.renew(k)
}
