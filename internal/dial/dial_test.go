package dial_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"

	"otpost/internal/dial"
)

func listen(t *testing.T, address string) *net.TCPListener {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.(*net.TCPListener)
}

func TestRefusesAddressesThatNoRelayHas(t *testing.T) {
	t.Parallel()
	d := dial.New(dial.Options{})
	for _, address := range []string{
		"169.254.169.254:80", "[::ffff:169.254.169.254]:80", "[fe80::1%lo]:25", "0.0.0.0:25", "[::]:25",
		"224.0.0.1:25", "[ff02::1]:25", "255.255.255.255:25",
	} {
		if _, err := d.DialContext(t.Context(), "tcp", address); !errors.Is(err, dial.ErrRefused) {
			t.Errorf("%s: %v, want ErrRefused", address, err)
		}
	}
	if _, err := d.DialContext(t.Context(), "unix", "/tmp/socket"); !errors.Is(err, dial.ErrRefused) {
		t.Errorf("unix socket: %v, want ErrRefused", err)
	}
}

func TestLoopbackIsAllowed(t *testing.T) {
	t.Parallel()
	c, err := dial.New(dial.Options{}).DialContext(t.Context(), "tcp", listen(t, "127.0.0.1:0").Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

func TestGuardedListenerIsRefusedAndItsNeighbourIsNot(t *testing.T) {
	t.Parallel()
	d := dial.New(dial.Options{})
	own, other := listen(t, "127.0.0.1:0"), listen(t, "127.0.0.1:0")
	d.Guard(own.Addr())
	if _, err := d.DialContext(t.Context(), "tcp", own.Addr().String()); !errors.Is(err, dial.ErrRefused) {
		t.Errorf("own listener: %v, want ErrRefused", err)
	}
	_, port, err := net.SplitHostPort(own.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.DialContext(t.Context(), "tcp", "[::ffff:127.0.0.1]:"+port); !errors.Is(err, dial.ErrRefused) {
		t.Errorf("own listener in IPv6 form: %v, want ErrRefused", err)
	}
	c, err := d.DialContext(t.Context(), "tcp", other.Addr().String())
	if err != nil {
		t.Fatalf("another listener: %v", err)
	}
	c.Close()
}

func TestListenerOnAllAddressesIsRefusedOnEachOfThem(t *testing.T) {
	t.Parallel()
	d := dial.New(dial.Options{})
	own := listen(t, "0.0.0.0:0")
	d.Guard(own.Addr())
	_, port, err := net.SplitHostPort(own.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	all, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range all {
		ip := netip.MustParsePrefix(one.String()).Addr()
		if ip.Is6() {
			continue
		}
		if _, err := d.DialContext(t.Context(), "tcp", net.JoinHostPort(ip.String(), port)); !errors.Is(err,
			dial.ErrRefused) {
			t.Errorf("%s: %v, want ErrRefused", ip, err)
		}
	}
}

func TestRefusesWhatItIsToldTo(t *testing.T) {
	t.Parallel()
	l := listen(t, "127.0.0.1:0")
	d := dial.New(dial.Options{Refuse: func(a netip.AddrPort) bool { return a == l.Addr().(*net.TCPAddr).AddrPort() }})
	if _, err := d.DialContext(t.Context(), "tcp", l.Addr().String()); !errors.Is(err, dial.ErrRefused) {
		t.Fatalf("%v, want ErrRefused", err)
	}
}

// A name is judged by the address that it leads to.
func TestNameOfARefusedAddressIsRefused(t *testing.T) {
	t.Parallel()
	d := dial.New(dial.Options{})
	own := listen(t, "127.0.0.1:0")
	d.Guard(own.Addr())
	_, port, err := net.SplitHostPort(own.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if c, err := d.DialContext(t.Context(), "tcp4", "localhost:"+port); !errors.Is(err, dial.ErrRefused) {
		t.Fatalf("dialled %v: %v, want ErrRefused", c, err)
	}
	addresses, err := d.Lookup(context.Background(), "localhost")
	if err != nil || len(addresses) == 0 || !addresses[0].Unmap().IsLoopback() {
		t.Fatalf("lookup: %v, %v", addresses, err)
	}
}
