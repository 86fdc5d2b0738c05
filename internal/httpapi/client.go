package httpapi

import (
	"net/http"
	"net/netip"
	"strings"
)

// A proxyPath is one entry of OverrideAuthorizationClient: networks from the peer on, "10.0.0.1 > 10.0.0.0/24 > 192.168.0.0/16"
// in privacyIDEA's notation. Each hop may name the next one, if that one lies in the next network. An entry of one network may
// name any address.
type proxyPath []netip.Prefix

// parseProxies reads the value of OverrideAuthorizationClient: entries separated by commas. An unreadable part is an error
// that names it.
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
				return nil, wrong("OverrideAuthorizationClient",
					"write addresses or networks, as in 10.0.0.1, 10.1.0.0/24 > 192.168.0.0/16")
			}
			path = append(path, network)
		}
		paths = append(paths, path)
	}
	return paths, nil
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

// reach returns how many of the hops, from the peer on, the path covers: each must lie in its network. A path of one network
// vouches for any next hop.
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

// clientAddress returns who the client is: the farthest hop that a path covers, else the peer. hops[0] is the TCP peer.
func clientAddress(paths []proxyPath, hops []netip.Addr) netip.Addr {
	farthest := 1
	for _, path := range paths {
		farthest = max(farthest, path.reach(hops))
	}
	return hops[farthest-1]
}

// peer returns the address of the TCP peer; 0.0.0.0 when the connection has none (a unix socket).
func peer(r *http.Request) netip.Addr {
	if at, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		return at.Addr().Unmap().WithZone("")
	}
	return netip.IPv4Unspecified()
}

// claimed returns the hops behind the peer as the request claims them, nearest first: X-Forwarded-For from its end, then the
// parameter client. The first that is no address ends the list.
func claimed(r *http.Request, client string) []netip.Addr {
	var hops []netip.Addr
	forwarded := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(forwarded) - 1; i >= 0; i-- {
		text := strings.TrimSpace(forwarded[i])
		if text == "" {
			continue
		}
		address, err := netip.ParseAddr(text)
		if err != nil {
			return hops
		}
		hops = append(hops, address.Unmap())
	}
	if address, err := netip.ParseAddr(strings.TrimSpace(client)); err == nil {
		hops = append(hops, address.Unmap())
	}
	return hops
}
