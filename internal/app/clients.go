package app

import (
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"otpost/internal/pinhash"
)

// clients counts connections and requests, in total and by client network. It is safe for
// concurrent use.
type clients struct {
	limits  Limits
	network func(address string) string // networkOf
	log     *slog.Logger

	mu          sync.Mutex
	connections map[*connection]struct{}
	requests    int
	of          map[string]*held // by network, without empty entries
	logged      time.Time        // when a refusal was last logged
	refused     int              // since then
}

// held counts the connections and requests of one network.
type held struct{ connections, requests int }

// connection is an open connection.
type connection struct {
	net.Conn
	clients *clients
	network string    // "": only the total counts it
	idle    bool      // no request is running on it
	since   time.Time // the begin of the idle time
	once    sync.Once
}

// logRefusalsEvery is the minimum interval between two log lines about refusals.
const logRefusalsEvery = time.Minute

func newClients(l Limits, network func(string) string, log *slog.Logger) *clients {
	return &clients{
		limits:      l,
		network:     network,
		log:         log,
		connections: make(map[*connection]struct{}),
		of:          make(map[string]*held),
	}
}

// networkOf returns a function from a peer's address to the network under which it is counted. It
// is "" for peers that only the totals count: loopback and trusted proxies, which stand for many
// clients.
func networkOf(trusted func(netip.Addr) bool) func(address string) string {
	return func(address string) string {
		at, err := netip.ParseAddrPort(address)
		if err != nil { // a unix socket
			return ""
		}
		ip := at.Addr().Unmap().WithZone("")
		if ip.IsLoopback() || trusted(ip) {
			return ""
		}
		return pinhash.Network(ip.String())
	}
}

// holds returns the counts of a network; the caller holds c.mu.
func (c *clients) holds(network string) *held {
	h := c.of[network]
	if h == nil {
		h = &held{}
		c.of[network] = h
	}
	return h
}

// forget removes the entry of a network without connections and requests.
func (c *clients) forget(network string) {
	if h := c.of[network]; h != nil && *h == (held{}) {
		delete(c.of, network)
	}
}

// begin counts a request and reports whether it is within the limits.
func (c *clients) begin(network string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.requests >= c.limits.Requests || network != "" && c.holds(network).requests >= c.limits.OfNetwork {
		c.forget(network)
		c.logRefusal("requests refused: too many are under way", network)
		return false
	}
	c.requests++
	if network != "" {
		c.holds(network).requests++
	}
	return true
}

// end ends the count of a request.
func (c *clients) end(network string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.requests--
	if network != "" {
		c.holds(network).requests--
		c.forget(network)
	}
}

// admit returns the connection, or nil when it must be closed. At a limit, the connection with the
// longest idle time is closed instead: of this network, or of all.
func (c *clients) admit(conn net.Conn) *connection {
	fresh := &connection{
		Conn:    conn,
		clients: c,
		network: c.network(conn.RemoteAddr().String()),
		idle:    true,
		since:   time.Now(),
	}
	c.mu.Lock()
	full := len(c.connections) >= c.limits.Connections
	ofNetwork := fresh.network != "" && c.holds(fresh.network).connections >= c.limits.OfNetwork
	var oldest *connection
	if full || ofNetwork {
		oldest = c.idlest(fresh.network, ofNetwork)
	}
	if (full || ofNetwork) && oldest == nil {
		c.forget(fresh.network)
		c.logRefusal("connections refused: too many are open", fresh.network)
		c.mu.Unlock()
		return nil
	}
	if oldest != nil {
		c.remove(oldest)
	}
	c.connections[fresh] = struct{}{}
	if fresh.network != "" {
		c.holds(fresh.network).connections++
	}
	c.mu.Unlock()
	if oldest != nil {
		oldest.Close() //nolint:errcheck // its client sees it closed, as after the time-out
	}
	return fresh
}

// idlest returns the connection with the longest idle time; nil when no connection is idle.
func (c *clients) idlest(network string, own bool) (oldest *connection) {
	for one := range c.connections {
		if one.idle && (!own || one.network == network) && (oldest == nil || one.since.Before(oldest.since)) {
			oldest = one
		}
	}
	return oldest
}

// remove removes a connection, with c.mu held. A second call does nothing.
func (c *clients) remove(one *connection) {
	if _, ok := c.connections[one]; !ok {
		return
	}
	delete(c.connections, one)
	if one.network != "" {
		c.holds(one.network).connections--
		c.forget(one.network)
	}
}

// logRefusal logs a refusal at most once per logRefusalsEvery, with c.mu held: an attack must not
// fill the log.
func (c *clients) logRefusal(what, network string) {
	c.refused++
	now := time.Now()
	if now.Sub(c.logged) < logRefusalsEvery {
		return
	}
	c.log.Warn(what, "refused", c.refused, "client", network, "for_a_proxy_set", "OverrideAuthorizationClient")
	c.logged, c.refused = now, 0
}

// follow is http.Server.ConnState: it records which connections are idle.
func (c *clients) follow(conn net.Conn, state http.ConnState) {
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	one, ok := conn.(*connection)
	if !ok {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	one.idle = state == http.StateIdle || state == http.StateNew
	if one.idle {
		one.since = time.Now()
	}
}

// count returns how many connections are open.
func (c *clients) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.connections)
}

// Close implements net.Conn.
func (one *connection) Close() error {
	one.once.Do(func() {
		one.clients.mu.Lock()
		defer one.clients.mu.Unlock()
		one.clients.remove(one)
	})
	return one.Conn.Close()
}

// CloseWrite lets net/http close its side first, so that a client can read the refusal.
func (one *connection) CloseWrite() error {
	if half, ok := one.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// admitting is a listener that enforces the limits of its clients.
type admitting struct {
	net.Listener
	clients *clients
}

// Accept implements net.Listener.
func (l admitting) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if one := l.clients.admit(conn); one != nil {
			return one, nil
		}
		conn.Close() //nolint:errcheck // refused
	}
}
