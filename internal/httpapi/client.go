package httpapi

import (
	"net/http"
	"net/netip"
	"strings"

	"otpost/internal/fault"
)

// A proxyPath is one entry of OverrideAuthorizationClient: networks from the peer on, "10.0.0.1 > 10.0.0.0/24 >
// 192.168.0.0/16" in privacyIDEA's notation. Each hop may name the next one, if that one lies in the next network.
// An entry of one network may name any address.
type proxyPath []netip.Prefix

// parseProxies reads the value of OverrideAuthorizationClient: entries separated by commas. An unreadable part is
// an error that names it.
func parseProxies(text string) ([]proxyPath, error) {
	var paths []proxyPath
	for entry := range strings.SplitSeq(text, ",") {
		if strings.TrimSpace(entry) == "" {
			continue
		}
		var path proxyPath
		for hop := range strings.SplitSeq(entry, ">") {
			network, err := parseNetwork(strings.TrimSpace(hop))
			if err != nil {
				return nil, fault.Wrong("OverrideAuthorizationClient", "proxies",
					"write addresses or networks, as in 10.0.0.1, 10.1.0.0/24 > 192.168.0.0/16")
			}
			path = append(path, network)
		}
		paths = append(paths, path)
	}
	return paths, nil
}

// Proxies returns the networks from which a TCP peer may name its client, by the value of
// OverrideAuthorizationClient; none for a value that cannot be read.
func Proxies(text string) []netip.Prefix {
	paths, err := parseProxies(text)
	if err != nil {
		return nil
	}
	networks := make([]netip.Prefix, 0, len(paths))
	for _, path := range paths {
		networks = append(networks, path[0])
	}
	return networks
}

func parseNetwork(text string) (netip.Prefix, error) {
	if strings.Contains(text, "/") {
		network, err := netip.ParsePrefix(text)
		return network.Masked(), err
	}
	address, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Prefix{}, err
	}
	address = address.Unmap()
	return address.Prefix(address.BitLen())
}

// reach returns how many of the hops, from the peer on, the path covers: each must lie in its network. A path of
// one network vouches for any next hop.
func (p proxyPath) reach(hops []netip.Addr) int {
	n := 0
	for n < len(hops) && n < len(p) && p[n].Contains(hops[n]) {
		n++
	}
	if len(p) == 1 && n == 1 && len(hops) > 1 {
		return 2
	}
	return n
}

// clientAddress returns who the client is: the farthest hop that a path covers, else the peer. hops[0] is the TCP
// peer. more is true when a path would cover one hop more.
func clientAddress(paths []proxyPath, hops []netip.Addr) (client netip.Addr, more bool) {
	farthest := 1
	for _, path := range paths {
		n := path.reach(hops)
		farthest = max(farthest, n)
		more = more || n == len(hops) && (n < len(path) || len(path) == 1 && n == 1)
	}
	return hops[farthest-1], more
}

// peer returns the address of the TCP peer; 0.0.0.0 when the connection has none (a unix socket).
func peer(r *http.Request) netip.Addr {
	if at, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		return at.Addr().Unmap().WithZone("")
	}
	return netip.IPv4Unspecified()
}
