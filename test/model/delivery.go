// Package model is an explicit-state model of the delivery protocol.
//
// It holds a delivery's row, its job, the relay, the server, two handlers and the faults that may hit them, and
// searches all orders of their steps, breadth first. What must hold is in properties.go, the rules of the protocol
// in rules.go: each can be switched off, and then a counterexample must come back. docs/states.md says how the
// model, the property test of internal/delivery and the code relate. The tests of this package run it at small
// bounds; `make model` runs the large ones.
package model

import "fmt"

// The states of a delivery, as docs/states.md names them.
const (
	none uint8 = iota
	queued
	deferred
	sending
	accepted
	failed
	expired
	dropped
	unknown
)

var stateNames = [...]string{"none", "queued", "deferred", "sending", "accepted", "failed", "expired", "dropped",
	"unknown"}

func final(state uint8) bool { return state >= accepted }

// The states of a job.
const (
	absent uint8 = iota
	ready
	scheduled
	leased
	dead
)

var jobNames = [...]string{"absent", "ready", "scheduled", "leased", "dead"}

// The verdicts of a claim.
const (
	run uint8 = iota
	tooLate
	poisoned
)

var verdictNames = [...]string{"", ", too late", ", poisoned"}

// What a handler reports about its job.
const (
	done uint8 = iota
	retry
	release
)

// mostSilent is how many dots without a reply a message gets. The program's bound is one more (delivery/states.go).
const mostSilent = 2

// most is how many messages a State has room for.
const most = 2

// row is a row of the table delivery.
type row struct {
	state, epoch, owner uint8
	due                 bool     // deferred: next_try has come
	until               bool     // sending: own_until has not passed
	silent              uint8    // dots without a reply, up to mostSilent
	challenge           [2]uint8 // 0 none, 1 open, 2 answered
}

// job is a job of the queue.
type job struct {
	state, owner, token, crashes uint8
	swept                        uint8 // the worker from which a sweep took it
}

// store is what the queue keeps.
type store struct {
	jobs  [most]job
	lease uint16 // bit n: the lease of worker n stands
}

// handler is a handler at work.
type handler struct {
	phase, message, worker, token, epoch, verdict, swept, reply, report uint8
	inline                                                              bool
}

// worker is a worker process. Its id changes when it is killed and when its lease was lost.
type worker struct {
	id     uint8
	paused bool
	lapsed bool // it lives, its lease has lapsed, and it does not know that yet
}

// State is one state of the whole system. Everything in it is a value, so that states can be compared.
type State struct {
	rows     [most]row
	synced   [most]row // embedded queue: what a power cut leaves
	queue    store
	kept     store // what a restart of the queue's store leaves
	handlers [2]handler
	workers  [2]worker
	nextID   uint8
	server   [most]uint8 // 0 no login yet, 1 the row is committed, 2 the server has done its part
	fallback [most]bool  // the server is to send the message itself
	stopped  [most]bool  // a handler was paused between dot and outcome
	relaying bool        // the relay has read that row `relayed` is overdue
	relayed  uint8
	quiet    bool // lapsed leases are left alone
	ahead    bool // leases of the dead lie further ahead than a lease can be
	over     bool // the messages' end has passed
	copies   [most]uint8
	allowed  [most]uint8 // copies that faults between dot and outcome explain
	left     Budget
}

// Budget is how many faults and outside events of each kind may still happen. It has as many fields as there are kinds.
type Budget struct {
	kill, pause              uint8 // of a worker process
	silence, stall, back     uint8 // leases that are not renewed: all, one worker's; a clock set back
	loss, ambiguous          uint8 // Redis forgets; an enqueue has no answer
	claimLost                uint8 // a claim has no answer
	power                    uint8 // a power cut
	noReply                  uint8 // a dot has no reply
	total                    uint8 // of the faults above
	temporary, permanent     uint8 // refusals of the mail server
	graceful                 uint8 // stops of a handler before its dot
	cancel, coalesce, answer uint8 // by administrators and users
}

// Config is one question to the model.
type Config struct {
	name        string
	redis       bool // else the embedded queue
	oneProcess  bool // both handlers belong to one worker
	retryUnsure bool // the policy for a message whose dot had no reply
	inline      bool // the server sends what it cannot enqueue
	poison      uint8
	messages    uint8
	skew        int8 // Redis' clock is ahead (1) or behind (-1)
	left        Budget
	rules       Rules
}

// model generates the steps of a configuration.
type model struct {
	Config
	naming bool
	out    []step[State]
	seen   map[change]bool // which changes of a row the search has met
}

// change is one change of a row by one row of the table in docs/states.md.
type change struct{ event, from, to uint8 }

func newModel(c Config) (*model, State) {
	s := State{nextID: 3, left: c.left}
	s.workers[0].id = 1
	if !c.oneProcess {
		s.workers[1].id = 2
	}
	return &model{Config: c, seen: map[change]bool{}}, s
}

// next returns the steps from a state.
func (m *model) next(s *State, naming bool) []step[State] {
	m.naming, m.out = naming, m.out[:0]
	m.clock(s)
	for d := range m.messages {
		m.users(s, d)
		m.serve(s, d)
		m.relay(s, d)
	}
	m.enqueueOverdue(s)
	m.leases(s)
	m.processes(s)
	m.storeFaults(s)
	for i := range s.handlers {
		if !s.workers[m.process(i)].paused {
			m.handle(s, i)
		}
	}
	return m.out
}

// move is what a step is, beside the states that it lies between.
type move struct {
	kind   kind
	event  uint8  // the row of the table in docs/states.md, 0: the step is none of it
	broken string // an invariant that the step breaks and the states do not show, or empty
}

// add adds the step from one state to another. format and args name it.
func (m *model) add(from *State, to State, by move, format string, args ...any) {
	if to == *from {
		return
	}
	for d := range m.messages {
		if by.event != 0 && from.rows[d].state != to.rows[d].state {
			m.seen[change{by.event, from.rows[d].state, to.rows[d].state}] = true
		}
	}
	if by.broken == "" {
		by.broken = m.check(from, &to)
	}
	for d := range to.copies {
		to.copies[d], to.allowed[d] = min(to.copies[d], 3), min(to.allowed[d], 3)
	}
	m.reduce(&to)
	if to == *from {
		return
	}
	label := ""
	if m.naming {
		label = fmt.Sprintf(format, args...)
		if by.kind&fault != 0 {
			label = "* " + label
		}
	}
	m.out = append(m.out, step[State]{to: to, label: label, kind: by.kind, broken: by.broken})
}

// process returns which worker process handler i belongs to.
func (m *model) process(i int) int {
	if m.oneProcess {
		return 0
	}
	return i
}

// workers returns how many worker processes there are.
func (m *model) workers() int {
	if m.oneProcess {
		return 1
	}
	return 2
}

// wanted reports whether a challenge waits for the message.
func wanted(r *row) bool { return r.challenge[0] == 1 || r.challenge[1] == 1 }

// bump counts a write of the row.
func (m *model) bump(r *row) {
	if m.rules.Fence {
		r.epoch = (r.epoch + 1) % 8
	}
}

// end writes a final state into a row.
func (m *model) end(s *State, d, state uint8) {
	r := &s.rows[d]
	if m.rules.Unsure && r.silent > 0 && state != accepted {
		state = unknown
	}
	r.state, r.until, r.due, r.owner = state, false, false, 0
	m.bump(r)
	if m.rules.EndJob && !m.redis {
		s.queue.jobs[d] = job{}
	}
	m.sync(s, m.rules.FinalDurable)
}

// sync makes a commit survive a power cut, and every commit before it.
func (m *model) sync(s *State, durable bool) {
	if !m.redis && s.left.power > 0 && durable {
		s.synced, s.kept = s.rows, s.queue
	}
}

func enqueue(s *State, d uint8) {
	if s.queue.jobs[d].state == absent {
		s.queue.jobs[d] = job{state: ready}
	}
}

// allow notes that a fault between dot and outcome explains one more copy.
func (m *model) allow(s *State, d uint8, pause bool) {
	if m.retryUnsure || pause {
		s.allowed[d]++
	}
	if pause {
		s.stopped[d] = true
	}
}
