package smtp

import (
	"hash/maphash"
	"net"
	"slices"
	"strconv"
	"sync"
)

// mostServers bounds a Memory: servers with their user names. A program knows a handful; test mails may name any.
const mostServers = 256

// Memory keeps what sessions found out about servers, so that a broken announcement costs one try: whether commands
// in one write get lost, which mechanism logs in, and which ones refused a password. It holds no password, lives as
// long as the process, and keeps mostServers at most: above it, an arbitrary one is forgotten. The zero value is
// empty. It is safe for concurrent use.
type Memory struct {
	mu      sync.Mutex
	servers map[string]*known
	seed    maphash.Seed // of the passwords' hashes
}

// known is what is known about one user name at one server.
type known struct {
	oneByOne  bool     // PIPELINING is announced and does not work
	mechanism string   // logged in last; empty: none has yet
	password  uint64   // of the refusals
	refusals  []string // the mechanisms that refused that password
	turn      int      // how often all of them had refused it before
}

// notes are a Memory's about one server and user name. The zero value remembers nothing.
type notes struct {
	memory   *Memory
	key      string
	password uint64
}

// of returns the notes for a session.
func (m *Memory) of(o Options) notes {
	if m == nil {
		return notes{}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.servers == nil {
		m.servers, m.seed = map[string]*known{}, maphash.MakeSeed()
	}
	key := net.JoinHostPort(o.Host, strconv.Itoa(o.Port)) + " " + o.Username
	return notes{m, key, maphash.String(m.seed, o.Password)}
}

// change calls f with what is known, and keeps it; it does nothing without a Memory.
func (n notes) change(f func(*known)) {
	if n.memory == nil {
		return
	}
	n.memory.mu.Lock()
	defer n.memory.mu.Unlock()
	k := n.memory.servers[n.key]
	if k == nil {
		k = &known{}
		for other := range n.memory.servers {
			if len(n.memory.servers) < mostServers {
				break
			}
			delete(n.memory.servers, other)
		}
		n.memory.servers[n.key] = k
	}
	f(k)
}

// oneByOne reports whether the server takes one command at a time only.
func (n notes) oneByOne() (yes bool) {
	n.change(func(k *known) { yes = k.oneByOne })
	return yes
}

// sendOneByOne remembers that, and reports whether there is a Memory that does.
func (n notes) sendOneByOne() bool {
	n.change(func(k *known) { k.oneByOne = true })
	return n.memory != nil
}

// worked remembers that a mechanism logged in.
func (n notes) worked(mechanism string) {
	n.change(func(k *known) { k.mechanism, k.refusals, k.turn = mechanism, nil, 0 })
}

// refused remembers that a mechanism refused the password, or does not exist; a temporary refusal (4xx) is forgotten.
func (n notes) refused(mechanism string, code int) {
	n.change(func(k *known) {
		if code/100 == 5 && !slices.Contains(k.refusals, mechanism) {
			k.refusals = append(k.refusals, mechanism)
		}
	})
}

// plan returns the order in which the mechanisms are tried; once: no further one after the password was refused.
//
//   - One has logged in before: it goes first, and when it refuses the password, the password is wrong.
//   - Some have not refused this password yet: all of these.
//   - All have refused it: one a session, in turn, so that a mistake is no more than a wrong password a mail, and a
//     server that accepts one of them later is found.
func (n notes) plan(offered []mechanism) (order []mechanism, once bool) {
	order = offered
	n.change(func(k *known) {
		if k.password != n.password {
			k.password, k.refusals, k.turn = n.password, nil, 0
		}
		first := slices.IndexFunc(offered, func(m mechanism) bool { return m.name == k.mechanism })
		fresh := slices.DeleteFunc(slices.Clone(offered), func(m mechanism) bool {
			return slices.Contains(k.refusals, m.name)
		})
		switch {
		case first >= 0:
			once = true
		case len(fresh) > 0:
			order = fresh
			return
		default:
			first, once = k.turn%len(offered), true
			k.turn++
		}
		order = slices.Concat(offered[first:], offered[:first])
	})
	return order, once
}
