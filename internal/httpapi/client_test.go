package httpapi

import (
	"net/http/httptest"
	"net/netip"
	"testing"

	"otpost/internal/fault"
)

func TestClientAddressFollowsOnlyListedProxies(t *testing.T) {
	t.Parallel()
	for _, one := range []struct {
		name, proxies, peer, forwarded, client, want string
	}{
		{"nothing listed", "", "10.0.0.1", "192.0.2.9", "192.0.2.8", "10.0.0.1"},
		{"peer is no proxy", "10.0.0.2", "10.0.0.1", "192.0.2.9", "", "10.0.0.1"},
		{"one network vouches for any", "10.0.0.1", "10.0.0.1", "", "192.0.2.8", "192.0.2.8"},
		{"one network, forwarded", "10.0.0.0/24", "10.0.0.7", "192.0.2.9", "", "192.0.2.9"},
		{"inside the second network", "10.0.0.0/24 > 192.168.0.0/24", "10.0.0.1", "192.168.0.5", "", "192.168.0.5"},
		{"outside the second network", "10.0.0.0/24 > 192.168.0.0/24", "10.0.0.1", "192.0.2.9", "", "10.0.0.1"},
		{"only the nearest of two forwarded", "10.0.0.1", "10.0.0.1", "6.6.6.6, 192.0.2.9", "", "192.0.2.9"},
		{"two proxies in a row", "10.0.0.1 > 10.0.1.0/24 > 192.168.0.0/16", "10.0.0.1", "192.168.3.4, 10.0.1.5", "", "192.168.3.4"},
		{"two proxies, then the parameter", "10.0.0.1 > 10.0.1.0/24 > 192.168.0.0/16", "10.0.0.1", "10.0.1.5", "192.168.3.4", "192.168.3.4"},
		{"shorter way than the entry", "10.0.0.1 > 10.0.1.0/24 > 192.168.0.0/16", "10.0.0.1", "10.0.1.5", "", "10.0.1.5"},
		{"the farthest entry wins", "10.0.0.1 > 10.0.1.0/24, 10.0.0.1 > 10.0.1.0/24 > 0.0.0.0/0", "10.0.0.1", "8.8.8.8, 10.0.1.5", "", "8.8.8.8"},
		{"forwarded is no address", "10.0.0.1", "10.0.0.1", "unknown", "", "10.0.0.1"},
		{"IPv6", "fd00::/8 > 2001:db8::/32", "fd00::1", "2001:db8::7", "", "2001:db8::7"},
		{"IPv4 in IPv6", "10.0.0.1", "::ffff:10.0.0.1", "", "192.0.2.8", "192.0.2.8"},
	} {
		t.Run(one.name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequest("POST", "/validate/check", nil)
			r.RemoteAddr = netip.AddrPortFrom(netip.MustParseAddr(one.peer), 4711).String()
			if one.forwarded != "" {
				r.Header.Set("X-Forwarded-For", one.forwarded)
			}
			paths, err := parseProxies(one.proxies)
			if err != nil {
				t.Fatal(err)
			}
			got, _ := clientAddress(paths, append([]netip.Addr{peer(r)}, claimed(r, one.client).hops...))
			if got != netip.MustParseAddr(one.want) {
				t.Errorf("client = %v, want %v", got, one.want)
			}
		})
	}
}

func TestParseProxiesRefusesWhatIsNone(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"x", "10.0.0.1 >", "10.0.0.0/33", "10.0.0.1 > y", "10.0.0.1;10.0.0.2"} {
		if _, err := parseProxies(text); fault.CodeOf(err) != fault.Parameter {
			t.Errorf("%q: %v, want 905", text, err)
		}
	}
}
