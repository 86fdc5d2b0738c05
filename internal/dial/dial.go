// Package dial opens every outgoing connection of the program.
//
// Each package that talks to another host gets the Dialer's functions. The Dialer refuses
// link-local, unspecified and multicast addresses, the listeners of this process (Guard), and what
// Options.Refuse names. It checks the address that is dialled, after the name was resolved: a name
// that changes its address between two look-ups gains nothing. Loopback is allowed: relays listen
// there.
//
// A listener of another process of the same database is dialled. The SMTP client writes nothing but
// a TLS ClientHello before the greeting of a mail server (package smtp), and an HTTP server sends
// none.
package dial

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
)

// ErrRefused says that this program does not connect to an address.
var ErrRefused = errors.New("this address is not connected to")

// Options are what a Dialer needs. All may stay zero.
type Options struct {
	Refuse   func(netip.AddrPort) bool // further addresses that are not dialled, such as the queue's server; nil: none
	Resolver *net.Resolver             // net.DefaultResolver
}

// Dialer opens connections. It is safe for concurrent use.
type Dialer struct {
	options Options
	dialer  net.Dialer
	mu      sync.RWMutex
	guarded []netip.AddrPort
}

// New returns a Dialer; it does no I/O.
func New(o Options) *Dialer {
	if o.Resolver == nil {
		o.Resolver = net.DefaultResolver
	}
	d := &Dialer{options: o}
	d.dialer = net.Dialer{Resolver: o.Resolver, Control: d.control}
	return d
}

// Guard adds a listener of this process to the addresses that are refused. An unspecified address
// (0.0.0.0, ::) means every address of this host. Addresses other than TCP's are ignored.
func (d *Dialer) Guard(listener net.Addr) {
	tcp, ok := listener.(*net.TCPAddr)
	if !ok {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.guarded = append(d.guarded, tcp.AddrPort())
}

// DialContext connects to address (host:port) by TCP; with a name, every address of it is tried in
// turn. The error of a refused address wraps ErrRefused.
func (d *Dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	switch network {
	case "tcp", "tcp4", "tcp6":
		return d.dialer.DialContext(ctx, network, address)
	}
	return nil, fmt.Errorf("%w: network %s", ErrRefused, network)
}

// Lookup returns the addresses of a host in the order in which they should be tried.
func (d *Dialer) Lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	return d.options.Resolver.LookupNetIP(ctx, "ip", host)
}

// control is called with each address just before it is dialled.
func (d *Dialer) control(_, address string, _ syscall.RawConn) error {
	a, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w: %s", ErrRefused, address)
	}
	a = netip.AddrPortFrom(plain(a.Addr()), a.Port())
	if why := d.refused(a); why != "" {
		return fmt.Errorf("%w: %s is %s", ErrRefused, a, why)
	}
	return nil
}

// refused returns why a is not dialled; empty: it is.
func (d *Dialer) refused(a netip.AddrPort) string {
	ip := a.Addr()
	switch {
	case ip.IsUnspecified():
		return "the unspecified address"
	case ip.IsLinkLocalUnicast():
		return "link-local"
	case ip.IsMulticast(), ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return "no address of one host"
	case d.isGuarded(a):
		return "a listener of this program"
	case d.options.Refuse != nil && d.options.Refuse(a):
		return "not to be connected to by configuration"
	}
	return ""
}

// isGuarded reports whether a is a listener of this process.
func (d *Dialer) isGuarded(a netip.AddrPort) bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	for _, g := range d.guarded {
		ip := plain(g.Addr())
		if g.Port() == a.Port() && (ip == a.Addr() || ip.IsUnspecified() && local(a.Addr())) {
			return true
		}
	}
	return false
}

// local reports whether ip is an address of this host. An unreadable list of interfaces counts as yes.
func local(ip netip.Addr) bool {
	if ip.IsLoopback() {
		return true
	}
	all, err := net.InterfaceAddrs()
	if err != nil {
		return true
	}
	for _, one := range all {
		if p, err := netip.ParsePrefix(one.String()); err == nil && plain(p.Addr()) == ip {
			return true
		}
	}
	return false
}

// plain removes the zone and the IPv6 form of an IPv4 address: ::ffff:169.254.0.1 is as link-local as 169.254.0.1.
func plain(ip netip.Addr) netip.Addr { return ip.Unmap().WithZone("") }
