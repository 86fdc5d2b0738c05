package smtp

import (
	"hash/maphash"
	"net"
	"slices"
	"strconv"
	"sync"
)

// mostServers bounds a Memory: pairs of server and user name. A program knows a handful; test mails
// may name any.
const mostServers = 256

// Memory keeps what sessions learn about servers, so that a wrong announcement costs one try:
// whether commands in one write get lost, which mechanism logs in, and which mechanisms refused a
// password. It holds no password and lives as long as the process. It keeps at most mostServers
// servers; a further one replaces an arbitrary one. The zero value is empty. It is safe for
// concurrent use.
type Memory struct {
	mu      sync.Mutex
	servers map[string]*known
	seed    maphash.Seed // of the passwords' hashes
}

// known is what Memory keeps about one user name at one server.
type known struct {
	oneByOne  bool     // PIPELINING is announced and does not work
	mechanism string   // the last one that logged in; empty: none has yet
	password  uint64   // hash of the refused password
	refusals  []string // the mechanisms that refused that password
	rotation  int      // how often all mechanisms had refused it before
}

// notes is the entry of a Memory for one server and user name. The zero value keeps nothing.
type notes struct {
	memory   *Memory
	key      string
	password uint64
}

// of returns the entry for a session.
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

// change calls f with the entry, which f may change; it does nothing without a Memory.
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

// oneByOne reports whether the server accepts only one command at a time.
func (n notes) oneByOne() (yes bool) {
	n.change(func(k *known) { yes = k.oneByOne })
	return yes
}

// sendOneByOne records that the server accepts one command at a time. It reports whether there is a
// Memory.
func (n notes) sendOneByOne() bool {
	n.change(func(k *known) { k.oneByOne = true })
	return n.memory != nil
}

// worked records that a mechanism logged in.
func (n notes) worked(mechanism string) {
	n.change(func(k *known) { k.mechanism, k.refusals, k.rotation = mechanism, nil, 0 })
}

// refused records that a mechanism refused the password or does not exist; a temporary refusal
// (4xx) is not recorded.
func (n notes) refused(mechanism string, code int) {
	n.change(func(k *known) {
		if code/100 == 5 && !slices.Contains(k.refusals, mechanism) {
			k.refusals = append(k.refusals, mechanism)
		}
	})
}

// plan returns the order in which the mechanisms are tried. once: a refused password ends the
// tries.
//
//   - One has logged in before: it goes first, and when it refuses the password, the password is wrong.
//   - Some have not refused this password yet: all of these.
//   - All have refused it: one in each session, by rotation. A mistake then costs one wrong password a mail, and a
//     server that accepts one of them later is found.
func (n notes) plan(offered []mechanism) (order []mechanism, once bool) {
	order = offered
	n.change(func(k *known) {
		if k.password != n.password {
			k.password, k.refusals, k.rotation = n.password, nil, 0
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
			first, once = k.rotation%len(offered), true
			k.rotation++
		}
		order = slices.Concat(offered[first:], offered[:first])
	})
	return order, once
}
