package model

// The phases of a handler.
const (
	idle      uint8 = iota
	claimed         // holds a claim, has not read the row
	atMail          // has read the row, is about to write MAIL
	onWire          // the server waits for the message
	committed       // the dot is committed to be written
	replied         // the attempt has ended, its outcome is not committed
	ended           // reports its job
	dropping
	expiring
	poisoning
)

var phaseNames = [...]string{"idle", "claimed", "at MAIL", "on the wire", "dot committed", "replied", "ended",
	"dropping", "expiring", "poisoning"}

// How an attempt ended.
const (
	noReply uint8 = iota
	reply250
	reply451
	reply554
	notWritten
	early451 // before the dot, or no connection
	early554
)

// inDot reports whether a handler is between its dot and its outcome.
func inDot(h *handler) bool {
	return h.phase == committed || h.phase == replied && h.reply < early451
}

// handle adds the steps of handler i.
func (m *model) handle(s *State, i int) {
	switch s.handlers[i].phase {
	case idle:
		for d := range m.messages {
			m.claim(s, i, d)
		}
	case claimed:
		m.load(s, i)
	case atMail:
		m.mail(s, i)
	case onWire:
		m.commitDot(s, i)
	case committed:
		m.writeDot(s, i)
	case replied:
		m.outcome(s, i)
	case ended:
		m.report(s, i)
	default:
		m.give(s, i)
	}
}

// finish makes handler i report its job.
func (s *State) finish(i int, report uint8) {
	s.handlers[i].phase, s.handlers[i].report = ended, report
}

// claim: handler i claims message d, or the server sends it in the request.
func (m *model) claim(s *State, i int, d uint8) {
	w := s.workers[m.process(i)]
	if s.fallback[d] && i == 1 {
		n := *s
		n.fallback[d] = false
		n.handlers[i] = handler{phase: claimed, message: d, worker: w.id, inline: true}
		m.add(s, n, move{kind: work}, "h%d (server): sends m%d in the request", i, d)
	}
	if w.lapsed || !m.claimable(s, d) {
		return
	}
	n := *s
	j := &n.queue.jobs[d]
	j.token = (j.token + 1) % 8
	verdict := run
	switch {
	case j.crashes >= m.poison:
		verdict = poisoned
	case s.over:
		verdict = tooLate
	}
	was := *j
	switch {
	case verdict == run || m.rules.Verdict:
		j.state, j.owner = leased, w.id
	case verdict == tooLate:
		*j = job{}
	default:
		j.state, j.owner = dead, 0
	}
	n.queue.lease |= 1 << w.id
	if s.left.claimLost > 0 && s.left.total > 0 {
		n := n
		n.left.claimLost--
		n.left.total--
		m.add(s, n, move{kind: fault}, "h%d (worker %d): claims m%d, the answer is lost", i, w.id, d)
	}
	n.handlers[i] = handler{phase: claimed, message: d, worker: w.id, token: was.token, verdict: verdict, swept: was.swept}
	m.add(s, n, move{kind: claim | work}, "h%d (worker %d): claims m%d%s", i, w.id, d, verdictNames[verdict])
}

// claimable reports whether the queue hands out the job of a message. A scheduled job is due by the queue's clock.
func (m *model) claimable(s *State, d uint8) bool {
	switch j := &s.queue.jobs[d]; {
	case j.state == ready:
		return true
	case j.state != scheduled:
		return false
	case m.skew > 0 && !m.rules.Differences:
		return true
	case m.skew < 0 && !m.rules.Differences:
		return s.over
	}
	r := &s.rows[d]
	return !(r.state == deferred && !r.due) && !(r.state == sending && r.until)
}

// mine reports whether handler i may commit a dot: its worker's lease stands, and an embedded job is still its own.
func (m *model) mine(s *State, i int) bool {
	h, w := &s.handlers[i], s.workers[m.process(i)]
	if !m.rules.OwnLease {
		return true
	}
	return h.worker == w.id && !(m.redis && w.lapsed) && (m.redis || h.inline || holdsClaim(s, i))
}

// load: the handler reads the row and decides (rows 3 and 14).
func (m *model) load(s *State, i int) {
	n := *s
	h, d := &n.handlers[i], s.handlers[i].message
	r := &n.rows[d]
	h.epoch = r.epoch
	switch {
	case final(r.state):
		n.finish(i, done)
	case r.state == sending:
		m.takeOver(s, i)
		return
	case h.verdict == poisoned:
		h.phase = poisoning
	case h.verdict == tooLate:
		h.phase = expiring
	case r.state == deferred && !r.due:
		n.finish(i, retry)
	case !wanted(r):
		h.phase = dropping
	case n.over:
		h.phase = expiring
	default:
		h.phase = atMail
	}
	m.add(s, n, move{kind: work, event: 3}, "h%d: reads m%d (%s) -> %s", i, d, stateNames[r.state], phaseNames[h.phase])
}

// takeOver: the handler finds a dot whose outcome is not known (row 14).
func (m *model) takeOver(s *State, i int) {
	n := *s
	h, d := &n.handlers[i], s.handlers[i].message
	r := &n.rows[d]
	if m.rules.TakeOver && (h.swept == 0 || h.swept != r.owner) && r.until {
		n.finish(i, retry)
		m.add(s, n, move{kind: work, event: 3}, "h%d: m%d is owned by worker %d, comes back later", i, d, r.owner)
		return
	}
	if !m.mine(s, i) {
		n.finish(i, retry)
		m.add(s, n, move{kind: work, event: 3}, "h%d: its lease has lapsed, leaves m%d", i, d)
		return
	}
	r.silent = min(r.silent+1, mostSilent)
	m.bump(r)
	h.epoch = r.epoch
	if m.retryUnsure && !n.over && h.verdict != poisoned && !m.exhausted(r) {
		r.state, r.due, r.until = deferred, true, false
		h.phase = atMail
	} else {
		m.end(&n, d, unknown)
		n.finish(i, done)
	}
	m.add(s, n, move{kind: work, event: 14}, "h%d: finds a dot of m%d without outcome -> %s", i, d,
		stateNames[n.rows[d].state])
}

// exhausted reports whether a message has had as many dots without a reply as it may have.
func (m *model) exhausted(r *row) bool { return m.rules.Bound && r.silent >= mostSilent }

// mail: the last look before MAIL, and what may end the attempt before its dot.
func (m *model) mail(s *State, i int) {
	d := s.handlers[i].message
	r := &s.rows[d]
	n := *s
	switch {
	case m.rules.Fence && r.epoch != s.handlers[i].epoch, !m.mine(s, i):
		n.finish(i, retry)
	case !wanted(r):
		n.handlers[i].phase = dropping
	case s.over:
		n.handlers[i].phase = expiring
	default:
		n.handlers[i].phase = onWire
	}
	m.add(s, n, move{kind: work, event: 3}, "h%d: last look at m%d before MAIL -> %s", i, d,
		phaseNames[n.handlers[i].phase])
	if s.left.temporary > 0 {
		n := *s
		n.left.temporary--
		n.handlers[i].phase, n.handlers[i].reply = replied, early451
		m.add(s, n, move{kind: fault}, "h%d: no connection, or 4xx before the dot of m%d", i, d)
	}
	if s.left.permanent > 0 {
		n := *s
		n.left.permanent--
		n.handlers[i].phase, n.handlers[i].reply = replied, early554
		m.add(s, n, move{kind: fault}, "h%d: 5xx before the dot of m%d", i, d)
	}
	m.stop(s, i)
}

// stop: a graceful stop before the dot; the job goes back uncounted (row 17).
func (m *model) stop(s *State, i int) {
	if s.left.graceful == 0 {
		return
	}
	n := *s
	n.left.graceful--
	n.finish(i, release)
	m.add(s, n, move{kind: fault, event: 17}, "h%d: graceful stop, gives m%d back", i, s.handlers[i].message)
}

// commitDot: row 4 with its guards, and rows 5 and 6 when they fail.
func (m *model) commitDot(s *State, i int) {
	n := *s
	h, d := &n.handlers[i], s.handlers[i].message
	r := &n.rows[d]
	waits := r.state == queued || r.state == deferred
	event, broken := uint8(0), ""
	switch {
	case m.rules.Fence && (r.epoch != h.epoch || !waits), !m.mine(s, i):
		n.finish(i, retry)
	case !wanted(r):
		event = 5
		m.end(&n, d, dropped)
		n.finish(i, done)
	case s.over:
		event = 6
		m.end(&n, d, expired)
		n.finish(i, done)
	default:
		if !wanted(r) {
			broken = "I8 a dot is committed for a message that no challenge waits for"
		}
		if r.silent >= mostSilent {
			broken = "I10 one more dot after as many without a reply as a message may have"
		}
		if !final(r.state) {
			event = 4
			r.state, r.owner, r.until, r.due = sending, h.worker, true, false
			m.bump(r)
			h.epoch = r.epoch
		}
		h.phase = committed
		m.sync(&n, m.rules.DotDurable)
	}
	if h.phase == committed {
		m.add(s, n, move{kind: work, event: event, broken: broken}, "h%d: commits the dot of m%d", i, d)
	} else {
		m.add(s, n, move{kind: work, event: event}, "h%d: the row of m%d refuses the dot (%s)", i, d, stateNames[r.state])
	}
	m.stop(s, i)
}

// writeDot: the dot goes out, and the server replies or not.
func (m *model) writeDot(s *State, i int) {
	d := s.handlers[i].message
	ends := func(n State, reply uint8) State {
		n.handlers[i].phase, n.handlers[i].reply = replied, reply
		return n
	}
	if s.over && m.rules.DotCheck {
		m.add(s, ends(*s, notWritten), move{kind: work}, "h%d: too late for the dot of m%d, closes the connection", i, d)
		return
	}
	broken := ""
	if s.over {
		broken = "I1 a dot is written after not_after"
	}
	sent := ends(*s, reply250)
	sent.copies[d]++
	m.add(s, sent, move{kind: work, broken: broken}, "h%d: dot of m%d, 250", i, d)
	if s.left.noReply > 0 && s.left.total > 0 {
		n := ends(sent, noReply)
		n.left.noReply--
		n.left.total--
		m.allow(&n, d, false)
		m.add(s, n, move{kind: fault, broken: broken}, "h%d: dot of m%d, the reply is lost", i, d)
	}
	if s.left.temporary > 0 {
		n := ends(*s, reply451)
		n.left.temporary--
		m.add(s, n, move{kind: fault, broken: broken}, "h%d: dot of m%d, 451", i, d)
	}
	if s.left.permanent > 0 {
		n := ends(*s, reply554)
		n.left.permanent--
		m.add(s, n, move{kind: fault, broken: broken}, "h%d: dot of m%d, 554", i, d)
	}
}
