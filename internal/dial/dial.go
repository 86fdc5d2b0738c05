// Package dial is the one door out of the program.
//
// Everything that talks to another host is handed the Dialer's functions. It promises: no connection goes to an address that
// only this host or its link may reach by accident or by a stranger's configuration (link-local, unspecified, multicast), to a
// listener of our own, or to what Options.Refuse names. The address that is dialled is what is checked, not the name before it,
// so that a name which changes its address between two questions gains nothing. Loopback is allowed: relays live there.
package dial

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
)

// ErrRefused says that an address is none that this program connects to.
var ErrRefused = errors.New("this address is not connected to")

// Options are what a Dialer needs. All may stay zero.
type Options struct {
	Refuse   func(netip.AddrPort) bool // further addresses that are not dialled, such as the queue's server; nil: none
	Resolver *net.Resolver             // net.DefaultResolver
	// Listeners returns where other processes of this program listen, as Guard takes it, and is asked at each connection; while it
	// cannot be told, nothing is dialled. nil: there are none.
	Listeners func(context.Context) ([]netip.AddrPort, error)
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
	d.dialer = net.Dialer{Resolver: o.Resolver, ControlContext: d.control}
	return d
}

// Guard adds a listener of this process to the addresses that are refused. An unspecified address (0.0.0.0, ::) stands for
// every address of this host. Addresses other than TCP's are ignored.
func (d *Dialer) Guard(listener net.Addr) {
	tcp, ok := listener.(*net.TCPAddr)
	if !ok {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.guarded = append(d.guarded, tcp.AddrPort())
}

// Reach returns where a listener can be reached, for the Listeners of other processes: its address, and with an unspecified one
// also the addresses of this host, for a process in another container has a host of its own. Empty for addresses other than TCP's.
func Reach(listener net.Addr) ([]netip.AddrPort, error) {
	tcp, ok := listener.(*net.TCPAddr)
	if !ok {
		return nil, nil
	}
	at := tcp.AddrPort()
	reach := []netip.AddrPort{netip.AddrPortFrom(plain(at.Addr()), at.Port())}
	if !at.Addr().IsUnspecified() {
		return reach, nil
	}
	all, err := net.InterfaceAddrs()
	if err != nil {
		return reach, fmt.Errorf("list the addresses of this host: %w", err)
	}
	for _, one := range all {
		if p, err := netip.ParsePrefix(one.String()); err == nil && !p.Addr().IsLoopback() && !p.Addr().IsLinkLocalUnicast() {
			reach = append(reach, netip.AddrPortFrom(plain(p.Addr()), at.Port()))
		}
	}
	return reach, nil
}

// DialContext connects to address (host:port) by TCP; with a name, every address of it is tried in turn. The error of a refused
// address wraps ErrRefused.
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
func (d *Dialer) control(ctx context.Context, _, address string, _ syscall.RawConn) error {
	a, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w: %s", ErrRefused, address)
	}
	a = netip.AddrPortFrom(plain(a.Addr()), a.Port())
	guarded, err := d.listeners(ctx)
	if err != nil {
		return err
	}
	if why := d.refused(a, guarded); why != "" {
		return fmt.Errorf("%w: %s is %s", ErrRefused, a, why)
	}
	return nil
}

// listeners returns those of this process and of the others.
func (d *Dialer) listeners(ctx context.Context) ([]netip.AddrPort, error) {
	d.mu.RLock()
	guarded := slices.Clone(d.guarded)
	d.mu.RUnlock()
	if d.options.Listeners == nil {
		return guarded, nil
	}
	others, err := d.options.Listeners(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask where other processes listen: %w", err)
	}
	return append(guarded, others...), nil
}

// refused returns why a is not dialled; empty: it is.
func (d *Dialer) refused(a netip.AddrPort, guarded []netip.AddrPort) string {
	ip := a.Addr()
	switch {
	case ip.IsUnspecified():
		return "the unspecified address"
	case ip.IsLinkLocalUnicast():
		return "link-local"
	case ip.IsMulticast(), ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return "no address of one host"
	case ours(a, guarded):
		return "a listener of this program"
	case d.options.Refuse != nil && d.options.Refuse(a):
		return "not to be connected to by configuration"
	}
	return ""
}

// ours reports whether a is a guarded listener.
func ours(a netip.AddrPort, guarded []netip.AddrPort) bool {
	for _, g := range guarded {
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

// plain takes the zone and the IPv6 dress of an IPv4 address off: ::ffff:169.254.0.1 is as link-local as 169.254.0.1.
func plain(ip netip.Addr) netip.Addr { return ip.Unmap().WithZone("") }
